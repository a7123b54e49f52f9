"""Label files: JSON with the labels of both heads, for training on labels in a fixed order."""

import json
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from app.core.errors import DataError
from app.core.head_labels import HEADS, Head
from app.core.types import Labels


def read_labels(path: Path) -> dict[str, Head]:
    """Read a label file: one JSON object with both heads by name, each in the form of `Head`.

    Raises:
        DataError: the file is missing or malformed; names the file and the field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError.at(path, "there is no such label file.") from error
    except (OSError, ValueError) as error:
        raise DataError.at(path, "is not a JSON file in UTF-8.") from error
    if not isinstance(content, dict) or sorted(content) != sorted(HEADS):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else "something else"
        raise DataError.at(
            path, f"a label file is an object with {' and '.join(HEADS)}, not with {found or '{}'}."
        )
    heads = {}
    for name in HEADS:
        try:
            heads[name] = Head.model_validate(content[name])
        except ValidationError as error:
            raise DataError.at(path, f"{_sentence(name, error)}.") from error
    return heads


def did_you_mean(label: str, labels: Labels) -> str:
    """Return the end of a sentence: "; did you mean 'X'?" if a label is similar, else "."."""
    by_casefolded = {known.casefold(): known for known in labels}
    close = get_close_matches(label.casefold(), by_casefolded, n=1)
    return f"; did you mean '{by_casefolded[close[0]]}'?" if close else "."


def _sentence(head: str, error: ValidationError) -> str:
    """Return the first problem that pydantic found in a head, after the path of its field."""
    first = error.errors()[0]
    place = ".".join([head, *map(str, first["loc"])])
    if first["loc"] == ("labels",) and first["type"] == "too_short":
        return f"{place}: a head needs at least two labels"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"
