"""The order of a shutdown; `tests/acceptance/test_graceful_shutdown.py` has real processes."""

import asyncio
import signal

import pytest
import uvicorn

from app.serving.server.graceful_shutdown import DrainingServer


class Lifespan:
    """Notes whether the server still accepted connections when the application drained."""

    def __init__(self, listening):
        self.should_exit, self._listening, self.seen = False, listening, []

    async def shutdown(self):
        self.seen.append(self._listening())


async def no_content(scope, receive, send):
    pass


@pytest.fixture
def server():
    return DrainingServer(uvicorn.Config(no_content, log_config=None))


def test_the_application_drains_before_the_socket_closes(server):
    async def main():
        listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        server.servers = [listener]
        server.lifespan = Lifespan(listener.is_serving)
        await server.shutdown()
        # uvicorn's own shutdown calls it once more, which does nothing in a real lifespan.
        assert server.lifespan.seen[0]
        assert not listener.is_serving()

    asyncio.run(main())


def test_the_first_signal_asks_the_server_to_end(server):
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
