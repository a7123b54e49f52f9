"""Made-up hand-labelled ads and a base encoder's archive for the tiny shared folder."""

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
ROWS = tuple(tuple(line.split("|")) for line in TABLE.splitlines())
"""Id, country, title, text, and each head's label with its second right answer."""

GOLD = ("id", "category", "category_alt", "education", "education_alt")


def write_gold(shared: Path, rows: tuple[tuple[str, ...], ...] = ROWS) -> Path:
    """Write `data/ads.jsonl` and `data/gold_dev.csv`; returns the shared folder."""
    data = shared / "data"
    data.mkdir(parents=True, exist_ok=True)
    with (data / "ads.jsonl").open("w", encoding="utf-8") as file:
        for key, country, title, text, *_ in (*rows, ("acme-9", "CH", "", "Nicht gelesen.")):
            ad = {"id": key, "country": country, "title": title or None, "text": text}
            file.write(json.dumps(ad, ensure_ascii=False) + "\n")
    with (data / "gold_dev.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(GOLD)
        table.writerows((row[0], *row[4:]) for row in rows)
    return shared


def write_base(shared: Path, base: Path) -> Path:
    """Pack a base encoder as the shared folder holds it; returns the archive."""
    archive = shared / "base-encoder" / "base-encoder.tar.xz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:xz") as tar:
        for file in sorted(base.iterdir()):
            tar.add(file, file.name)
    return archive
