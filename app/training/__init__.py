"""Fine-tune, evaluate, and the demo recipe."""
