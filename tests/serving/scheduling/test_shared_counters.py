import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.shared_counters import SharedCounters

ROWS, ENGINES = 3, 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    SharedCounters.create(tmp_path / "counters", ROWS, ENGINES)
    return tmp_path / "counters"


@pytest.fixture
def opened(path: Path) -> list[SharedCounters]:
    """The same counters, opened for each of the processes."""
    return [SharedCounters.open(path, ROWS, ENGINES, row) for row in range(ROWS)]


def test_each_process_writes_its_row_and_reads_the_sums(opened):
    for row, counters in enumerate(opened):
        counters.loads[1].count(Lane.INTERACTIVE, row + 1, 100)
    opened[0].loads[1].count(Lane.BULK, 5, 7)
    for counters in opened:
        load = counters.loads[1]
        assert (load.ads, load.tokens(Lane.INTERACTIVE), load.tokens(Lane.BULK)) == (11, 300, 7)
        assert counters.loads[0].ads == 0
    assert [counters.loads[1].own_ads for counters in opened] == [6, 2, 3]
    assert [counters.loads[1].own_tokens for counters in opened] == [107, 100, 100]


def test_clear_sets_one_row_to_zero(opened):
    for counters in opened:
        for load in counters.loads:
            load.count(Lane.BULK, 1, 10)
    opened[0].clear(1)
    assert [load.ads for load in opened[2].loads] == [2, 2]
    assert [load.tokens(Lane.BULK) for load in opened[2].loads] == [20, 20]


def test_an_engines_rate_is_shared(opened):
    opened[0].select_engines(range(1, 2)).loads[0].rate = 12.5
    assert [load.rate for load in opened[2].loads] == [0.0, 12.5]


def test_the_next_retry_time_is_shared(opened):
    opened[1].next_retry_at = 60.25
    assert opened[2].next_retry_at == 60.25


def advance_retry_time(path: Path, times: int, barrier: Barrier) -> None:
    counters = SharedCounters.open(path, ROWS, ENGINES)
    barrier.wait(60)
    for _ in range(times):
        with counters.lock:
            counters.next_retry_at += 1.0


def test_the_lock_prevents_lost_updates_between_processes(path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [
        context.Process(target=advance_retry_time, args=(path, 20_000, barrier)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert SharedCounters.open(path, ROWS, ENGINES).next_retry_at == 60_000


def test_counters_of_one_process_are_not_shared():
    first, second = SharedCounters.for_one_process(5.0), SharedCounters.for_one_process(6.0)
    first.loads[0].count(Lane.BULK, 1, 1)
    assert (second.loads[0].ads, second.loads[0].rate) == (0, 6.0)
