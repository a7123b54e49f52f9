"""Runs the command line as a module: `python -m app.cli`, `accelerate launch -m app.cli`."""

from app.cli import main

# Processes that `bench` spawns import this module again, under another name.
if __name__ == "__main__":
    main()
