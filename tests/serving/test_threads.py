import asyncio
import threading

import pytest

from app.serving.threads import run_in_short_lived_thread


def test_work_is_done_in_a_thread_that_ends_with_it():
    async def main():
        worker = await run_in_short_lived_thread(threading.current_thread)
        assert worker is not threading.current_thread()
        worker.join(10)
        assert not worker.is_alive()
        assert await run_in_short_lived_thread(int, "11", base=2) == 3

    asyncio.run(main())


def test_what_fails_there_is_raised_here():
    with pytest.raises(ValueError, match="eleven"):
        asyncio.run(run_in_short_lived_thread(int, "eleven"))
