import json

from app.bench.engine_bench import EncoderShape, EngineReport, VariantRates
from app.bench.report import engine_document, load_document, show_engine, show_load, show_steps
from app.bench.summary import LoadSummary


def load(rate: float | None, p99: float = 10.0) -> LoadSummary:
    """Return the summary of a load that was answered completely, 20 ms late."""
    latency = {"p50": p99 / 2, "p99": p99}
    return LoadSummary(
        rate, 4, 10.0, rate or 9.0, rate or 9.0, 9.0, 90.0, latency, {"p99": 50.0, "max": 50.0},
        {200: 9, 429: 1}, {}, {200: 1},
    )  # fmt: skip


def cells(table) -> dict[str, list[str]]:
    return {column.header: list(column.cells) for column in table.columns}


def test_a_load_shows_its_mode_figures_and_warnings():
    mode, table, warning = show_load(load(None))
    assert mode == "closed loop, 4 connections, 10.0 s measured"
    shown = dict(zip(*cells(table).values(), strict=True))
    assert (shown["p99"], shown["rejected (429)"], shown["errors"]) == ("10.0 ms", "1", "none")
    assert warning.startswith("The generator was late itself")
    assert next(show_load(load(20.0))) == "open loop, 20 requests/s, 10.0 s measured"


def test_a_sweep_shows_its_loads_by_rate_and_its_knee():
    """A warning of several loads is shown once."""
    table, knee, _ = show_steps([load(20.0), load(40.0, 2000.0), load(5.0)], 1000)
    assert cells(table)["offered/s"] == ["5.0", "20.0", "40.0"]
    assert knee.startswith("The knee is at 20 requests/s: 9.0 ads/s")
    _, knee, _ = show_steps([load(5.0)], 1)
    assert knee == "No knee: no rate held (at least 95% answered in time, p99 at most 1 ms)."


def test_documents_hold_figures_and_provenance():
    document = json.loads(json.dumps(load_document([load(5.0)], "http://test", 1000)))
    assert (document["knee"], document["loads"][0]["statuses"]["200"]) == (5.0, 9)
    assert {"date", "command", "machine", "versions"} < set(document)
    assert "knee" not in load_document([load(5.0)], "http://test", None)
    report = EngineReport(
        EncoderShape(1, 1, 1),
        "cpu",
        "int8",
        1,
        8,
        [VariantRates("1 ad", [2.0], [4.0], [3.0])],
        [1.5],
    )
    document = json.loads(json.dumps(engine_document(report)))
    assert document["medians"] == [
        {"name": "1 ad", "ads": 2.0, "tokens": 4.0, "gflops": 3.0, "share": 2.0}
    ]
    _, table = show_engine(report)
    assert cells(table)["batch"] == ["1 ad", "float32 matmul alone"]
    assert cells(table)["of matmul"] == ["200%", "100%"]


def test_a_stop_before_the_first_round_shows_no_table():
    report = EngineReport(EncoderShape(1, 1, 1), "cpu", "float32", 1)
    assert list(show_engine(report))[1:] == ["No round was finished."]
