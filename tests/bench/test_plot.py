from app.bench.plot import plot_loads
from app.bench.summary import LoadSummary


def test_loads_without_any_answer_are_left_out_of_the_plot(tmp_path):
    latency = {"p50": 5.0, "p95": 8.0, "p99": 9.0, "p99.9": 9.5, "max": 10.0}
    loads = [
        LoadSummary(rate, None, 1.0, rate, rate, rate, rate, times, {}, {}, {}, {})
        for rate, times in ((20.0, latency), (10.0, {}))
    ]
    plot_loads(loads, tmp_path / "load.png", knee=20.0)
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
