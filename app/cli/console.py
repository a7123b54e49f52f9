"""Output to the terminal, the check for optional extras, and the silencing of libraries."""

import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from rich.console import Console

from app.core.errors import StartupError

TRAIN_EXTRA = ("accelerate", "matplotlib", "pandas", "pyarrow", "sklearn")
"""Modules that `pip install "doppelkopf[train]"` adds."""

# Of the processes that `accelerate launch` starts, only the first prints.
_IS_FIRST = os.environ.get("RANK", "0") == "0"
stdout = Console(quiet=not _IS_FIRST)
stderr = Console(stderr=True, quiet=not _IS_FIRST, highlight=False)


def print_error(sentence: str) -> None:
    """Print one unwrapped line on stderr."""
    if _IS_FIRST:
        sys.stderr.write(sentence + "\n")


def require_extra(modules: Sequence[str] = TRAIN_EXTRA, extra: str = "train") -> None:
    """Check that the modules of an optional extra are installed, without importing them.

    Raises:
        StartupError: one is missing; says how to install the extra.
    """
    for module in modules:
        if find_spec(module) is None:
            raise StartupError(
                f"This command needs {module}, which is not installed: "
                f'pip install "doppelkopf[{extra}]".'
            )


def silence_libraries() -> None:
    """Turn off the progress bars, load reports and retry messages of transformers and the hub.

    The errors that the commands raise contain everything a user needs to know.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
