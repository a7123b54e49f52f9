import threading

import pytest

from app.serving.scheduling.watchdog import TOLERANCE, Watchdog


@pytest.fixture
def reports():
    return []


def test_a_batch_is_reported_after_its_tolerated_seconds(reports):
    watchdog = Watchdog(5.0, reports.append)
    watchdog.begin("batch", expected_seconds=2.0)
    for _ in range(round(5 + TOLERANCE * 2)):
        watchdog.tick()
    assert not reports
    watchdog.tick()
    assert reports == ["a batch does not come back"]


def test_a_finished_batch_is_not_reported(reports):
    watchdog = Watchdog(1.0, reports.append)
    watchdog.begin("batch", expected_seconds=0.0)
    watchdog.tick()
    watchdog.end("batch")
    for _ in range(100):
        watchdog.tick()
    assert not reports


def test_an_ended_thread_is_reported_at_the_next_tick(reports):
    watchdog = Watchdog(1000.0, reports.append)
    go = threading.Event()

    def engine() -> None:
        watchdog.watch_current_thread()
        go.wait(10)

    thread = threading.Thread(target=engine)
    thread.start()
    watchdog.tick()
    assert not reports
    go.set()
    thread.join()
    watchdog.tick()
    assert reports == ["a thread of the engine has ended"]
