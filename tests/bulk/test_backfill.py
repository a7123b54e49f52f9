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

from app.bulk.backfill import BackfillWorker, EngineSpec, check_partition_rows
from app.bulk.engine_predictor import EnginePredictor
from app.bulk.input_scan import fingerprint, scan_file
from app.bulk.input_splits import make_splits
from app.bulk.journal import Journal
from app.bulk.output_partitions import PartitionFolder
from app.bulk.predict import check_input, journal_path, predict
from app.bulk.storage import StoragePath
from app.core.errors import StartupError
from app.core.head_labels import labels_of
from app.data.files import read_rows
from app.data.labelled_ads import ColumnNames
from app.model.checkpoint import open_checkpoint
from tests.support.ad_files import LABELLED_ADS, write_ads
from tests.support.hashing_engine import HashingEngine
from tests.support.polling import wait_until

HASHING = "tests.support.hashing_engine:HashingEngine"
TEXTS = [row["text"] for row in LABELLED_ADS]


def ads(count):
    """Return ads of which every hundredth has no text."""
    return [
        {"id": str(number), "text": f"{TEXTS[number % 9]} {number}" if number % 100 else ""}
        for number in range(count)
    ]


def rows_of_one_machine(folder, data, engine=None):
    """Return the rows that a run without Ray writes."""
    out, checkpoint, columns = data.with_name("alone.jsonl"), open_checkpoint(folder), ColumnNames()
    engine = engine or HashingEngine(checkpoint)
    predictor = EnginePredictor(
        engine.run, checkpoint.tokenizer(), labels_of(checkpoint.heads), engine.batch_tokens
    )
    with Journal(journal_path(out), {}, out) as journal:
        predict(check_input(data, columns), columns, "text", out, journal, predictor.answer)
    return [row for _, row in read_rows(out)]


def parts(out):
    return sorted(out.glob("part-*.parquet"))


def rows_of(out):
    return pa.concat_tables(pq.read_table(path) for path in parts(out)).to_pylist()


def worker(folder, out, revision=None, data=None, rows=512):
    """Return a worker and the splits of a file, as rows of Ray Data."""
    found = scan_file(fs.LocalFileSystem(), str(data), ColumnNames(), rows)
    schema = pa.ipc.read_schema(pa.py_buffer(found.schema))
    revision = revision or open_checkpoint(folder).revision
    engines = EngineSpec(folder, revision, "cpu", "auto", None, HASHING)
    partitions = PartitionFolder(StoragePath.of(str(out)))
    partitions.begin({"input": fingerprint([found])})
    made = BackfillWorker(engines, fs.LocalFileSystem(), schema, "text", partitions)
    return made, [vars(split) for split in make_splits([found], rows)]


def test_splits_in_any_order_give_the_rows_of_one_machine(tmp_path, tiny_folder):
    data = write_ads(tmp_path / "ads.jsonl", ads(2500))
    predict_split, splits = worker(tiny_folder, tmp_path / "out", data=data, rows=1024)
    found = [predict_split(split) for split in reversed(splits)]
    assert [(one["number"], one["rows"], one["errors"]) for one in found] == [
        (2, 452, 4), (1, 1024, 10), (0, 1024, 11)
    ]  # fmt: skip
    assert rows_of(tmp_path / "out") == rows_of_one_machine(tiny_folder, data)


def test_splits_of_less_than_a_chunk_change_the_answers(tmp_path, tiny_folder):
    """Otherwise the test above would prove nothing."""
    data = write_ads(tmp_path / "ads.jsonl", ads(600))
    predict_split, splits = worker(tiny_folder, tmp_path / "out", data=data, rows=100)
    for split in splits:
        predict_split(split)
    assert rows_of(tmp_path / "out") != rows_of_one_machine(tiny_folder, data)
    check_partition_rows(1024)
    for rows in (0, 100, -512):
        with pytest.raises(StartupError, match=f"a multiple of 512, not {rows}"):
            check_partition_rows(rows)


