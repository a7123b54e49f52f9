"""The comparison with peers: figures, reports, and a short run with a plain server."""

import argparse
import asyncio
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

from app.bench.http_client import LOST, HttpReply
from app.bench.load_generator import HELD_BACK, REQUEST_SAMPLE, UNANSWERED
from app.core.head_labels import HEADS
from app.core.types import Ad
from app.engine.engine import Engine
from app.model.checkpoint import Checkpoint, save_checkpoint
from tests.conftest import LEVELS, TRADES, tiny_model
from tests.measurements.peers.ad_requests import (
    AdRequests,
    AdSender,
    ad_requests,
    joined,
    separator,
)
from tests.measurements.peers.clear_ads import CLEAR, clear_ads
from tests.measurements.peers.compare import run, turns
from tests.measurements.peers.contender import Call, Contender
from tests.measurements.peers.contenders import PEERS, own, pinned
from tests.measurements.peers.environments import InstallError, install_environment, interpreter
from tests.measurements.peers.export import TWO_HEADS, export
from tests.measurements.peers.load_phases import (
    closed_loop_figures,
    outcomes,
    useful,
    wait_for_answer,
)
from tests.measurements.peers.options import described, parse
from tests.measurements.peers.peer_server import PeerServer, ServerError
from tests.measurements.peers.report import document, ratios, show
from tests.measurements.peers.results import (
    ClosedLoopFigures,
    ContenderResults,
    OverloadFigures,
    RoundFigures,
)
from tests.measurements.peers.servers.two_heads import TwoHeads
from tests.support.polling import wait_until
from tests.support.server_process import clean_environment

ADS = [
    Ad(f"{trade} {level}", title) for trade in TRADES.values() for level in LEVELS.values()
    for title in (None, "Koch für die Küche")
]  # fmt: skip


def a_turn(rate: float, useful: float = 1.0, limit: int = 32) -> RoundFigures:
    return RoundFigures(
        start_seconds=10 / rate,
        rest_mb=100,
        closed={
            count: ClosedLoopFigures(rate * count, 1000 / rate, {"useful": 9})
            for count in (1, 8, 32)
            if count <= limit
        },
        storm=OverloadFigures(
            3 * rate, useful, {"useful": 5, "left": 9}, None if useful == 0 else 2.0
        ),
        peak_mb=200,
    )


def a_standing(name: str, *turns: RoundFigures, **options: object) -> ContenderResults:
    contender = Contender(name, "", (), (), **options)
    return ContenderResults(contender, list(turns))


def peer(name: str) -> Contender:
    return next(one for one in PEERS if one.name == name)


# Contenders and rounds.


def test_rounds_alternate_their_order_and_skip_failed_contenders():
    standings = [a_standing(name) for name in "abc"]
    order = []
    for number, standing in turns(standings, 3):
        order.append(f"{standing.contender.name}{number}")
        if order[-1] == "b1":
            standing.failure = "it ended"
    assert order == ["a0", "b0", "c0", "c1", "b1", "a1", "a2", "c2"]


def options(*words: object) -> argparse.Namespace:
    needed = ("--ads", "ads.jsonl", "--environments", "somewhere")
    return parse([*needed, *map(str, words)])


def test_all_contenders_take_part_unless_some_are_named():
    names = [one.name for one in options("--own", "dtype=bfloat16,max_windows=1").contenders]
    assert names[:2] == ["doppelkopf", "doppelkopf:dtype=bfloat16,max_windows=1"]
    assert names[2:] == [one.name for one in PEERS]
    assert len(set(names)) == len(names)
    only = options("--only", "ray", "doppelkopf").contenders
    assert [one.name for one in only] == ["doppelkopf", "ray"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "ray", "triton"], "there is no triton, only doppelkopf, fastapi"),
        (["--own", "int8"], "settings are written as NAME=VALUE[,...], not 'int8'"),
        (["--out", "no/such.json"], "there is no folder no to write to"),
    ],
)
def test_bad_options_end_before_anything_is_installed(words, sentence, capsys):
    with pytest.raises(SystemExit):
        options(*words)
    assert sentence in capsys.readouterr().err


def test_own_settings_become_environment_variables():
    variables = own("dtype=int8,max_windows=1").variables
    assert variables["DOPPELKOPF_DTYPE"] == "int8"
    assert variables["DOPPELKOPF_MAX_WINDOWS"] == "1"
    assert "DOPPELKOPF_DTYPE" not in own().variables


