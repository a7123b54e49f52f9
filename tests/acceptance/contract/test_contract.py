"""The calls, errors and retries of both clients, against a real server."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.client import (
    AdIn,
    AsyncDoppelkopfClient,
    BusyError,
    DoppelkopfClient,
    FailedError,
    RefusedError,
    Retries,
    StreamAnswer,
    StreamError,
    UnreachableError,
)
from tests.acceptance.contract.conftest import KEY
from tests.support.faulty_engine import BROKEN, HELD, text_of_tokens
from tests.support.faulty_server import FaultyServer
from tests.support.polling import wait_until
from tests.support.server_process import free_port

pytestmark = pytest.mark.server


class ClientUnderTest:
    """The blocking or the asynchronous client, called in the same way."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind, self.address = kind, address

    def __call__(self, method: str, *args, **options):
        """Call a method of a new client; returns its answer, or a list of what it yields."""
        settings = {name: options.pop(name) for name in ("retries", "sleep") if name in options} | {
            "api_key": options.pop("api_key", KEY)
        }
        if self.kind == "blocking":
            with DoppelkopfClient(self.address, **settings) as client:
                answer = getattr(client, method)(*args, **options)
                return list(answer) if isinstance(answer, Iterator) else answer
        return asyncio.run(self._run(settings, method, args, options))

    async def _run(self, settings, method, args, options):
        async with AsyncDoppelkopfClient(self.address, **settings) as client:
            answer = getattr(client, method)(*args, **options)
            if hasattr(answer, "__aiter__"):
                return [one async for one in answer]
            return await answer


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request: pytest.FixtureRequest, server: FaultyServer) -> ClientUnderTest:
    return ClientUnderTest(request.param, server.address)


TEXTS = ["Koch für die Küche", "Python im Team " * 40, "Pflegefachkraft Station", "Master"] * 5


def test_all_calls_give_the_same_answers_in_order(call: ClientUnderTest) -> None:
    singles = [call("classify", text, id=str(number)) for number, text in enumerate(TEXTS)]
    ads = [AdIn(text=text, id=str(number)) for number, text in enumerate(TEXTS)]
    batch, stream = call("classify_many", ads), call("stream", ads)
    assert [one.line for one in stream] == list(range(1, len(TEXTS) + 1))
    for answers in (batch, stream):
        assert [one.id for one in answers] == [one.id for one in singles]
        assert [one.tokens for one in answers] == [one.tokens for one in singles]
        assert [one.job_category.label for one in answers] == [
            one.job_category.label for one in singles
        ]


def test_options_reach_the_server(call: ClientUnderTest, server: FaultyServer) -> None:
    plain = call("classify", "Koch", top_k=1)
    titled = call("classify", "Koch", title="Entwickler für Software", top_k=2)
    assert titled.tokens > plain.tokens
    assert [len(one.job_category.top) for one in (plain, titled)] == [1, 2]
    (streamed,) = call("stream", ["Koch"], top_k=2, first_line=77)
    assert (streamed.line, len(streamed.min_education.top)) == (77, 2)


def test_every_call_reads_html(call: ClientUnderTest) -> None:
    html = "<p>Koch</p><script>Python</script>"
    plain, marked = call("classify", "Koch"), call("classify", html, format="html")
    ad = AdIn(text=html, format="auto")
    (batch,), (line,) = call("classify_many", [ad]), call("stream", [ad])
    assert {one.tokens for one in (plain, marked, batch, line)} == {plain.tokens}
    assert call("classify", html).tokens > plain.tokens


def test_job_postings_get_a_patch(call: ClientUnderTest) -> None:
    posting = {"@type": "JobPosting", "identifier": "7", "description": "<p>Koch</p>"}
    (one,) = call("classify_jobposting", posting, top_k=1).results
    assert (one.id, len(one.job_category.top)) == ("7", 1)
    assert one.stated.min_education.text is None
    assert set(one.patch.model_dump(by_alias=True)) == {
        "occupationalCategory",
        "educationRequirements",
    }
    several = call("classify_jobposting", {"@graph": [posting, posting | {"identifier": "8"}]})
    assert [each.id for each in several.results] == ["7", "8"]
    with pytest.raises(RefusedError, match="422 Invalid request"):
        call("classify_jobposting", {"@type": "JobPosting"})


def test_model_call_returns_limits_and_labels(call: ClientUnderTest) -> None:
    model = call("model")
    assert model.name == "tiny"
    assert model.limits.max_batch_ads == 8
    first = model.heads.min_education.labels[0]
    assert (first.label, type(first.codes)) == ("none", dict)


def test_ready_call_needs_no_key(call: ClientUnderTest) -> None:
    assert call("ready", api_key=None) is True
    assert ClientUnderTest(call.kind, f"http://127.0.0.1:{free_port()}")("ready") is False


def test_wrong_key_raises_refused_error_on_every_call(call: ClientUnderTest) -> None:
    for method, ads in (("classify", "Koch"), ("classify_many", ["Koch"]), ("stream", ["Koch"])):
        with pytest.raises(RefusedError) as caught:
            call(method, ads, api_key="another-key-of-good-length")
        assert (caught.value.status, caught.value.title) == (401, "Unauthorized")
        assert "another-key" not in str(caught.value)


