"""Several processes are tested with the command, in `tests/acceptance/test_bench_command.py`."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.bench.http_client import classify_request
from app.bench.load_generator import LoadPlan, PreparedRequest
from app.bench.sender_processes import SenderPool


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a server in a thread that answers every request with 200."""
    loop, started, addresses = asyncio.new_event_loop(), threading.Event(), []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"tokens": 7}')
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            addresses.append("http://{}:{}".format(*server.sockets[0].getsockname()))
            started.set()
            await stopped.wait()

    stopped = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield addresses[0]
    loop.call_soon_threadsafe(stopped.set)
    thread.join()
    loop.close()


def test_one_process_sends_the_plan_itself(address):
    requests = [PreparedRequest(classify_request({"text": "Koch"}))]
    plan = LoadPlan(address, requests, connections=2, warm_up=0.0, duration=0.1)
    with SenderPool() as workers:
        samples, sent = workers.run(plan)
    assert sent == pytest.approx(0.1, abs=0.05)
    assert len(samples) >= 2
    assert set(samples["status"].tolist()) == {200}
    assert set(samples["tokens"].tolist()) == {7}
