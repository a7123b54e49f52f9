"""Small files of labelled ads in the formats that users have."""

import csv
import itertools
import json
from pathlib import Path

from tests.conftest import LEVELS, TRADES

LABELLED_ADS = [
    {"text": f"{trade} {level}", "job_category": job, "min_education": education}
    for (job, trade), (education, level) in itertools.product(TRADES.items(), LEVELS.items())
]
"""One ad for each pair of a category and an education level."""


def write_ads(path: Path, rows: list[dict]) -> Path:
    """Write rows as CSV, Parquet or JSON lines, by the suffix; returns the path."""
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
