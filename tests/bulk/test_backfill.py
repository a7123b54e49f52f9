"""Backfills: a worker's answers beside one machine's, and a real cluster that loses a node."""

import json
import os
import shutil
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from app.bulk.backfill import Engines, Worker, check_rows
from app.bulk.input_scan import fingerprint, inspect
from app.bulk.input_splits import splits_of
from app.bulk.journal import Journal
from app.bulk.output_partitions import Partitions
from app.bulk.predict import Predictor, check, journal_of, predict
from app.bulk.storage import Place
from app.core.errors import StartupError
from app.core.head_labels import labels_of
from app.data.files import read_rows
from app.data.labelled_ads import Columns
from app.model.checkpoint import open_checkpoint
from tests.support.ad_files import LABELLED_ADS, write_ads
from tests.support.hashing_engine import HashingEngine
from tests.support.polling import wait_until

HASHING = "tests.support.hashing_engine:HashingEngine"
TEXTS = [row["text"] for row in LABELLED_ADS]


def ads(count):
    """Every hundredth has no text."""
    return [
        {"id": str(number), "text": f"{TEXTS[number % 9]} {number}" if number % 100 else ""}
        for number in range(count)
    ]


def alone(folder, data, engine=None):
    """Return the rows that one machine writes."""
    out, checkpoint, columns = data.with_name("alone.jsonl"), open_checkpoint(folder), Columns()
    engine = engine or HashingEngine(checkpoint)
    predictor = Predictor(
        engine.run, checkpoint.tokenizer(), labels_of(checkpoint.heads), engine.batch_tokens
    )
    with Journal(journal_of(out), {}, out) as journal:
        predict(check(data, columns), columns, "text", out, journal, predictor.answer)
    return [row for _, row in read_rows(out)]


def parts(out):
    return sorted(out.glob("part-*.parquet"))


def rows_of(out):
    return pa.concat_tables(pq.read_table(path) for path in parts(out)).to_pylist()


def worker(folder, out, revision=None, data=None, rows=512):
    """Return a worker, and the splits of a file."""
    found = inspect(fs.LocalFileSystem(), str(data), Columns(), rows)
    schema = pa.ipc.read_schema(pa.py_buffer(found.schema))
    revision = revision or open_checkpoint(folder).revision
    engines = Engines(folder, revision, "cpu", "auto", None, HASHING)
    partitions = Partitions(Place.of(str(out)))
    partitions.begin({"input": fingerprint([found])})
    made = Worker(engines, fs.LocalFileSystem(), schema, "text", partitions)
    return made, [vars(split) for split in splits_of([found], rows)]


def test_splits_in_any_order_get_the_answers_of_one_machine(tmp_path, tiny_folder):
    data = write_ads(tmp_path / "ads.jsonl", ads(2500))
    answering, splits = worker(tiny_folder, tmp_path / "out", data=data, rows=1024)
    found = [answering(split) for split in reversed(splits)]
    assert [(one["number"], one["rows"], one["errors"]) for one in found] == [
        (2, 452, 4), (1, 1024, 10), (0, 1024, 11)
    ]  # fmt: skip
    assert rows_of(tmp_path / "out") == alone(tiny_folder, data)


def test_splits_of_less_than_a_chunk_would_get_other_answers(tmp_path, tiny_folder):
    """Or the test above would prove nothing."""
    data = write_ads(tmp_path / "ads.jsonl", ads(600))
    answering, splits = worker(tiny_folder, tmp_path / "out", data=data, rows=100)
    for split in splits:
        answering(split)
    assert rows_of(tmp_path / "out") != alone(tiny_folder, data)
    check_rows(1024)
    for rows in (0, 100, -512):
        with pytest.raises(StartupError, match=f"a multiple of 512, not {rows}"):
            check_rows(rows)


@pytest.mark.parametrize("kind", ["missing", "another"])
def test_a_machine_without_the_checkpoint_says_so(tmp_path, tiny_folder, kind):
    data = write_ads(tmp_path / "ads.jsonl", ads(3))
    folder = tmp_path / "none" if kind == "missing" else tiny_folder
    answering, (split,) = worker(folder, tmp_path / "out", "00000000", data)
    message = "There is no checkpoint folder" if kind == "missing" else ", not 00000000."
    assert message in answering(split)["refused"]
    assert not parts(tmp_path / "out")


