"""What the client does with replies, deaths and silence of replicas; Serve's handle is a fake."""

import asyncio
import dataclasses
import logging
import warnings

import pytest

from app.core.errors import (
    DeadlineExceededError,
    EngineError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
)
from app.core.types import Ad, LabelProbability, ModelIdentity, Prediction
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace, set_current
from app.serving.scheduling.lanes import Lane
from tests.support.application import served_model

with warnings.catch_warnings():
    # Ray gives warnings of its own libraries at import.
    warnings.simplefilter("ignore")
    from ray.exceptions import ActorDiedError, ActorUnavailableError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

    from app.serving.cluster.replica_client import (
        KEPT_MODELS,
        MAX_TRIES,
        ReplicaClient,
        ReplicaReply,
    )

ADS = [Ad("Koch"), Ad("Arzt")]
DIED = ActorDiedError()
STAGES = {"queue": 0.25, "batch": 0.5}
SILENT = object()


class Response:
    """A response in flight; `SILENT` never arrives."""

    def __init__(self, answer):
        self._answer, self.cancelled = answer, False

    def __await__(self):
        return self._arrive().__await__()

    async def _arrive(self):
        # No response arrives at once.
        for _ in range(3):
            await asyncio.sleep(0)
        if self._answer is SILENT:
            await asyncio.Event().wait()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self):
        self.cancelled = True


class FakeHandle:
    """The engine deployment: each call takes the next of `answers`, and the last one stays."""

    def __init__(self, *answers):
        self.answers, self.calls, self.responses = list(answers), [], []

    def __getattr__(self, method):
        return FakeMethod(self, method)


class FakeMethod:
    def __init__(self, handle, name):
        self._handle, self._name = handle, name

    def remote(self, context, *args):
        handle = self._handle
        answer = handle.answers.pop(0) if len(handle.answers) > 1 else handle.answers[0]
        handle.calls.append((self._name, context, args))
        handle.responses.append(Response(answer))
        return handle.responses[-1]


class ClientSetup:
    """A client with a fake handle, its metrics and a trace."""

    def __init__(self, model, timeout_seconds=None, probe_seconds=5):
        self.model, self.metrics = model, Metrics()
        self.handle = FakeHandle(self.reply(model=model))
        self.replicas = ReplicaClient(self.handle, self.metrics, timeout_seconds, probe_seconds)
        self.trace = Trace("job-1")
        set_current(self.trace)

    def reply(self, value=None, model=None):
        return ReplicaReply(value, STAGES, 7, model)

    async def load_then_answer(self, *answers):
        """Load, then let the handle give these answers."""
        await self.replicas.load()
        self.trace = Trace("job-1")
        set_current(self.trace)
        self.handle.answers, self.handle.calls = list(answers), []
        self.handle.responses = []
        return self.replicas

    def classify(self, **options):
        return self.replicas.classify(ADS, lane=Lane.BULK, top_k=2, **options)

    def rejected(self, reason):
        return self.metrics.registry.get_sample_value(
            "doppelkopf_rejected_total", {"reason": reason}
        )


@pytest.fixture
def model(checkpoint):
    return served_model(checkpoint)


@pytest.fixture
def in_event_loop(model):
    def run(test, **options):
        async def main():
            await test(ClientSetup(model, **options))

        asyncio.run(asyncio.wait_for(main(), 10))

    return run


def of(model, revision):
    return dataclasses.replace(model, revision=revision)


def prediction(model):
    return Prediction(model.identity, {"h": (LabelProbability("a", 1.0),)}, 3, 1, False)


def test_loading_learns_the_served_model(in_event_loop, model):
    async def test(setup):
        assert await setup.replicas.load() is setup.replicas
        ((method, call, sent),) = setup.handle.calls
        assert (method, call.known_model, sent) == ("describe", None, ())
        assert setup.replicas.model == model

    in_event_loop(test)


def test_ads_are_answered_by_the_model_that_a_replica_names(in_event_loop, model):
    async def test(setup):
        answers = [prediction(model)] * 2
        await setup.load_then_answer(setup.reply(answers))
        assert await setup.classify() == answers
        ((method, call, sent),) = setup.handle.calls
        assert (method, sent) == ("classify", (ADS, Lane.BULK, 2))
        assert (call.request_id, call.known_model) == ("job-1", model.identity)
        assert setup.replicas.model_named(answers[0].model) == model

    in_event_loop(test)