def test_recorded_command_has_no_folders():
    words = ["--ads", "../shared/ads.jsonl", "--only", "ray", "--environments", "/tmp/x"]  # noqa: S108
    assert described(words).endswith("compare --ads ads.jsonl --only ray --environments x")


def test_requirements_are_exact_and_torch_is_the_locked_one():
    for one in PEERS:
        assert set(one.requirements) >= set(pinned("torch"))
        assert all(re.fullmatch(r"[\w.-]+(\[[\w,]+\])?==[\w.]+", name) for name in one.requirements)
    same = {one.environment: one.requirements for one in PEERS}
    assert all(same[one.environment] == one.requirements for one in PEERS)


# Environments.


def test_environment_is_installed_once_for_the_same_requirements(tmp_path):
    ran: list[Sequence[str]] = []

    def fake(command: Sequence[str | Path]) -> str:
        ran.append([str(word) for word in command])
        (tmp_path / "a").mkdir(exist_ok=True)
        return ""

    for requirements in (["x==1"], ["x==1"], ["x==1", "y==2"]):
        assert interpreter(tmp_path / "a", requirements, fake) == tmp_path / "a/bin/python"
    assert [command[1:4] for command in ran] == [
        ["-m", "venv", "--clear"], ["-m", "pip", "install"],
        ["-m", "venv", "--clear"], ["-m", "pip", "install"],
    ]  # fmt: skip
    assert ran[-1][-2:] == ["x==1", "y==2"]


def test_incomplete_environment_is_installed_again(tmp_path):
    def broken(command: Sequence[str | Path]) -> str:
        (tmp_path / "a").mkdir(exist_ok=True)
        if "pip" in command:
            raise InstallError("no such version")
        return ""

    for _ in range(2):
        with pytest.raises(InstallError):
            interpreter(tmp_path / "a", ["x==1"], broken)


def test_failed_installation_is_recorded(tmp_path):
    def broken(command: Sequence[str | Path]) -> str:
        raise InstallError("no such version")

    standing = a_standing("peer", environment="peer", requirements=("x==1",))
    install_environment(standing, tmp_path, broken)
    assert standing.failure == "It cannot be installed: no such version"


# Exports, requests and answers.


@pytest.fixture(scope="module")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_files: dict[str, bytes]
) -> Checkpoint:
    """The tiny model with confident heads, each with its own temperature."""
    model = tiny_model()
    for head, temperature in zip(HEADS, (0.5, 2.0), strict=True):
        getattr(model, head).weight.data.mul_(8)
        model.config.heads[head]["temperature"] = temperature
    folder = tmp_path_factory.mktemp("store") / "sure"
    return save_checkpoint(folder, model, tokenizer_files, {}, "# sure\n")


@pytest.fixture(scope="module")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(checkpoint, folder)
    return folder


def test_joined_title_and_text_give_the_same_tokens(checkpoint, exported):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(exported / TWO_HEADS)
    for ad in [*ADS, Ad("  Koch für die Küche \n", "  Pflege ")]:
        [encoded] = checkpoint.tokenizer().encode([ad])
        assert len(encoded.windows) == 1
        ids = tokenizer(joined(ad, separator(checkpoint)), add_special_tokens=False)["input_ids"]
        assert ids == encoded.windows[0][1:-1].tolist()


def wrapped(ad: Ad, checkpoint: Checkpoint) -> str:
    """Add the special tokens, which the tests' tokenizer does not."""
    return f"[CLS]{joined(ad, separator(checkpoint))}[SEP]"


def test_exported_models_answer_like_the_engine(checkpoint, exported):
    texts = [wrapped(ad, checkpoint) for ad in ADS]
    expected = Engine(checkpoint, "cpu").run(checkpoint.tokenizer().encode(ADS))
    both = TwoHeads(exported / TWO_HEADS, threads=1)(texts)
    for found, scores in zip(both, expected, strict=True):
        for head in HEADS:
            values = scores.probabilities[head]
            assert found[head]["label"] == checkpoint.heads[head].labels[values.argmax()]
            assert found[head]["probability"] == pytest.approx(values.max(), abs=1e-5)
    for head in HEADS:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(exported / head)
        model = BertForSequenceClassification.from_pretrained(exported / head).eval()
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        values = [scores.probabilities[head] for scores in expected]
        assert logits.softmax(-1).detach().numpy() == pytest.approx(np.array(values), abs=1e-5)
        assert tuple(model.config.id2label.values()) == checkpoint.heads[head].labels