def test_a_file_that_changed_is_told_by_the_worker(tmp_path, tiny_folder):
    data = write_ads(tmp_path / "ads.jsonl", ads(600))
    answering, splits = worker(tiny_folder, tmp_path / "out", data=data)
    write_ads(data, ads(601))
    assert "changed while it was read" in answering(splits[0])["refused"]


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one CPU; a dead one is missed within seconds."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    config = {
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 2000,
        "health_check_failure_threshold": 4,
    }
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": config},
    )
    try:
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
    finally:
        made.shutdown()


def command(cluster, folder, data, out, *words):
    options = ["--data", str(data), "--out", str(out), "--partition-rows", "512", *words]
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "predict", str(folder), *options, "--ray", "auto"],
        env=os.environ | {"RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.server
def test_the_command_gives_the_bytes_of_the_single_machine(cluster, tmp_path, tiny_folder):
    from app.engine.engine import Engine

    folder = tmp_path / "ads"
    folder.mkdir()
    for name in ("a.csv", "b.jsonl", "c.parquet"):
        write_ads(folder / name, ads(700))
    done = command(cluster, tiny_folder, folder, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    told = f"Wrote 2100 rows to {tmp_path / 'out'}, 21 of them with an error.\n"
    assert (done.stdout, done.stderr) == (told, "")
    written = rows_of(tmp_path / "out")
    engine = Engine(open_checkpoint(tiny_folder), "cpu")
    for number, name in enumerate(("a.csv", "b.jsonl", "c.parquet")):
        expected = alone(tiny_folder, folder / name, engine)
        assert written[number * 700 : (number + 1) * 700] == expected


@pytest.mark.server
def test_a_broken_run_of_50000_ads_goes_on_and_survives_a_node(
    cluster, tmp_path, tiny_folder, capsys
):
    folder, out = shutil.copytree(tiny_folder, tmp_path / "tiny"), tmp_path / "out"
    data, alive = write_ads(tmp_path / "ads.jsonl", ads(50_000)), tmp_path / "engines"
    before = broken_run(folder, out, data)
    program = [
        "tests.support.hashing_engine",
        cluster.address,
        str(folder),
        str(data),
        str(out),
        "1024",
    ]

    def nodes_with_an_engine():
        known = alive.read_text().split() if alive.exists() else []
        return [node for node in cluster.worker_nodes if node.node_id in known]

    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", *program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        wait_until(
            lambda: len(parts(out)) >= len(before) + 3 and nodes_with_an_engine(), seconds=60
        )
        at_death, killed = len(parts(out)), time.monotonic()
        cluster.remove_node(nodes_with_an_engine()[0], allow_graceful=False)
        stdout, stderr = driver.communicate(timeout=120)
    ended = time.monotonic()
    assert driver.returncode == 0, stderr
    found = json.loads(stdout)
    assert (found["rows"], found["errors"], found["engines"]) == (50_000, 500, 3)
    assert at_death < 49 == len(parts(out))
    # What was whole is neither answered nor written again.
    assert found["there"] == len(before) * 1024
    assert before.items() <= {path: path.stat().st_mtime_ns for path in parts(out)}.items()
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [str(number) for number in range(50_000)]
    assert rows == alone(folder, data)
    with capsys.disabled():
        sys.stdout.write(
            f"\n50,000 ads, 3 engines: {found['there']} rows were there; a node died "
            f"{killed - began:.1f} s after the start, with {at_death} of 49 partitions written; "
            f"complete {ended - killed:.1f} s later (connecting {found['connecting']:.1f} s, "
            f"reading {found['reading']:.1f} s, answering {found['answering']:.1f} s).\n"
        )


def broken_run(folder, out, data):
    """Leave what a run leaves that is killed: some partitions, and some that are not whole."""
    answering, splits = worker(folder, out, data=data, rows=1024)
    for split in splits[:8]:
        answering(split)
    (out / ".partial-1").write_bytes(b"PAR1")
    before = {path: path.stat().st_mtime_ns for path in parts(out)}
    (out / "part-00030.parquet").write_bytes(b"PAR1")
    return before
