"""The ads that are sent and read, from a file of a user."""

from itertools import islice
from pathlib import Path

from app.core.errors import DataError
from app.core.types import Ad
from app.data.files import as_text, read_rows

MOST_ADS = 5000
"""Ads of a file that are used, its first: enough for a mix of lengths, little to hold."""


def read_ads(path: Path) -> list[Ad]:
    """Read the `text` and, where there is one, the `title` of a file's first `MOST_ADS` rows.

    Raises:
        DataError: the file cannot be read, a row has no text, or there is none.
    """
    ads = []
    for number, row in islice(read_rows(path), MOST_ADS):
        if not (text := as_text(row.get("text"))):
            raise DataError.at(path, "holds no text.", row=number, column="text")
        ads.append(Ad(text, as_text(row.get("title")) or None))
    if not ads:
        raise DataError.at(path, "holds no ads.")
    return ads
