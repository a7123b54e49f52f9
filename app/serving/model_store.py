"""The model store: the folder that contains the served checkpoint's folder and others."""

import os
import re
from pathlib import Path

from app.core.errors import InvalidRequestError

FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
"""One folder's name: no path, and no hidden folder."""

MODEL_STORE = Path("model_store")
"""The store that contains the default of the setting `MODEL`."""


def checkpoint_folder(model: Path, name: str | None) -> Path:
    """Return the folder of the checkpoint that a running server shall load; it may not exist.

    Args:
        model: the setting `MODEL`; its parent is the store, even where `model` is a link.
        name: of a folder in the store; None for `model` itself, which may link out of the store.

    Raises:
        InvalidRequestError: `name` is not the name of a folder, or a link out of the store.
    """
    if name is None:
        return model
    store = Path(os.path.abspath(model)).parent  # noqa: PTH100  unlike resolve(), it keeps links
    if not FOLDER_NAME.fullmatch(name):
        raise InvalidRequestError(
            f"body.model: {name[:100]!r} is not the name of a folder in the model store."
        )
    folder = store / name
    if not folder.resolve().is_relative_to(store.resolve()):
        raise InvalidRequestError(f"body.model: {name!r} leads out of the model store.")
    return folder