def test_clear_ads_fit_one_window_and_have_clear_labels(checkpoint):
    long = Ad("Koch für die Küche " * 200)
    found = clear_ads(checkpoint, [long, *ADS], 3)
    assert len(found) == 3
    assert long not in [ad for ad, _ in found]
    engine, tokenizer = Engine(checkpoint, "cpu"), checkpoint.tokenizer()
    for ad, labels in found:
        [scores] = engine.run(tokenizer.encode([ad]))
        for head in HEADS:
            second, first = np.sort(scores.probabilities[head])[-2:]
            assert first - second >= CLEAR
            best = scores.probabilities[head].argmax()
            assert labels[head] == checkpoint.heads[head].labels[best]
    assert clear_ads(checkpoint, ADS, 3, lead=0.9999) == []


def test_requests_have_the_form_of_each_contender():
    ad = Ad("Suppen kochen", "Koch")
    bodies = {}
    for one in [own(), *PEERS]:
        [calls] = ad_requests(one, "http://127.0.0.1:80", [ad], "</s>").calls
        bodies[one.name] = [json.loads(call.partition(b"\r\n\r\n")[2]) for call in calls]
    assert bodies["doppelkopf"] == [{"text": "Suppen kochen", "title": "Koch"}]
    assert bodies["fastapi"] == bodies["ray"] == [{"text": "Koch</s>Suppen kochen"}]
    assert bodies["bentoml"] == [{"texts": ["Koch</s>Suppen kochen"]}]
    assert bodies["infinity"] == [
        {"model": head, "input": ["Koch</s>Suppen kochen"]} for head in HEADS
    ]
    assert joined(Ad(" a\n", " b "), "|") == "b|a"


def test_answers_of_each_contender_are_parsed():
    labels = dict(zip(HEADS, ("kitchen", "none"), strict=True))
    whole = {head: {"label": label, "probability": 0.9} for head, label in labels.items()}
    single = [
        {"data": [[{"label": "z", "score": 0.1}, {"label": labels[head], "score": 0.9}]]}
        for head in HEADS
    ]
    answers = {"bentoml": [[whole]], "infinity": single}
    for one in [own(), *PEERS]:
        found = {}
        for call, answer in zip(one.calls, answers.get(one.name, [whole]), strict=True):
            found |= call.labels(answer)
        assert found == labels


def asking(*calls: bytes, patience: float | None = None, **replies: object) -> AdSender:
    """A sender whose calls get the status or body of their name; "never" gets no answer."""

    async def send(content: bytes, intended: float) -> HttpReply:
        answer = replies[content.decode()]
        if answer == "never":
            await asyncio.Event().wait()
        now = time.perf_counter()
        status = answer if isinstance(answer, int) else 200
        body = ["z", "9"] if status != 200 else answer
        return HttpReply(status, {}, now - intended, now, json.dumps(body).encode())

    labels = [Call("", lambda *_: None, lambda answer: {answer[0]: answer[1]}) for _ in calls]
    contender = Contender("", "", (), tuple(labels))
    return AdSender(send, AdRequests(contender, [calls]), patience)


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        ({"a": 200, "b": 200}, 200),
        ({"a": 429, "b": 200}, 429),
        ({"a": 200, "b": LOST}, LOST),
        ({"a": 200, "b": "never"}, UNANSWERED),
    ],
)
def test_ad_is_answered_when_all_its_calls_are(replies, status):
    # Short only for an answer that never comes; others may be as late as the machine is slow.
    patience = 0.05 if "never" in replies.values() else 60
    requests = asking(b"a", b"b", patience=patience, **replies)
    reply = asyncio.run(requests.send(b"0", time.perf_counter()))
    assert reply.status == status


def test_ad_sent_after_its_time_is_unanswered():
    late = time.perf_counter() - 9
    reply = asyncio.run(asking(b"a", patience=5, a="never").send(b"0", late))
    assert reply.status == UNANSWERED
    assert 9 <= reply.seconds < 60


@pytest.mark.parametrize(
    ("replies", "labels"),
    [
        ({"a": ["x", "1"], "b": ["y", "2"]}, {"x": "1", "y": "2"}),
        ({"a": ["x", "1"], "b": 500}, None),
        ({"a": ["x", "1"], "b": ["y"]}, None),
        ({"a": ["x", "1"], "b": 200}, None),
    ],
)
def test_labels_need_answers_to_all_calls(replies, labels):
    assert asyncio.run(asking(b"a", b"b", **replies).labels(0)) == labels


# Figures.


