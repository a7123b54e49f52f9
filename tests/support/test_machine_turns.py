import threading
from concurrent.futures import ThreadPoolExecutor

from tests.support.machine_turns import turn


def test_turns_are_taken_side_by_side(tmp_path):
    both = threading.Barrier(2, timeout=20)

    def take():
        with turn(tmp_path, alone=False):
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(take) for _ in range(2)]:
            one.result()


def test_whoever_is_alone_waits_for_others_and_is_waited_for(tmp_path):
    seen: list[str] = []
    begun = threading.Event()

    def beside(name: str):
        with turn(tmp_path, alone=False):
            seen.append(name)

    def alone():
        begun.set()
        with turn(tmp_path, alone=True):
            seen.append("alone")
            later = pool.submit(beside, "later")
            # It cannot end before this turn does.
            assert not later.done()
            seen.append("alone still")
        return later

    with ThreadPoolExecutor(2) as pool:
        with turn(tmp_path, alone=False):
            waiting = pool.submit(alone)
            assert begun.wait(20)
            seen.append("first")
        waiting.result(20).result(20)
    assert seen == ["first", "alone", "alone still", "later"]
