"""Writes the demo checkpoint's training data.

python -m app.training.demo --shared ../shared --out .cache/demo --seed 7
"""

import argparse
import csv
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from app.core.errors import DataError, DoppelkopfError
from app.training.demo.ad_generator import AdWriter, Mix, Row
from app.training.demo.job_families import merge_titles, read_families
from app.training.demo.occupations import JobTitle, Taxonomy, read_catalog

COLUMNS = ("title", "text", "job_category", "min_education", "group")
SOURCE_WEIGHTS = {"chosen": 12, "own": 12, "ba": 3, "esco": 2, "kldb": 1}
"""How often a title is drawn: what employers write today before the historical index."""

BALANCE = 0.3
"""A category's share grows with its weighted titles to this power: 0 is equal, 1 as listed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        mix = replace(Mix(), long=options.long_share)
        train, validation = write_demo(
            options.shared, options.out, seed=options.seed, rows=options.rows, mix=mix
        )
    except (DoppelkopfError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{train} training rows and {validation} validation rows in {options.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.training.demo", description=__doc__)
    parser.add_argument(
        "--shared", type=Path, required=True, help="folder with data/ and taxonomy/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rows", type=int, default=80_000, help="rows in all")
    parser.add_argument("--long-share", type=float, default=Mix().long, help="of the composed ads")
    return parser


def write_demo(
    shared: Path, out: Path, *, seed: int, rows: int, mix: Mix | None = None
) -> tuple[int, int]:
    """Write train.csv, validation.csv and labels.json; returns how many rows each file has."""
    if rows < 1:
        raise DataError(f"{rows} rows are too few, ask for at least 1")
    catalog = read_catalog(shared)
    families, own = read_families(catalog.taxonomy)
    rng = random.Random(seed)  # noqa: S311 (a reproducible draw, no secret)
    titles = merge_titles(own, catalog.titles)
    held = held_out(titles, rng)
    writer = AdWriter(catalog, families, rng, mix or Mix())
    written = [writer.write(job) for job in draw_titles(titles, rows, rng)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "labels.json").write_text(labels_json(catalog.taxonomy), encoding="utf-8")
    validation = [row for row in written if row.group in held]
    train = [row for row in written if row.group not in held]
    return _write(out / "train.csv", train), _write(out / "validation.csv", validation)


def labels_json(taxonomy: Taxonomy) -> str:
    """Return both heads' labels with their names, in the order of the tables."""
    heads = {"job_category": taxonomy.categories, "min_education": taxonomy.levels}
    dumped = {name: head.model_dump(exclude={"temperature"}) for name, head in heads.items()}
    return json.dumps(dumped, ensure_ascii=False, indent=2) + "\n"


def held_out(titles: Iterable[JobTitle], rng: random.Random, share: float = 0.04) -> set[str]:
    """Choose whole occupations for validation, from each category with more than one."""
    codes: dict[str, set[str]] = defaultdict(set)
    for job in titles:
        codes[job.category].add(job.code)
    held: set[str] = set()
    for category in sorted(codes):
        if (count := len(codes[category])) > 1:
            held.update(rng.sample(sorted(codes[category]), max(1, round(share * count))))
    return held


def draw_titles(titles: Sequence[JobTitle], rows: int, rng: random.Random) -> list[JobTitle]:
    """Draw titles so that rare categories get enough; a title comes again when all have come."""
    pools: dict[str, list[JobTitle]] = defaultdict(list)
    for job in titles:
        pools[job.category] += [job] * SOURCE_WEIGHTS[job.source]
    weights = {category: len(pool) ** BALANCE for category, pool in sorted(pools.items())}
    total = sum(weights.values())
    drawn: list[JobTitle] = []
    for category, weight in weights.items():
        pool, wanted = pools[category], round(rows * weight / total)
        while wanted > 0:
            turn = rng.sample(pool, min(wanted, len(pool)))
            drawn += turn
            wanted -= len(turn)
    rng.shuffle(drawn)
    return drawn


def _write(path: Path, rows: Iterable[Row]) -> int:
    """Write each different row once; returns how many there were."""
    seen: set[tuple[str, str]] = set()
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in rows:
            if (row.title, row.text) not in seen:
                seen.add((row.title, row.text))
                table.writerow([getattr(row, column) for column in COLUMNS])
    return len(seen)
