"""Threads that compute, and end when they have."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


async def run_in_short_lived_thread(
    work: Callable[Given, Result], *args: Given.args, **options: Given.kwargs
) -> Result:
    """Call `work` in a thread that ends with it, and return what it returns.

    OpenMP keeps helpers for every thread that has ever multiplied, for as long as that one lives.
    Where they are more than there are cores, all of them sleep between two products instead of
    looking out for the next: on two cores a pass then takes a quarter longer, in int8 half as long
    again. So whoever loads and warms up a model for another thread must not stay.
    """
    executor = ThreadPoolExecutor(1)
    try:
        call = executor.submit(work, *args, **options)
        return await asyncio.wrap_future(call)
    finally:
        executor.shutdown(wait=False)
