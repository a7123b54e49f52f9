"""The model store: the folder that the served checkpoint lies in, and the others beside it."""

import os
import re
from pathlib import Path

from app.core.errors import InvalidRequestError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
"""One folder's name: no path, and nothing hidden."""

MODEL_STORE = Path("model_store")
"""The store of the default setting."""


def checkpoint_folder(model: Path, name: str | None) -> Path:
    """Return the folder that a running server is asked to serve; it may not be there.

    Args:
        model: the setting; its parent is the store.
        name: of a folder in the store, or None for the setting itself, which may be a link to
            wherever the operator let it point.

    Raises:
        InvalidRequestError: no folder's name, or one that leads out of the store.
    """
    if name is None:
        return model
    store = Path(os.path.abspath(model)).parent  # noqa: PTH100  not where a link leads to
    if not NAME.fullmatch(name):
        raise InvalidRequestError(
            f"body.model: {name[:100]!r} is not the name of a folder in the model store."
        )
    folder = store / name
    if not folder.resolve().is_relative_to(store.resolve()):
        raise InvalidRequestError(f"body.model: {name!r} leads out of the model store.")
    return folder
