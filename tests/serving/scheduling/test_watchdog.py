import threading

import pytest

from app.serving.scheduling.watchdog import TOLERANCE, Watchdog


@pytest.fixture
def barks():
    return []


def test_a_batch_has_its_expected_seconds_many_times_and_then_the_limit(barks):
    watchdog = Watchdog(5.0, barks.append)
    watchdog.begin("batch", expected_seconds=2.0)
    for _ in range(round(5 + TOLERANCE * 2)):
        watchdog.tick()
    assert not barks
    watchdog.tick()
    assert barks == ["a batch does not come back"]


def test_a_batch_that_came_back_is_forgotten(barks):
    watchdog = Watchdog(1.0, barks.append)
    watchdog.begin("batch", expected_seconds=0.0)
    watchdog.tick()
    watchdog.end("batch")
    for _ in range(100):
        watchdog.tick()
    assert not barks


def test_a_thread_that_ended_is_noticed_at_the_next_tick(barks):
    watchdog = Watchdog(1000.0, barks.append)
    go = threading.Event()

    def engine() -> None:
        watchdog.enlist()
        go.wait(10)

    thread = threading.Thread(target=engine)
    thread.start()
    watchdog.tick()
    assert not barks
    go.set()
    thread.join()
    watchdog.tick()
    assert barks == ["a thread of the engine has ended"]