def test_ads_are_counted_by_outcome():
    statuses = [(200, 4.9), (200, 5.1), (429, 0.1), (503, 0.1), (500, 0.1), (LOST, 0.1),
                (UNANSWERED, 0.0), (HELD_BACK, 0.0), (200, 0.1)]  # fmt: skip
    shots = np.array(
        [(0, 0, took, status, 1, 0) for status, took in statuses], dtype=REQUEST_SAMPLE
    )
    assert outcomes(shots, frozenset({429, 503})) == {
        "useful": 2, "late": 1, "refused": 2, "500": 1, "lost": 1, "left": 1, "held back": 1,
    }  # fmt: skip


def test_useful_answers_are_in_time_and_before_the_end():
    rows = [(0, 1, 200), (1, 5.5, 200), (1, 5, 200), (9, 1.5, 200), (2, 1, 429), (9, 1, 200)]
    shots = np.array(
        [(at, 0, took, status, 1, 0) for at, took, status in rows], dtype=REQUEST_SAMPLE
    )
    assert useful(shots, 10) == 0.3


def test_closed_loop_counts_all_answers_until_the_last():
    # Eight at once and eight more at the end: four a second over the whole time.
    rows = [(0, 2, 200)] * 8 + [(2, 2, 200)] * 8 + [(0, 9, 503)] * 20
    shots = np.array(
        [(at, 0, took, status, 1, 0) for at, took, status in rows], dtype=REQUEST_SAMPLE
    )
    found = closed_loop_figures(shots, frozenset({503}))
    assert found == ClosedLoopFigures(4.0, 2000.0, {"refused": 20, "useful": 16})
    with pytest.raises(ServerError, match="No ad is answered in a closed loop"):
        closed_loop_figures(shots[-1:], frozenset({503}))


def test_medians_are_over_rounds_that_have_the_figure():
    medians = a_standing("a", a_turn(2, 0.0), a_turn(4), a_turn(20), a_turn(8)).medians()
    assert medians["ads_per_second_32"] == 32 * 6
    assert medians["useful_per_second"] == 1
    assert medians["next_ad_seconds"] == 2
    assert a_turn(3).capacity == 96
    assert a_turn(3, limit=16).capacity == 24


def test_ratio_above_one_means_our_server_is_better():
    ours = a_standing("doppelkopf", a_turn(6, useful=4)).medians()
    found = ratios(ours, a_standing("a", a_turn(3, useful=1, limit=16)).medians())
    assert found["ads_per_second_1"] == found["p50_ms_1"] == found["start_seconds"] == 2
    assert found["useful_per_second"] == 4
    assert "ads_per_second_32" not in found
    assert ratios(ours, a_standing("a", a_turn(3, 0.0)).medians())["useful_per_second"] is None
    assert ratios(ours, {}) == {}


def standings() -> list[ContenderResults]:
    failed = a_standing("c")
    failed.failure = "It ended with 1: no"
    return [
        a_standing("doppelkopf", a_turn(6, 4)),
        a_standing("doppelkopf:dtype=int8", a_turn(12, 9)),
        a_standing("a", a_turn(3, 1), batch=8),
        a_standing("b", a_turn(4, 2)),
        a_standing("d", a_turn(5, 3, limit=16), limit=16),
        failed,
    ]


def test_document_compares_each_own_variant_with_all():
    found = json.loads(json.dumps(document({"date": "today"}, standings()), allow_nan=False))
    assert found["date"] == "today"
    assert set(found["ratios"]) == {"doppelkopf", "doppelkopf:dtype=int8"}
    assert found["ratios"]["doppelkopf:dtype=int8"]["b"]["ads_per_second_8"] == 3
    assert found["contenders"][-1]["failure"] == "It ended with 1: no"
    assert found["contenders"][0]["rounds"][0]["storm"]["useful"] == 4


def test_tables_name_the_best_peers_and_the_failures():
    console = Console(width=200, record=True, file=io.StringIO())
    for one in show(standings()):
        console.print(one)
    text = console.export_text()
    for sentence in (
        "doppelkopf, ads/s at 32: 1.50 times b, the best.",
        "doppelkopf, ads/s at 32: 2.00 times a, the best that pads.",
        "doppelkopf, useful/s at 3x: 2.00 times b, the best as it comes.",
        "doppelkopf, useful/s at 3x: 1.33 times d, the best with a limit.",
        "doppelkopf:dtype=int8, p50 ms at 1: 3.00 times b, the best.",
        "c failed: It ended with 1: no",
    ):
        assert sentence in text


# Real processes.