def test_an_explanation_is_one_call_to_one_replica(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(setup.reply(("answer", "why")))
        assert await setup.replicas.explain(None, ADS[0], top_k=3) == ("answer", "why")
        ((method, _, sent),) = setup.handle.calls
        assert (method, sent) == ("explain", ([ADS[0]], 3))
        assert setup.trace.ads == 1

    in_event_loop(test)


def test_a_new_revision_is_learnt_and_the_old_one_kept(in_event_loop, model):
    new = of(model, "new")

    async def test(setup):
        await setup.load_then_answer(setup.reply([], new), setup.reply([]))
        await setup.classify()
        assert setup.replicas.model == new
        for one in (model, new):
            assert setup.replicas.model_named(one.identity) == one
        await setup.classify()
        assert setup.handle.calls[-1][1].known_model == new.identity

    in_event_loop(test)


def test_models_that_answer_alternately_are_logged_once_each(in_event_loop, model, caplog):
    new = of(model, "new")

    async def test(setup):
        await setup.load_then_answer(*(setup.reply([], one) for one in [new, model] * 3))
        for _ in range(6):
            await setup.classify()

    with caplog.at_level(logging.INFO, "app.serving.cluster.replica_client"):
        in_event_loop(test)
    assert [str(one.args[0]) for one in caplog.records] == [str(model), str(new)]


def test_the_models_that_answered_last_are_kept(in_event_loop, model):
    others = [of(model, str(number)) for number in range(KEPT_MODELS)]

    async def test(setup):
        # The first model answers once more before the last of the others.
        answered = [*others[:-1], model, others[-1]]
        await setup.load_then_answer(*(setup.reply([], one) for one in answered))
        for _ in answered:
            await setup.classify()
        for one in [model, *others[1:]]:
            assert setup.replicas.model_named(one.identity) == one
        with pytest.raises(KeyError):
            setup.replicas.model_named(ModelIdentity(model.name, "0"))

    in_event_loop(test)


@pytest.mark.parametrize("death", [DIED, ActorUnavailableError("it is busy dying", None)])
def test_a_request_whose_replica_dies_is_answered_by_another(in_event_loop, death, caplog):
    async def test(setup):
        await setup.load_then_answer(*[death] * (MAX_TRIES - 1), setup.reply(["answer"]))
        assert await setup.classify() == ["answer"]
        assert len(setup.handle.calls) == MAX_TRIES
        assert setup.trace.ads == len(ADS)

    in_event_loop(test)
    assert caplog.text.count("an engine died with request job-1") == MAX_TRIES - 1


def test_a_request_that_kills_replicas_is_not_sent_to_all(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(DIED)
        with pytest.raises(NotReadyError, match=f"{MAX_TRIES} engines died"):
            await setup.classify()
        assert len(setup.handle.calls) == MAX_TRIES

    in_event_loop(test)


def test_a_full_cluster_gives_a_retry_time_and_counts_the_refusal(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(BackPressureError(5, 5))
        with pytest.raises(OverloadedError) as caught:
            await setup.classify()
        assert (caught.value.retry_after, caught.value.reason) == (1, "queue_full")
        assert setup.rejected("queue_full") == 1
        assert len(setup.handle.calls) == 1

    in_event_loop(test)


def test_engines_that_cannot_be_started_are_not_ready(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(DeploymentUnavailableError("Engine"))
        with pytest.raises(NotReadyError, match="cannot be started"):
            await setup.classify()
        assert len(setup.handle.calls) == 1

    in_event_loop(test)


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("busy", 9, "queue_slow"),
        EngineError("failed on it"),
        InvalidRequestError("body: no"),
    ],
)
def test_a_replicas_error_is_raised_and_not_counted_again(in_event_loop, error):
    async def test(setup):
        await setup.load_then_answer(setup.reply(error))
        with pytest.raises(type(error)) as caught:
            await setup.classify()
        assert caught.value is error
        assert len(setup.handle.calls) == 1
        assert setup.rejected("queue_slow") == 0
        # The stages are recorded for failed requests too.
        assert setup.trace.stages() == STAGES

    in_event_loop(test)


def test_the_trace_has_ads_stages_and_tokens_of_the_reply(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(setup.reply(["answer"] * 2))
        await setup.classify()
        assert (setup.trace.ads, setup.trace.tokens) == (2, 7)
        assert setup.trace.stages() == STAGES

    in_event_loop(test)


def test_a_deadline_cancels_the_call(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(SILENT)
        with pytest.raises(DeadlineExceededError):
            await setup.classify(timeout_seconds=0)
        with pytest.raises(DeadlineExceededError):
            await setup.replicas.explain(None, ADS[0], top_k=1, timeout_seconds=0)
        assert [one.cancelled for one in setup.handle.responses] == [True, True]

    in_event_loop(test)


def test_a_client_that_leaves_cancels_the_call(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(SILENT)
        request = asyncio.create_task(setup.classify())
        for _ in range(5):
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert setup.handle.responses[0].cancelled

    in_event_loop(test)


def test_a_silent_replica_fails_the_request_and_cancels_the_call(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(SILENT)
        setup.replicas._timeout_seconds = 0
        for request in (setup.classify, setup.replicas.check_capacity):
            with pytest.raises(NotReadyError, match="in time"):
                await request()
        assert [one.cancelled for one in setup.handle.responses] == [True, True]

    in_event_loop(test)


def test_bulk_calls_and_loading_have_no_timeout(in_event_loop):
    async def test(setup):
        await setup.replicas.load()
        setup.handle.answers = [setup.reply(["answer"] * 2)]
        answers = await setup.replicas.classify_bulk(ADS, [1, 2])
        assert answers == ["answer"] * 2
        assert setup.handle.calls[-1][2] == (ADS, [1, 2])
        # Other requests have the timeout, which is 0 here.
        setup.handle.answers = [SILENT]
        with pytest.raises(NotReadyError):
            await setup.classify()

    in_event_loop(test, timeout_seconds=0)


def test_a_replica_is_called_for_capacity_and_readiness(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(
            setup.reply(), setup.reply(), setup.reply(NotReadyError("lost"))
        )
        await setup.replicas.check_capacity()
        await setup.replicas.require_ready()
        with pytest.raises(NotReadyError, match="lost"):
            await setup.replicas.require_ready()
        assert [one[0] for one in setup.handle.calls] == [
            "check_capacity", "require_ready", "require_ready",
        ]  # fmt: skip

    in_event_loop(test)


def test_a_probe_has_a_timeout_of_its_own(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(SILENT)
        with pytest.raises(NotReadyError, match="in time"):
            await setup.replicas.require_ready()
        assert setup.handle.responses[0].cancelled

    in_event_loop(test, probe_seconds=0)


def test_a_draining_client_is_closed_and_not_ready(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(setup.reply())
        closed = asyncio.create_task(setup.replicas.closed())
        await asyncio.sleep(0)
        assert not closed.done()
        await setup.replicas.drain(5)
        await closed
        with pytest.raises(NotReadyError, match="shutting down"):
            await setup.replicas.require_ready()
        assert setup.handle.calls == []

    in_event_loop(test)


def test_single_ads_share_a_call_and_get_their_own_replies(in_event_loop):
    async def test(setup):
        overloaded = setup.reply(OverloadedError("later", 3, "queue_slow"))
        await setup.load_then_answer([setup.reply("a"), overloaded])
        traces = [Trace("job-1"), Trace("job-2")]

        async def classify(number):
            set_current(traces[number])
            work = setup.replicas.classify([ADS[number]], lane=Lane.INTERACTIVE, top_k=1 + number)
            return await work

        first, second = await asyncio.gather(classify(0), classify(1), return_exceptions=True)
        assert first == "a"
        assert isinstance(second, OverloadedError)
        ((method, requests, _),) = setup.handle.calls
        assert method == "classify_singles"
        assert [(call.request_id, ad, top_k) for call, ad, top_k in requests] == [
            ("job-1", ADS[0], 1),
            ("job-2", ADS[1], 2),
        ]
        assert [(trace.ads, trace.tokens) for trace in traces] == [(1, 7), (1, 7)]

    in_event_loop(test)


def test_a_single_ad_whose_deadline_passes_cancels_its_call(in_event_loop):
    async def test(setup):
        await setup.load_then_answer(SILENT)
        with pytest.raises(DeadlineExceededError):
            await setup.replicas.classify(
                ADS[:1], lane=Lane.INTERACTIVE, top_k=1, timeout_seconds=0.01
            )
        for _ in range(5):
            await asyncio.sleep(0)
        assert setup.handle.responses[0].cancelled

    in_event_loop(test)
