"""Runs `python -m app.training.demo`, which writes the demo checkpoint's training data."""

import sys

from app.training.demo.training_data import main

if __name__ == "__main__":
    sys.exit(main())