def test_refused_error_names_field_and_request(call: ClientUnderTest, server: FaultyServer) -> None:
    with pytest.raises(RefusedError, match=r"422 Invalid request: body.text") as caught:
        call("classify", " ")
    # The server logs the request after it has begun to answer.
    name = caught.value.request_id
    wait_until(lambda: name in server.log.read_text(encoding="utf-8"), seconds=20)
    with pytest.raises(RefusedError, match=r"body.ads.1.text"):
        call("classify_many", ["Koch", ""])
    with pytest.raises(RefusedError, match="413 Body too large"):
        call("classify", "a" * 5000)


def test_engine_failure_raises_failed_error(call: ClientUnderTest) -> None:
    with pytest.raises(FailedError) as caught:
        call("classify", text_of_tokens(BROKEN))
    assert caught.value.status == 500


def test_stream_reports_each_bad_ad_separately(call: ClientUnderTest) -> None:
    """For an invalid ad, one that is too large, and one whose pass fails."""
    ads = ["Koch", {"txet": "Koch"}, "a" * 5000, text_of_tokens(BROKEN), "Koch"]
    answers = call("stream", ads)
    assert [one.line for one in answers] == [1, 2, 3, 4, 5]
    statuses = [one.error.status if isinstance(one, StreamError) else 200 for one in answers]
    assert statuses == [200, 422, 413, 500, 200]


def test_expired_deadline_raises_failed_error(call: ClientUnderTest, server: FaultyServer) -> None:
    with EngineHeld(server):
        with pytest.raises(FailedError) as caught:
            call("classify", "Koch", timeout=0.2)
    assert caught.value.status == 504


def test_client_retries_429_after_the_requested_pause(
    call: ClientUnderTest, server: FaultyServer
) -> None:
    """The queue is full at the first try and empty at the second."""
    pauses = []
    with EngineHeld(server, ads=8) as hold:

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            hold.release()

        async def async_sleep(seconds: float) -> None:
            await asyncio.to_thread(sleep, seconds)

        answer = call("classify", "Koch", sleep=sleep if call.kind == "blocking" else async_sleep)
    assert answer.job_category.label
    assert len(pauses) == 1
    assert 1 <= pauses[0] <= 60.25
    assert metric(server, "rejected_total", reason="queue_full") >= 1


def test_full_queue_refuses_a_stream_at_its_start(
    call: ClientUnderTest, server: FaultyServer
) -> None:
    with EngineHeld(server, ads=8):
        with pytest.raises(BusyError) as caught:
            call("stream", ["Koch"], retries=Retries(tries=1))
    assert caught.value.status == 429
    assert caught.value.retry_after >= 1


def test_missing_server_raises_unreachable_error(call: ClientUnderTest) -> None:
    nowhere = ClientUnderTest(call.kind, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnreachableError):
        nowhere("classify", "Koch", retries=Retries(tries=2, first_pause=0.0))


def test_client_reuses_its_connection(server: FaultyServer) -> None:
    opened = []

    def note(request: httpx.Request) -> None:
        request.extensions["trace"] = lambda event, _: opened.append(event)

    with DoppelkopfClient(server.address, api_key=KEY) as client:
        client._http.event_hooks["request"].append(note)
        for _ in range(3):
            client.classify("Koch")
        list(client.stream(["Koch"] * 20))
    assert opened.count("connection.connect_tcp.started") == 1


def test_threads_and_tasks_share_a_client(server: FaultyServer) -> None:
    with DoppelkopfClient(server.address, api_key=KEY) as client, ThreadPoolExecutor(6) as pool:
        ids = [str(number) for number in range(60)]
        answers = list(pool.map(lambda one: client.classify("Koch", id=one).id, ids))
    assert answers == ids

    async def tasks() -> list[str | None]:
        async with AsyncDoppelkopfClient(server.address, api_key=KEY) as client:
            return [one.id for one in await asyncio.gather(
                *(client.classify("Koch", id=one) for one in ids[:6])
            )]  # fmt: skip

    assert asyncio.run(tasks()) == ids[:6]


def test_async_client_streams_an_async_source(server: FaultyServer) -> None:
    async def ads():
        for number in range(20):
            await asyncio.sleep(0)
            yield {"text": "Koch", "id": str(number)}

    async def stream() -> list[StreamAnswer | StreamError]:
        async with AsyncDoppelkopfClient(server.address, api_key=KEY) as client:
            return [one async for one in client.stream(ads())]

    assert [one.id for one in asyncio.run(stream())] == [str(number) for number in range(20)]


class EngineHeld:
    """Context in which the engine is blocked and this many ads are admitted."""

    def __init__(self, server: FaultyServer, ads: int = 1) -> None:
        self._server = server
        self._ads = [{"text": text_of_tokens(HELD)}] + [{"text": "Koch"}] * (ads - 1)

    def __enter__(self) -> "EngineHeld":
        server = self._server
        server.gate.unlink(missing_ok=True)
        self._call = server.pool.submit(
            httpx.post,
            f"{server.address}/classify/batch",
            json={"ads": self._ads},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        wait_until(lambda: metric(server, "queued_ads") == len(self._ads), seconds=20)
        return self

    def release(self) -> None:
        self._server.release()
        assert self._call.result().status_code == 200

    def __exit__(self, *_: object) -> None:
        self.release()


def metric(server: FaultyServer, name: str, **labels: str) -> float:
    return server.metric(name, **labels)
