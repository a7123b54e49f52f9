"""Writes the training data of the demo checkpoint; the command `python -m app.training.demo`."""

import argparse
import csv
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from app.core.errors import DataError, DoppelkopfError
from app.training.demo.ad_generator import AdGenerator, GeneratedRow, KindShares
from app.training.demo.job_families import FamilyReader, merge_titles, read_families
from app.training.demo.occupations import JobTitle, read_catalog
from app.training.demo.taxonomy import Taxonomy

COLUMNS = ("title", "text", "job_category", "min_education", "group")
SOURCE_WEIGHTS = {"chosen": 12, "own": 12, "ba": 3, "esco": 2, "kldb": 1}
"""Weight of a title by its source; titles that employers use today have the largest."""

BALANCE_EXPONENT = 0.3
"""A category gets rows in proportion to its weighted titles to this power; 0 is an equal share."""


def main(
    arguments: Sequence[str] | None = None, read_families: FamilyReader = read_families
) -> int:
    """Run the command `python -m app.training.demo`; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        train, validation = write_training_data(
            options.shared,
            options.out,
            seed=options.seed,
            rows=options.rows,
            shares=KindShares(long=options.long_share),
            read_families=read_families,
        )
    except (DoppelkopfError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{train} training rows and {validation} validation rows in {options.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.training.demo",
        description="Writes the training data of the demo checkpoint.",
    )
    parser.add_argument(
        "--shared", type=Path, required=True, help="folder with data/ and taxonomy/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same rows")
    parser.add_argument("--rows", type=int, default=80_000, help="training and validation rows")
    parser.add_argument(
        "--long-share",
        type=float,
        default=KindShares().long,
        help="share of the composed ads that have every section",
    )
    return parser


def write_training_data(
    shared: Path,
    out: Path,
    *,
    seed: int,
    rows: int,
    shares: KindShares | None = None,
    read_families: FamilyReader = read_families,
) -> tuple[int, int]:
    """Write train.csv, validation.csv and labels.json.

    Args:
        shared: folder with the occupation data and the label tables.
        out: folder to write to; created if missing.
        seed: the same seed gives the same files.
        rows: how many rows to generate; the files have fewer, since duplicates are dropped.
        shares: shares of the kinds of rows.
        read_families: reads the job families.

    Returns:
        The numbers of training and validation rows.

    Raises:
        DataError: the occupation data is missing or malformed, or `rows` is below 1.
    """
    if rows < 1:
        raise DataError(f"--rows has to be at least 1, not {rows}")
    catalog = read_catalog(shared)
    families, family_titles = read_families(catalog.taxonomy)
    rng = random.Random(seed)  # noqa: S311 (reproducible, not secret)
    titles = merge_titles(family_titles, catalog.titles)
    held_out = draw_validation_codes(titles, rng)
    generator = AdGenerator(catalog, families, rng, shares or KindShares())
    generated = [generator.generate(job) for job in draw_titles(titles, rows, rng)]
    out.mkdir(parents=True, exist_ok=True)
    (out / "labels.json").write_text(labels_json(catalog.taxonomy), encoding="utf-8")
    validation = [row for row in generated if row.group in held_out]
    train = [row for row in generated if row.group not in held_out]
    return _write_csv(out / "train.csv", train), _write_csv(out / "validation.csv", validation)


def labels_json(taxonomy: Taxonomy) -> str:
    """Return the content of a label file with both heads, in the order of the label tables."""
    heads = {"job_category": taxonomy.categories, "min_education": taxonomy.levels}
    dumped = {name: head.model_dump(exclude={"temperature"}) for name, head in heads.items()}
    return json.dumps(dumped, ensure_ascii=False, indent=2) + "\n"


def draw_validation_codes(
    titles: Iterable[JobTitle], rng: random.Random, share: float = 0.04
) -> set[str]:
    """Draw a share of each category's KldB codes for validation, but never its only one."""
    codes: dict[str, set[str]] = defaultdict(set)
    for job in titles:
        codes[job.category].add(job.code)
    drawn: set[str] = set()
    for category in sorted(codes):
        if (count := len(codes[category])) > 1:
            drawn.update(rng.sample(sorted(codes[category]), max(1, round(share * count))))
    return drawn


def draw_titles(titles: Sequence[JobTitle], rows: int, rng: random.Random) -> list[JobTitle]:
    """Draw titles; those of rare categories are drawn more often than in proportion."""
    pools: dict[str, list[JobTitle]] = defaultdict(list)
    for job in titles:
        pools[job.category] += [job] * SOURCE_WEIGHTS[job.source]
    weights = {category: len(pool) ** BALANCE_EXPONENT for category, pool in sorted(pools.items())}
    total = sum(weights.values())
    drawn: list[JobTitle] = []
    for category, weight in weights.items():
        pool, missing = pools[category], round(rows * weight / total)
        while missing > 0:
            sample = rng.sample(pool, min(missing, len(pool)))
            drawn += sample
            missing -= len(sample)
    rng.shuffle(drawn)
    return drawn


def _write_csv(path: Path, rows: Iterable[GeneratedRow]) -> int:
    """Write the rows without duplicates; returns their number."""
    seen: set[tuple[str, str]] = set()
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in rows:
            if (row.title, row.text) not in seen:
                seen.add((row.title, row.text))
                table.writerow([getattr(row, column) for column in COLUMNS])
    return len(seen)
