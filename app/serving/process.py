"""What is done about memory: no search for garbage at the start, free pages given back.

Batches of ever other lengths leave holes in the C library's heap, which grows by a gigabyte an hour
though nothing in it is in use. Asked to, glibc gives whole free pages back; other C libraries do so
by themselves or have no such call.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL_SECONDS = 5.0
"""Asking costs some milliseconds, and the next batches fetch their pages anew."""


def trim_heap() -> bool:
    """Return free pages to the system; tell whether there were any."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(trim(0))


async def give_back_regularly(
    give: Callable[[], object] = trim_heap, interval_seconds: float = INTERVAL_SECONDS
) -> None:
    """Give back in a thread, again and again until cancelled."""
    while True:
        await asyncio.sleep(interval_seconds)
        await asyncio.to_thread(give)


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Import and load without searching for garbage, now or later, in what is made meanwhile.

    The libraries are half a million objects that live as long as the process: to look through them
    again and again takes a tenth of the start, and later pauses everything that is answered.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
