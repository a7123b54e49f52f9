"""Runs `python -m app.training.demo`, which writes the training data of the demo checkpoint."""

import sys

from app.training.demo.training_data import main

if __name__ == "__main__":
    sys.exit(main())
