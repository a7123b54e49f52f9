"""What an ingress makes of its replicas' answers, deaths and silence; the handle is a fake."""

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
from app.core.types import Ad, LabelProbability, ModelName, Prediction
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace, set_current
from app.serving.scheduling.lanes import Lane
from tests.support.application import served_model

with warnings.catch_warnings():
    # Its own code warns while it is imported.
    warnings.simplefilter("ignore")
    from ray.exceptions import ActorDiedError, ActorUnavailableError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

    from app.serving.cluster.replica_client import KEPT_MODELS, TRIES, ReplicaClient, Reply

ADS = [Ad("Koch"), Ad("Arzt")]
DIED = ActorDiedError()
STAGES = {"queue": 0.25, "batch": 0.5}
SILENT = object()


class Response:
    """An answer under way; one that is `SILENT` never comes."""

    def __init__(self, answer):
        self._answer, self.cancelled = answer, False

    def __await__(self):
        return self._come().__await__()

    async def _come(self):
        # None is there at once.
        for _ in range(3):
            await asyncio.sleep(0)
        if self._answer is SILENT:
            await asyncio.Event().wait()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def cancel(self):
        self.cancelled = True


class Handle:
    """The engine deployment: each request takes the next of `answers`, and the last one stays."""

    def __init__(self, *answers):
        self.answers, self.asked, self.responses = list(answers), [], []

    def __getattr__(self, method):
        return Method(self, method)


class Method:
    def __init__(self, handle, name):
        self._handle, self._name = handle, name

    def remote(self, call, *sent):
        handle = self._handle
        answer = handle.answers.pop(0) if len(handle.answers) > 1 else handle.answers[0]
        handle.asked.append((self._name, call, sent))
        handle.responses.append(Response(answer))
        return handle.responses[-1]


class World:
    """Replicas before a fake handle, and everything that they record."""

    def __init__(self, model, patience=None, probe_seconds=5):
        self.model, self.metrics = model, Metrics()
        self.handle = Handle(self.reply(model=model))
        self.replicas = ReplicaClient(self.handle, self.metrics, patience, probe_seconds)
        self.trace = Trace("job-1")
        set_current(self.trace)

    def reply(self, value=None, model=None):
        return Reply(value, STAGES, 7, model)

    async def answering(self, *answers):
        """Load, then let the handle give these answers."""
        await self.replicas.load()
        self.trace = Trace("job-1")
        set_current(self.trace)
        self.handle.answers, self.handle.asked = list(answers), []
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
def in_world(model):
    def run(test, **options):
        async def main():
            await test(World(model, **options))

        asyncio.run(asyncio.wait_for(main(), 10))

    return run


def of(model, revision):
    return dataclasses.replace(model, revision=revision)


def prediction(model):
    return Prediction(model.identity, {"h": (LabelProbability("a", 1.0),)}, 3, 1, False)


def test_loading_learns_what_is_served(in_world, model):
    async def test(world):
        assert await world.replicas.load() is world.replicas
        ((method, call, sent),) = world.handle.asked
        assert (method, call.known, sent) == ("describe", None, ())
        assert world.replicas.model == model

    in_world(test)


def test_ads_are_answered_by_the_model_that_a_replica_names(in_world, model):
    async def test(world):
        answers = [prediction(model)] * 2
        await world.answering(world.reply(answers))
        assert await world.classify() == answers
        ((method, call, sent),) = world.handle.asked
        assert (method, sent) == ("classify", (ADS, Lane.BULK, 2))
        assert (call.request_id, call.known) == ("job-1", model.identity)
        assert world.replicas.named(answers[0].model) == model

    in_world(test)


def test_an_explanation_is_asked_of_one_replica_as_a_whole(in_world):
    async def test(world):
        await world.answering(world.reply(("answer", "why")))
        assert await world.replicas.explain(None, ADS[0], top_k=3) == ("answer", "why")
        ((method, _, sent),) = world.handle.asked
        assert (method, sent) == ("explain", ([ADS[0]], 3))
        assert world.trace.ads == 1

    in_world(test)


