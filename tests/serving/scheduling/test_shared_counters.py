import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.shared_counters import SharedCounters

ROWS, ENGINES = 3, 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    SharedCounters.create(tmp_path / "ledger", ROWS, ENGINES)
    return tmp_path / "ledger"


@pytest.fixture
def ledgers(path: Path) -> list[SharedCounters]:
    """The same ledger, as each of the processes sees it."""
    return [SharedCounters.open(path, ROWS, ENGINES, row) for row in range(ROWS)]


def test_everyone_reads_the_sums_and_writes_a_row_of_its_own(ledgers):
    for row, ledger in enumerate(ledgers):
        ledger.accounts[1].count(Lane.INTERACTIVE, row + 1, 100)
    ledgers[0].accounts[1].count(Lane.BULK, 5, 7)
    for ledger in ledgers:
        busy = ledger.accounts[1]
        assert (busy.ads, busy.tokens(Lane.INTERACTIVE), busy.tokens(Lane.BULK)) == (11, 300, 7)
        assert ledger.accounts[0].ads == 0
    assert [ledger.accounts[1].own_ads for ledger in ledgers] == [6, 2, 3]
    assert [ledger.accounts[1].own_tokens for ledger in ledgers] == [107, 100, 100]


def test_the_row_of_who_is_no_more_is_cleared_and_no_other(ledgers):
    for ledger in ledgers:
        for account in ledger.accounts:
            account.count(Lane.BULK, 1, 10)
    ledgers[0].clear(1)
    assert [account.ads for account in ledgers[2].accounts] == [2, 2]
    assert [account.tokens(Lane.BULK) for account in ledgers[2].accounts] == [20, 20]


def test_an_engine_tells_everyone_its_rate(ledgers):
    ledgers[0].only(range(1, 2)).accounts[0].rate = 12.5
    assert [account.rate for account in ledgers[2].accounts] == [0.0, 12.5]


def test_the_promised_time_is_one_for_all(ledgers):
    ledgers[1].next_retry_at = 60.25
    assert ledgers[2].next_retry_at == 60.25


def promise(path: Path, times: int, together: Barrier) -> None:
    ledger = SharedCounters.open(path, ROWS, ENGINES)
    together.wait(60)
    for _ in range(times):
        with ledger.lock:
            ledger.next_retry_at += 1.0


def test_processes_that_promise_at_once_lose_no_promise(path):
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(3)
    processes = [context.Process(target=promise, args=(path, 20_000, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert SharedCounters.open(path, ROWS, ENGINES).next_retry_at == 60_000


def test_a_ledger_of_one_process_is_its_own():
    first, second = SharedCounters.of_one(5.0), SharedCounters.of_one(6.0)
    first.accounts[0].count(Lane.BULK, 1, 1)
    assert (second.accounts[0].ads, second.accounts[0].rate) == (0, 6.0)
