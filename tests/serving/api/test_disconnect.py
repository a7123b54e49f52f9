import asyncio
import json
import threading

from tests.support.application import InProcessApp
from tests.support.held_engine import HeldEngine

AD = {"text": "Koch für die Küche im Restaurant"}


def test_a_disconnected_clients_work_is_dropped_before_it_runs(checkpoint):
    app = InProcessApp(checkpoint, settings={"max_queued_ads": 3, "max_batch_ads": 3})
    app.run = HeldEngine(app.run)
    with app.client() as client:
        try:
            disconnect_while_waiting(app, client)
        finally:
            app.run.go.set()


def disconnect_while_waiting(app, client):
    first = threading.Thread(target=client.post, args=("/classify",), kwargs={"json": AD})
    first.start()
    assert app.run.began.acquire(timeout=10)

    async def leave() -> None:
        """Send a whole request, then a disconnect."""
        gone = asyncio.Event()
        messages = [{"type": "http.request", "body": json.dumps(AD).encode(), "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/classify",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "app": app.app,
        }
        call = asyncio.create_task(app.app(scope, receive, send))
        while app.metric("queued_ads") < 2:  # noqa: ASYNC110  a gauge cannot be awaited
            await asyncio.sleep(0)
        gone.set()
        await call

    client.portal.call(leave)
    assert app.metric("queued_ads") == 1
    assert app.metric("requests_total", route="/classify", status="499") == 1
    app.run.go.set()
    first.join(10)
    assert app.run.batches == [1]
