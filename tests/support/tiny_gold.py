"""Made-up hand-labelled ads and the archive of a base encoder, as in the shared folder."""

import csv
import json
import tarfile
from pathlib import Path

TABLE = """\
acme-1|CH|Koch 80-100%|Sie kochen. Abgeschlossene Lehre, Koch EFZ.|cooking||vocational|
acme-2|CH|Küchenchefin|Sie führen. Diplom HF oder Bachelor.|cooking|cleaning|advanced|
acme-3|CH||Raumpflege. Quereinsteiger gesucht.|cleaning||none|vocational
beta-1|DE|Grafiker (m/w/d)|Wir gestalten Plakate.|design|materials|vocational|advanced
beta-2|DE|Offizier|Master oder Staatsexamen.|security||master|
"""
GOLD_ROWS = tuple(tuple(line.split("|")) for line in TABLE.splitlines())
"""Id, country, title, text, then each head's label and its second accepted label."""

GOLD_COLUMNS = ("id", "category", "category_alt", "education", "education_alt")


def write_gold(shared: Path, rows: tuple[tuple[str, ...], ...] = GOLD_ROWS) -> Path:
    """Write `data/ads.jsonl` and `data/gold_dev.csv`; returns the shared folder."""
    data = shared / "data"
    data.mkdir(parents=True, exist_ok=True)
    with (data / "ads.jsonl").open("w", encoding="utf-8") as file:
        for key, country, title, text, *_ in (*rows, ("acme-9", "CH", "", "Nicht gelesen.")):
            ad = {"id": key, "country": country, "title": title or None, "text": text}
            file.write(json.dumps(ad, ensure_ascii=False) + "\n")
    with (data / "gold_dev.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(GOLD_COLUMNS)
        table.writerows((row[0], *row[4:]) for row in rows)
    return shared


def write_base_archive(shared: Path, base: Path) -> Path:
    """Pack a base encoder into the archive of the shared folder; returns the archive."""
    archive = shared / "base-encoder" / "base-encoder.tar.xz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:xz") as tar:
        for file in sorted(base.iterdir()):
            tar.add(file, file.name)
    return archive
