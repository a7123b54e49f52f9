import asyncio
import gc
import threading
from pathlib import Path

import pytest

from app.serving.process import (
    frozen_gc,
    run_in_short_lived_thread,
    trim_heap,
    trim_heap_regularly,
)

STATUS = Path("/proc/self/status")


def resident_megabytes() -> float:
    (line,) = (line for line in STATUS.read_text("ascii").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(not STATUS.exists(), reason="there is no /proc to read the memory from")
def test_trim_heap_returns_pages_below_a_used_block():
    blocks = [b"x" * 100_000 for _ in range(2000)]
    # Without the trim, the last block holds the heap's end and all free pages below it.
    last = blocks.pop()
    full = resident_megabytes()
    del blocks
    if not trim_heap():
        pytest.skip("this C library has no call to return pages")
    assert resident_megabytes() < full - 150
    assert len(last) == 100_000


async def trims_until(times: int) -> int:
    """Trim regularly until it has happened `times` times; return how often it has in the end."""
    count = 0
    done = asyncio.Event()

    def trim() -> None:
        nonlocal count
        count += 1
        if count == times:
            loop.call_soon_threadsafe(done.set)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(trim_heap_regularly(trim, interval_seconds=0))
    await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return count


def test_the_heap_is_trimmed_regularly_until_cancelled():
    assert asyncio.run(trims_until(3)) >= 3


def test_frozen_gc_exempts_objects_that_the_block_creates():
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


def test_the_thread_ends_after_its_function():
    async def main():
        worker = await run_in_short_lived_thread(threading.current_thread)
        assert worker is not threading.current_thread()
        worker.join(10)
        assert not worker.is_alive()
        assert await run_in_short_lived_thread(int, "11", base=2) == 3

    asyncio.run(main())


def test_an_error_in_the_thread_reaches_the_caller():
    with pytest.raises(ValueError, match="eleven"):
        asyncio.run(run_in_short_lived_thread(int, "eleven"))
