"""Makes the demo checkpoint: generated ads, training, comparison with baselines."""
