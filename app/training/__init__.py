"""Fine-tuning, evaluation and bulk prediction: files of ads in, a checkpoint or a report out."""
