import json

import pytest

from tests.support.ad_files import LABELLED_ADS, write_ads

FILES = ["--data", "a.csv", "--out", "o"]


def test_rows_with_an_error_are_counted(doppelkopf, tmp_path, tiny_folder):
    write_ads(tmp_path / "a.jsonl", [LABELLED_ADS[0], {**LABELLED_ADS[1], "text": ""}])
    code, out, err = doppelkopf("predict", tiny_folder, "--data", "a.jsonl", "--out", "p.jsonl")
    assert (code, out) == (0, "Wrote 2 rows to p.jsonl, 1 of them with an error.\n"), err
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [row["prediction_error"] for row in rows] == [None, "The text is empty."]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none", "--data", "a.csv", "--out", "b.xlsx"], "b.xlsx: the suffix has to"),
        (FILES, "Name a checkpoint folder, or a server with --server.\n"),
        (["none", *FILES, "--ray", "auto"], "There is no checkpoint folder none.\n"),
        (
            ["--ray", "none", *FILES],
            "--ray has to be auto, local or HOST:PORT, not 'none'.\n",
        ),
        (
            ["--server", "http://h", *FILES, "--ray", "auto"],
            "With --ray name a checkpoint folder, not a server.\n",
        ),
        (
            ["m", *FILES, "--ray", "auto", "--partition-rows", "100"],
            "--partition-rows has to be a multiple of 512, not 100.\n",
        ),
    ],
)
def test_a_prediction_that_cannot_start_prints_one_sentence(doppelkopf, words, message):
    code, out, err = doppelkopf("predict", *words)
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_ray_without_an_address_is_a_usage_error(doppelkopf, tiny_folder):
    code, out, err = doppelkopf("predict", tiny_folder, *FILES, "--ray")
    assert (code, out) == (2, "")
    assert "Option '--ray' requires an argument" in err


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "There is no Ray cluster at '127.0.0.1:1': "),
        ("no.host.invalid:6379", "There is no Ray cluster at 'no.host.invalid:6379': "),
        ("ray://127.0.0.1:1", "Ray Data cannot be driven over ray://; run the command on a mach"),
    ],
)
def test_a_missing_cluster_is_reported_in_seconds(doppelkopf, tiny_folder, address, message):
    code, out, err = doppelkopf("predict", tiny_folder, *FILES, "--ray", address)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(message)
