import dataclasses
from pathlib import Path

import pytest

from app.core.errors import CheckpointRefusedError, InvalidRequestError, SwapRunningError
from app.serving.workers.control_messages import (
    CheckpointLoaded,
    CountSwap,
    DropCheckpoint,
    LoadCheckpoint,
    NowServing,
    OldRequestsDone,
    ServeGeneration,
    SwapRequested,
    SwapResult,
)
from app.serving.workers.rollout import Rollout
from tests.support.application import served_model

REFUSED = CheckpointRefusedError("weights are damaged.")


class FakeProcess:
    """Keeps the messages sent to it."""

    def __init__(self):
        self.messages = []

    def send(self, message):
        self.messages.append(message)

    def take(self):
        messages, self.messages = self.messages, []
        return messages


class RolloutSetup:
    """A rollout over two engine processes and two front ends, which serve the same checkpoint."""

    def __init__(self, checkpoint):
        self.old = served_model(checkpoint)
        self.new = dataclasses.replace(self.old, name="v2", revision="2")
        self.engines, self.front_ends = (
            [FakeProcess(), FakeProcess()],
            [FakeProcess(), FakeProcess()],
        )
        self.rollout = Rollout(Path("/store/v1"), self.engines, self.front_ends)
        self.rollout.served_model = self.old

    def request(self, name="v2", front_end=0, number=1):
        self.rollout.on_message(self.front_ends[front_end], SwapRequested(number, name))

    def load(self, generation, *results):
        for engine, result in zip(self.engines, results, strict=True):
            self.rollout.on_message(engine, CheckpointLoaded(generation, result))

    def serve(self, generation):
        for front_end in list(self.front_ends):
            self.rollout.on_message(front_end, NowServing(generation))

    def finish_old(self, generation):
        for front_end in list(self.front_ends):
            self.rollout.on_message(front_end, OldRequestsDone(generation))

    def sent(self):
        """Return the messages to engines and to front ends since the last call."""
        return [one.take() for one in self.engines], [one.take() for one in self.front_ends]


@pytest.fixture
def setup(checkpoint):
    return RolloutSetup(checkpoint)


def test_every_engine_loads_before_any_front_end_serves(setup):
    setup.request()
    load = LoadCheckpoint(1, Path("/store/v2"))
    assert setup.sent() == ([[load], [load]], [[], []])
    setup.rollout.on_message(setup.engines[0], CheckpointLoaded(1, setup.new))
    assert setup.sent() == ([[], []], [[], []])
    assert setup.rollout.generation == 0
    setup.rollout.on_message(setup.engines[1], CheckpointLoaded(1, setup.new))
    assert setup.sent() == ([[], []], [[ServeGeneration(2, 1)], [ServeGeneration(2, 1)]])
    assert setup.rollout.generation == 1


def test_the_result_comes_once_every_front_end_serves_the_new_model(setup):
    setup.request(number=7)
    setup.load(1, setup.new, setup.new)
    setup.sent()
    setup.rollout.on_message(setup.front_ends[1], NowServing(1))
    assert setup.sent() == ([[], []], [[], []])
    setup.rollout.on_message(setup.front_ends[0], NowServing(1))
    [[count], []], [[outcome], []] = setup.sent()
    assert count == CountSwap("ok")
    assert outcome.number == 7
    assert (outcome.result.old, outcome.result.new) == (setup.old, setup.new)


def test_engines_keep_the_old_model_until_its_requests_are_done(setup):
    setup.request()
    setup.load(1, setup.new, setup.new)
    setup.serve(1)
    setup.sent()
    setup.rollout.on_message(setup.front_ends[0], OldRequestsDone(1))
    assert setup.sent() == ([[], []], [[], []])
    setup.rollout.on_message(setup.front_ends[1], OldRequestsDone(1))
    assert setup.sent() == ([[DropCheckpoint(0)], [DropCheckpoint(0)]], [[], []])


def test_a_checkpoint_that_one_engine_refuses_is_not_served(setup):
    setup.request()
    setup.sent()
    setup.load(1, setup.new, REFUSED)
    engines, front_ends = setup.sent()
    assert engines == [[DropCheckpoint(1), CountSwap("refused")], [DropCheckpoint(1)]]
    assert front_ends == [[SwapResult(1, REFUSED)], []]
    assert (setup.rollout.generation, setup.rollout.served_model) == (0, setup.old)
    # A new generation: the engines may still be dropping the refused one.
    setup.request()
    assert setup.engines[0].take() == [LoadCheckpoint(2, Path("/store/v2"))]
    setup.load(2, setup.new, setup.new)
    setup.serve(2)
    setup.finish_old(2)
    assert DropCheckpoint(0) in setup.engines[0].take()


def test_engines_that_loaded_different_revisions_fail_the_swap(setup):
    setup.request()
    setup.load(1, setup.new, dataclasses.replace(setup.new, revision="3"))
    outcome = setup.front_ends[0].take()[-1]
    assert isinstance(outcome.result, CheckpointRefusedError)
    assert setup.rollout.generation == 0


def test_a_swap_to_the_served_checkpoint_changes_nothing(setup):
    setup.request("v1")
    setup.sent()
    setup.load(1, setup.old, setup.old)
    [[count], []], [[outcome], []] = setup.sent()
    assert count == CountSwap("unchanged")
    assert not outcome.result.changed


def test_a_second_request_is_refused_while_the_first_is_loading(setup):
    setup.request()
    setup.sent()
    setup.request("v3", front_end=1)
    _, [[], [outcome]] = setup.sent()
    assert isinstance(outcome.result, SwapRunningError)


def test_a_swap_starts_once_the_old_model_is_dropped(setup):
    setup.request()
    setup.load(1, setup.new, setup.new)
    setup.serve(1)
    setup.sent()
    setup.request("v3")
    assert setup.sent() == ([[], []], [[], []])
    setup.finish_old(1)
    load = LoadCheckpoint(2, Path("/store/v3"))
    assert setup.sent() == ([[DropCheckpoint(0), load], [DropCheckpoint(0), load]], [[], []])


def test_an_invalid_name_is_refused_at_once(setup):
    setup.request("../v2")
    engines, [[outcome], []] = setup.sent()
    assert engines == [[], []]
    assert isinstance(outcome.result, InvalidRequestError)


def test_reloads_during_a_swap_cause_one_more_after_it(setup):
    setup.rollout.reload()
    setup.rollout.reload()
    setup.rollout.reload()
    assert setup.engines[0].take() == [LoadCheckpoint(1, Path("/store/v1"))]
    setup.load(1, setup.old, setup.old)
    assert setup.engines[0].take() == [CountSwap("unchanged"), LoadCheckpoint(2, Path("/store/v1"))]
    setup.load(2, setup.old, setup.old)
    assert setup.engines[0].take() == [CountSwap("unchanged")]


def test_a_front_end_that_dies_is_not_waited_for(setup):
    setup.request()
    setup.load(1, setup.new, setup.new)
    setup.rollout.on_message(setup.front_ends[0], NowServing(1))
    setup.sent()
    dead = setup.front_ends.pop()
    setup.rollout.on_front_end_gone(dead)
    assert isinstance(setup.front_ends[0].take()[0], SwapResult)
    setup.finish_old(1)
    assert DropCheckpoint(0) in setup.engines[0].take()


def test_messages_about_an_earlier_generation_are_ignored(setup):
    """A front end that starts during a swap may serve the old generation first."""
    setup.request()
    setup.load(1, setup.new, setup.new)
    setup.sent()
    setup.serve(0)
    setup.finish_old(0)
    assert setup.sent() == ([[], []], [[], []])