def test_another_revision_is_learnt_and_both_are_found_by_name(in_world, model):
    new = of(model, "new")

    async def test(world):
        await world.answering(world.reply([], new), world.reply([]))
        await world.classify()
        assert world.replicas.model == new
        for one in (model, new):
            assert world.replicas.named(one.identity) == one
        await world.classify()
        assert world.handle.asked[-1][1].known == new.identity

    in_world(test)


def test_models_that_answer_in_turns_are_logged_once_each(in_world, model, caplog):
    new = of(model, "new")

    async def test(world):
        await world.answering(*(world.reply([], one) for one in [new, model] * 3))
        for _ in range(6):
            await world.classify()

    with caplog.at_level(logging.INFO, "app.serving.cluster.replica_client"):
        in_world(test)
    assert [str(one.args[0]) for one in caplog.records] == [str(model), str(new)]


def test_of_many_models_those_that_answered_last_are_kept(in_world, model):
    others = [of(model, str(number)) for number in range(KEPT_MODELS)]

    async def test(world):
        # The first answers once more before the last of the others comes.
        answered = [*others[:-1], model, others[-1]]
        await world.answering(*(world.reply([], one) for one in answered))
        for _ in answered:
            await world.classify()
        for one in [model, *others[1:]]:
            assert world.replicas.named(one.identity) == one
        with pytest.raises(KeyError):
            world.replicas.named(ModelName(model.name, "0"))

    in_world(test)


@pytest.mark.parametrize("death", [DIED, ActorUnavailableError("it is busy dying", None)])
def test_a_request_whose_replica_dies_is_answered_by_another(in_world, death, caplog):
    async def test(world):
        await world.answering(*[death] * (TRIES - 1), world.reply(["answer"]))
        assert await world.classify() == ["answer"]
        assert len(world.handle.asked) == TRIES
        assert world.trace.ads == len(ADS)

    in_world(test)
    assert caplog.text.count("an engine died with request job-1") == TRIES - 1


def test_a_request_that_replicas_die_of_is_not_sent_to_all(in_world):
    async def test(world):
        await world.answering(DIED)
        with pytest.raises(NotReadyError, match=f"{TRIES} engines died"):
            await world.classify()
        assert len(world.handle.asked) == TRIES

    in_world(test)


def test_a_full_cluster_refuses_says_when_to_come_back_and_counts_it(in_world):
    async def test(world):
        await world.answering(BackPressureError(5, 5))
        with pytest.raises(OverloadedError) as caught:
            await world.classify()
        assert (caught.value.retry_after, caught.value.reason) == (1, "queue_full")
        assert world.rejected("queue_full") == 1
        assert len(world.handle.asked) == 1

    in_world(test)


def test_engines_that_cannot_be_started_are_not_ready(in_world):
    async def test(world):
        await world.answering(DeploymentUnavailableError("Engine"))
        with pytest.raises(NotReadyError, match="cannot be started"):
            await world.classify()
        assert len(world.handle.asked) == 1

    in_world(test)


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("busy", 9, "queue_slow"),
        EngineError("failed on it"),
        InvalidRequestError("body: no"),
    ],
)
def test_what_a_replica_refuses_is_refused_in_its_words_and_not_counted_again(in_world, error):
    async def test(world):
        await world.answering(world.reply(error))
        with pytest.raises(type(error)) as caught:
            await world.classify()
        assert caught.value is error
        assert len(world.handle.asked) == 1
        assert world.rejected("queue_slow") == 0
        # It has taken its time all the same.
        assert world.trace.stages() == STAGES

    in_world(test)


def test_the_trace_has_the_ads_and_the_stages_and_tokens_of_the_replica(in_world):
    async def test(world):
        await world.answering(world.reply(["answer"] * 2))
        await world.classify()
        assert (world.trace.ads, world.trace.tokens) == (2, 7)
        assert world.trace.stages() == STAGES

    in_world(test)


def test_a_deadline_cancels_what_the_replica_does(in_world):
    async def test(world):
        await world.answering(SILENT)
        with pytest.raises(DeadlineExceededError):
            await world.classify(timeout_seconds=0)
        with pytest.raises(DeadlineExceededError):
            await world.replicas.explain(None, ADS[0], top_k=1, timeout_seconds=0)
        assert [one.cancelled for one in world.handle.responses] == [True, True]

    in_world(test)


