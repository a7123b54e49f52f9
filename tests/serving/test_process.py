import asyncio
import gc
from pathlib import Path

import pytest

from app.serving.process import frozen_gc, give_back_regularly, trim_heap

STATUS = Path("/proc/self/status")


def resident_megabytes() -> float:
    (line,) = (line for line in STATUS.read_text("ascii").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(not STATUS.exists(), reason="there is no /proc to read the memory from")
def test_freed_blocks_below_one_in_use_go_back_to_the_system():
    blocks = [b"x" * 100_000 for _ in range(2000)]
    # Without the call the last block would keep the heap's end, and everything below it, here.
    last = blocks.pop()
    full = resident_megabytes()
    del blocks
    if not trim_heap():
        pytest.skip("this C library has nothing to give back by a call")
    assert resident_megabytes() < full - 150
    assert len(last) == 100_000


async def given(times: int) -> int:
    count = 0
    done = asyncio.Event()

    def give() -> None:
        nonlocal count
        count += 1
        if count == times:
            loop.call_soon_threadsafe(done.set)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(give_back_regularly(give, interval_seconds=0))
    await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return count


def test_it_gives_back_again_and_again_until_cancelled():
    assert asyncio.run(given(3)) >= 3


def test_what_is_loaded_is_never_searched_for_garbage():
    class Ring:
        pass

    before = gc.get_freeze_count()
    try:
        with frozen_gc():
            assert not gc.isenabled()
            rings = [Ring() for _ in range(100)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + 100
        assert not any(one in rings for one in gc.get_objects() if isinstance(one, Ring))
    finally:
        gc.unfreeze()
