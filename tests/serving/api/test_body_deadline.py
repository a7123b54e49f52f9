import asyncio

import pytest

from app.core.errors import SlowBodyError
from app.serving.api.body_deadline import BodyDeadline, lift_body_deadline


def run(app, receive, seconds):
    """Hand one request to an application behind a deadline."""

    async def send(message):
        pass

    asyncio.run(BodyDeadline(app, seconds)({"type": "http"}, receive, send))


def test_a_missing_body_is_refused_and_closes_the_connection():
    async def app(scope, receive, send):
        with pytest.raises(SlowBodyError) as caught:
            await receive()
        assert caught.value.headers == {"Connection": "close"}

    async def silence():
        await asyncio.Event().wait()

    run(app, silence, seconds=0)


def test_all_parts_of_a_body_share_one_deadline():
    async def app(scope, receive, send):
        async def read_on():
            while True:
                await receive()

        with pytest.raises(SlowBodyError):
            await read_on()

    async def drip():
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b" ", "more_body": True}

    run(app, drip, seconds=0.02)


def test_after_a_complete_body_nothing_is_timed():
    messages = [
        {"type": "http.request", "body": b"{}", "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def app(scope, receive, send):
        assert (await receive())["body"] == b"{}"
        assert (await receive())["type"] == "http.disconnect"

    async def receive():
        if len(messages) == 1:
            for _ in range(10):
                await asyncio.sleep(0)
        return messages.pop(0)

    run(app, receive, seconds=0)


def test_a_lifted_deadline_no_longer_applies():
    messages = [{"type": "http.request", "body": b"a", "more_body": True}] * 3

    async def app(scope, receive, send):
        lift_body_deadline(scope)
        while messages:
            assert (await receive())["body"] == b"a"

    async def receive():
        for _ in range(10):
            await asyncio.sleep(0)
        return messages.pop()

    run(app, receive, seconds=0)