@pytest.mark.parametrize("kind", ["missing", "another"])
def test_a_machine_without_the_checkpoint_refuses(tmp_path, tiny_folder, kind):
    data = write_ads(tmp_path / "ads.jsonl", ads(3))
    folder = tmp_path / "none" if kind == "missing" else tiny_folder
    predict_split, (split,) = worker(folder, tmp_path / "out", "00000000", data)
    message = "There is no checkpoint folder" if kind == "missing" else ", not 00000000."
    assert message in predict_split(split)["refused"]
    assert not parts(tmp_path / "out")


def test_a_worker_refuses_a_changed_file(tmp_path, tiny_folder):
    data = write_ads(tmp_path / "ads.jsonl", ads(600))
    predict_split, splits = worker(tiny_folder, tmp_path / "out", data=data)
    write_ads(data, ads(601))
    assert "changed while it was read" in predict_split(splits[0])["refused"]


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one CPU each; the death of one is noticed within seconds."""
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


def run_command(cluster, folder, data, out, *words):
    options = ["--data", str(data), "--out", str(out), "--partition-rows", "512", *words]
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "predict", str(folder), *options, "--ray", "auto"],
        env=os.environ | {"RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.server
def test_the_command_writes_the_rows_of_one_machine(cluster, tmp_path, tiny_folder):
    from app.engine.engine import Engine

    folder = tmp_path / "ads"
    folder.mkdir()
    for name in ("a.csv", "b.jsonl", "c.parquet"):
        write_ads(folder / name, ads(700))
    done = run_command(cluster, tiny_folder, folder, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    message = f"Wrote 2100 rows to {tmp_path / 'out'}, 21 of them with an error.\n"
    assert (done.stdout, done.stderr) == (message, "")
    written = rows_of(tmp_path / "out")
    engine = Engine(open_checkpoint(tiny_folder), "cpu")
    for number, name in enumerate(("a.csv", "b.jsonl", "c.parquet")):
        expected = rows_of_one_machine(tiny_folder, folder / name, engine)
        assert written[number * 700 : (number + 1) * 700] == expected


@pytest.mark.server
def test_an_interrupted_run_continues_and_survives_a_dead_node(
    cluster, tmp_path, tiny_folder, capsys
):
    """50,000 ads; what was written before is neither predicted nor written again."""
    folder, out = shutil.copytree(tiny_folder, tmp_path / "tiny"), tmp_path / "out"
    data, log = write_ads(tmp_path / "ads.jsonl", ads(50_000)), tmp_path / "engines"
    before = interrupted_run(folder, out, data)
    program = [
        "tests.support.hashing_engine",
        cluster.address,
        str(folder),
        str(data),
        str(out),
        "1024",
    ]

    def nodes_with_an_engine():
        known = log.read_text().split() if log.exists() else []
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
    assert found["there"] == len(before) * 1024
    assert before.items() <= {path: path.stat().st_mtime_ns for path in parts(out)}.items()
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [str(number) for number in range(50_000)]
    assert rows == rows_of_one_machine(folder, data)
    with capsys.disabled():
        sys.stdout.write(
            f"\n50,000 ads, 3 engines: {found['there']} rows were there; a node died "
            f"{killed - began:.1f} s after the start, with {at_death} of 49 partitions written; "
            f"complete {ended - killed:.1f} s later (connecting {found['connecting']:.1f} s, "
            f"reading {found['reading']:.1f} s, answering {found['answering']:.1f} s).\n"
        )


def interrupted_run(folder, out, data):
    """Leave what a killed run leaves: eight partitions, an incomplete one, and a damaged one."""
    predict_split, splits = worker(folder, out, data=data, rows=1024)
    for split in splits[:8]:
        predict_split(split)
    (out / ".partial-1").write_bytes(b"PAR1")
    before = {path: path.stat().st_mtime_ns for path in parts(out)}
    (out / "part-00030.parquet").write_bytes(b"PAR1")
    return before
