import asyncio

import httpx
import pytest

from app.client import AsyncDoppelkopfClient
from tests.support.fake_transport import FakeService


def test_api_key_is_not_shown():
    client = AsyncDoppelkopfClient("http://fake", api_key="a-key-of-good-length")
    assert "a-key-of-good-length" not in repr(client) + str(vars(client))
    assert "http://fake" in repr(client)


def test_async_with_statement_closes_the_connections():
    async def use_after_close():
        async with AsyncDoppelkopfClient("http://fake") as client:
            pass
        await client.ready()

    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(use_after_close())


def test_stream_takes_ads_from_an_async_iterable():
    async def ads():
        for number in range(6):
            yield {"text": "Koch", "id": str(number)}

    async def ids():
        transport = httpx.MockTransport(FakeService())
        async with AsyncDoppelkopfClient("http://fake", transport=transport) as client:
            return [answer.id async for answer in client.stream(ads())]

    assert asyncio.run(ids()) == ["0", "1", "2", "3", "4", "5"]