FAMILY = (
    "import signal, subprocess, sys\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "wait = 'import time; time.sleep(600)'\n"
    "subprocess.Popen([sys.executable, '-c', 'held = bytearray(200 * 2**20);' + wait])\n"
    "subprocess.Popen([sys.executable, '-c', wait], start_new_session=True)\n"
    "print('all there', flush=True)\n"
    "exec(wait)\n"
)


@pytest.mark.server
def test_server_is_ended_with_all_its_descendants(tmp_path):
    log = tmp_path / "log"
    with PeerServer([sys.executable, "-c", FAMILY], {}, log, stop_seconds=0.2) as server:
        wait_until(lambda: log.read_text() == "all there\n", 20)
        wait_until(lambda: server.processes.resident_mb() > 200, 20)
        family = psutil.Process(server.processes.pid).children(recursive=True)
        assert len(family) == 2
    assert server.processes.peak_mb > 200
    assert not any(process.is_running() for process in family)


@pytest.mark.server
def test_server_that_does_not_start_reports_its_last_line(tmp_path):
    code = "raise SystemExit('there is no /some/folder/of/mine/model')"
    asked = ad_requests(own(), "http://127.0.0.1:1", [Ad("Koch")], "")
    with PeerServer([sys.executable, "-c", code], {}, tmp_path / "log") as server:
        with pytest.raises(ServerError, match="It ended with 1: there is no model"):
            wait_for_answer("http://127.0.0.1:1", asked, 60, server.require_alive)


@pytest.mark.server
def test_comparison_with_a_plain_server(checkpoint, tmp_path):
    """The peer runs in this environment; another has wrong labels, a third does not start."""
    ads, out, scratch = tmp_path / "ads.jsonl", tmp_path / "out.json", tmp_path / "scratch"
    ads.write_text("".join(json.dumps({"text": ad.text, "title": ad.title}) + "\n" for ad in ADS))
    plain = replace(peer("fastapi"), environment=None)
    [call] = plain.calls
    wrong = replace(call, labels=lambda _: dict.fromkeys(HEADS, "software"))
    given = options(
        "--model", checkpoint.path, "--out", out, "--seconds", 0.4, "--storm", 1, "--rounds", 1
    )
    given.ads = ads
    given.contenders = [
        own(),
        replace(plain, calls=(replace(call, body=lambda _, text: {"text": f"[CLS]{text}[SEP]"}),)),
        replace(plain, name="wrong", calls=(wrong,)),
        replace(plain, name="absent", command=("{python}", "-c", "raise SystemExit('no')")),
    ]
    scratch.mkdir()
    console = Console(width=200, record=True, file=io.StringIO())
    standings, ended = run(given, scratch, console)
    assert ended
    assert [len(one.turns) for one in standings] == [1, 1, 0, 0]
    assert "wrong failed: " in console.export_text()
    figures = json.loads(out.read_text())
    failures = [one["failure"] for one in figures["contenders"]]
    assert failures[:2] == [None, None]
    assert re.fullmatch(r"\d+ of \d+ ads are not answered with our labels\.", failures[2])
    assert failures[3] == "It ended with 1: no"
    for one in figures["contenders"][:2]:
        assert all(one["medians"][f"ads_per_second_{count}"] > 0 for count in (1, 8, 32))
        assert one["medians"]["peak_mb"] >= one["medians"]["rest_mb"] > 100
    assert figures["ratios"]["doppelkopf"]["fastapi"]["p50_ms_1"] > 0


@pytest.mark.server
def test_interrupted_comparison_leaves_figures_and_no_server(checkpoint, tmp_path):
    ads, out = tmp_path / "ads.jsonl", tmp_path / "out.json"
    ads.write_text("".join(json.dumps({"text": ad.text, "title": ad.title}) + "\n" for ad in ADS))
    words = ["--ads", ads, "--environments", tmp_path, "--model", checkpoint.path, "--out", out]
    contest = subprocess.Popen(
        [sys.executable, "-m", "tests.measurements.peers.compare", *map(str, words), "--only",
         "doppelkopf", "--seconds", "0.4", "--storm", "0.4", "--rounds", "1000"],
        env=clean_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(
        lambda: out.is_file() and json.loads(out.read_text())["ratios"] == {"doppelkopf": {}}, 90
    )
    wait_until(lambda: psutil.Process(contest.pid).children(), 30)
    servers = psutil.Process(contest.pid).children(recursive=True)
    contest.send_signal(signal.SIGTERM)
    shown, _ = contest.communicate(timeout=60)
    assert "Interrupted." in shown
    assert "Medians" in shown
    assert contest.returncode == 130
    assert not any(process.is_running() for process in servers)
