"""Memory and threads of a serving process: garbage collection, free pages, short-lived threads."""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

TRIM_INTERVAL_SECONDS = 5.0
"""A trim takes some milliseconds, and the next batches have to fetch their pages again."""


def trim_heap() -> bool:
    """Return the C library's free pages to the system; return whether there were any.

    Batches of varying lengths leave holes in glibc's heap: it grows by a gigabyte an hour although
    nothing in it is used. Other C libraries return pages by themselves or have no such call.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(trim(0))


async def trim_heap_regularly(
    trim: Callable[[], object] = trim_heap, interval_seconds: float = TRIM_INTERVAL_SECONDS
) -> None:
    """Trim the heap every few seconds, in a thread, until cancelled."""
    while True:
        await asyncio.sleep(interval_seconds)
        await asyncio.to_thread(trim)


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Exempt all objects that the block creates from garbage collection, now and later.

    For imports and loading. The libraries are half a million objects that live as long as the
    process: collecting among them takes a tenth of the start, and later pauses every request.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


async def run_in_short_lived_thread(
    function: Callable[Arguments, Result], *args: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """Call `function` in a new thread that ends afterwards, and return its result.

    OpenMP keeps worker threads for every thread that has computed with torch, as long as that
    thread lives. If there are more of them than cores, they sleep between two products instead of
    spinning: on two cores a pass then takes 25 % longer, in int8 50 %. So the thread that loads and
    warms up a model must end before another one runs it.
    """
    executor = ThreadPoolExecutor(1)
    try:
        call = executor.submit(function, *args, **options)
        return await asyncio.wrap_future(call)
    finally:
        executor.shutdown(wait=False)