def test_a_client_that_leaves_cancels_what_the_replica_does(in_world):
    async def test(world):
        await world.answering(SILENT)
        asking = asyncio.create_task(world.classify())
        for _ in range(5):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert world.handle.responses[0].cancelled

    in_world(test)


def test_a_replica_that_says_nothing_ends_the_request_and_its_work(in_world):
    async def test(world):
        await world.answering(SILENT)
        world.replicas._patience = 0
        for asking in (world.classify, world.replicas.check_capacity):
            with pytest.raises(NotReadyError, match="in time"):
                await asking()
        assert [one.cancelled for one in world.handle.responses] == [True, True]

    in_world(test)


def test_a_part_of_a_stream_and_the_start_wait_as_long_as_it_takes(in_world):
    async def test(world):
        await world.replicas.load()
        world.handle.answers = [world.reply(["answer"] * 2)]
        answers = await world.replicas.classify_bulk(ADS, [1, 2])
        assert answers == ["answer"] * 2
        assert world.handle.asked[-1][2] == (ADS, [1, 2])
        # Where a request is given up at once.
        world.handle.answers = [SILENT]
        with pytest.raises(NotReadyError):
            await world.classify()

    in_world(test, patience=0)


def test_a_replica_is_asked_for_room_and_readiness(in_world):
    async def test(world):
        await world.answering(world.reply(), world.reply(), world.reply(NotReadyError("lost")))
        await world.replicas.check_capacity()
        await world.replicas.require_ready()
        with pytest.raises(NotReadyError, match="lost"):
            await world.replicas.require_ready()
        assert [one[0] for one in world.handle.asked] == [
            "check_capacity", "require_ready", "require_ready",
        ]  # fmt: skip

    in_world(test)


def test_a_probe_does_not_wait_as_long_as_a_request(in_world):
    async def test(world):
        await world.answering(SILENT)
        with pytest.raises(NotReadyError, match="in time"):
            await world.replicas.require_ready()
        assert world.handle.responses[0].cancelled

    in_world(test, probe_seconds=0)


def test_draining_lets_streams_end_and_is_not_ready_though_replicas_are(in_world):
    async def test(world):
        await world.answering(world.reply())
        closed = asyncio.create_task(world.replicas.closed())
        await asyncio.sleep(0)
        assert not closed.done()
        await world.replicas.drain(5)
        await closed
        with pytest.raises(NotReadyError, match="shutting down"):
            await world.replicas.require_ready()
        assert world.handle.asked == []

    in_world(test)


def test_single_ads_of_one_moment_go_in_one_call_and_each_gets_its_own_reply(in_world):
    async def test(world):
        overloaded = world.reply(OverloadedError("later", 3, "queue_slow"))
        await world.answering([world.reply("a"), overloaded])
        traces = [Trace("job-1"), Trace("job-2")]

        async def ask(number):
            set_current(traces[number])
            work = world.replicas.classify([ADS[number]], lane=Lane.INTERACTIVE, top_k=1 + number)
            return await work

        first, second = await asyncio.gather(ask(0), ask(1), return_exceptions=True)
        assert first == "a"
        assert isinstance(second, OverloadedError)
        ((method, asked, _),) = world.handle.asked
        assert method == "classify_together"
        assert [(call.request_id, ad, top_k) for call, ad, top_k in asked] == [
            ("job-1", ADS[0], 1),
            ("job-2", ADS[1], 2),
        ]
        assert [(trace.ads, trace.tokens) for trace in traces] == [(1, 7), (1, 7)]

    in_world(test)


def test_a_single_ad_whose_deadline_passes_takes_its_call_back(in_world):
    async def test(world):
        await world.answering(SILENT)
        with pytest.raises(DeadlineExceededError):
            await world.replicas.classify(
                ADS[:1], lane=Lane.INTERACTIVE, top_k=1, timeout_seconds=0.01
            )
        for _ in range(5):
            await asyncio.sleep(0)
        assert world.handle.responses[0].cancelled

    in_world(test)
