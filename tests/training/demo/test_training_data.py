import csv
import hashlib
import json
from collections import Counter

import pytest

from app.core.errors import DataError
from app.core.head_labels import Head
from app.model.checkpoint import open_checkpoint
from app.training.demo.taxonomy import read_taxonomy
from app.training.demo.training_data import labels_json, main, write_training_data
from tests.support.repository import DEMO, SHARED
from tests.support.tiny_occupations import write_occupation_tables
from tests.training.demo.conftest import no_families


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tiny(tmp_path):
    return write_occupation_tables(tmp_path / "shared")


def write(shared, out, **options):
    return write_training_data(shared, out, read_families=no_families, **options)


def test_the_command_writes_rows_and_labels(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--shared", str(tiny), "--out", str(out), "--rows", "200"]
    assert main(arguments, read_families=no_families) == 0
    assert "training rows" in capsys.readouterr().out
    rows = read(out / "train.csv")
    assert list(rows[0]) == ["title", "text", "job_category", "min_education", "group"]
    labels = json.loads((out / "labels.json").read_text(encoding="utf-8"))
    assert labels["min_education"]["labels"] == ["none", "vocational", "advanced", "master"]
    assert labels["min_education"]["ordered"] is True
    assert labels["job_category"]["ordered"] is False
    heads = {name: Head(**head) for name, head in labels.items()}
    assert heads["job_category"].codes_of(1) == {"kldb": ("232", "93")}
    assert heads["min_education"].codes_of(0) == {
        "kldb_level": ("1",),
        "dqr": ("1", "2"),
        "eqf": ("1", "2"),
        "credential": ("no requirements", "high school"),
    }
    assert {row["job_category"] for row in rows} <= set(labels["job_category"]["labels"])


def test_the_same_seed_writes_the_same_bytes(tiny, tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write(tiny, tmp_path / name, seed=seed, rows=150)
    first, second, third = ((tmp_path / n / "train.csv").read_bytes() for n in "abc")
    assert first == second
    assert first != third


def test_an_occupation_is_in_one_part_of_the_split(tiny, tmp_path):
    write(tiny, tmp_path / "out", seed=7, rows=300)
    train, validation = (
        {row["group"] for row in read(tmp_path / "out" / f"{name}.csv")}
        for name in ("train", "validation")
    )
    assert validation
    assert not train & validation


def test_there_are_no_duplicate_rows(tiny, tmp_path):
    count, _ = write(tiny, tmp_path / "out", seed=7, rows=400)
    rows = [(row["title"], row["text"]) for row in read(tmp_path / "out" / "train.csv")]
    assert len(rows) == len(set(rows)) == count


def test_a_missing_folder_gives_one_line_on_stderr(tmp_path, capsys):
    assert main(["--shared", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "does not exist" in error
    assert error.count("\n") == 1


def test_the_demo_checkpoint_has_the_codes_of_the_tables():
    if not (SHARED / "taxonomy").is_dir():
        pytest.skip(f"the label tables are not here: {SHARED}")
    if not DEMO.is_dir():
        pytest.skip("there is no demo checkpoint")
    taxonomy = read_taxonomy(SHARED / "taxonomy")
    heads = open_checkpoint(DEMO).heads
    assert heads["job_category"].codes == taxonomy.categories.codes
    assert heads["min_education"].codes == taxonomy.levels.codes
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(labels_json(taxonomy).encode()).hexdigest() in card


def test_the_real_tables_give_every_label_enough_rows(tmp_path):
    if not (SHARED / "data").is_dir():
        pytest.skip(f"the occupation data is not here: {SHARED}")
    write_training_data(SHARED, tmp_path, seed=7, rows=3000)
    rows = read(tmp_path / "train.csv")
    categories = Counter(row["job_category"] for row in rows)
    assert len(categories) == 34
    assert min(categories.values()) > 20
    assert {row["min_education"] for row in rows} == {"none", "vocational", "advanced", "master"}


def test_no_rows_are_refused(tiny, tmp_path):
    with pytest.raises(DataError, match="--rows has to be at least 1, not 0"):
        write(tiny, tmp_path / "out", seed=7, rows=0)
