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
    Serve,
    SwapRequested,
    SwapResult,
)
from app.serving.workers.rollout import Rollout
from tests.support.application import served_model

REFUSED = CheckpointRefusedError("weights are damaged.")


class Process:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def tell(self, message):
        self.told.append(message)

    def take(self):
        told, self.told = self.told, []
        return told


class World:
    """Two engines and two front ends, all of one revision."""

    def __init__(self, checkpoint):
        self.old = served_model(checkpoint)
        self.new = dataclasses.replace(self.old, name="v2", revision="2")
        self.engines, self.workers = [Process(), Process()], [Process(), Process()]
        self.rollout = Rollout(Path("/store/v1"), self.engines, self.workers)
        self.rollout.served = self.old

    def want(self, name="v2", worker=0, number=1):
        self.rollout.want(self.workers[worker], SwapRequested(number, name))

    def load(self, generation, *results):
        for engine, result in zip(self.engines, results, strict=True):
            self.rollout.loaded(engine, CheckpointLoaded(generation, result))

    def serve(self, generation):
        for worker in list(self.workers):
            self.rollout.serving(worker, NowServing(generation))

    def settle(self, generation):
        for worker in list(self.workers):
            self.rollout.settled(worker, OldRequestsDone(generation))

    def told(self):
        """What engines and front ends were told since the last look."""
        return [one.take() for one in self.engines], [one.take() for one in self.workers]


@pytest.fixture
def world(checkpoint):
    return World(checkpoint)


def test_every_engine_loads_before_any_front_end_serves(world):
    world.want()
    load = LoadCheckpoint(1, Path("/store/v2"))
    assert world.told() == ([[load], [load]], [[], []])
    world.rollout.loaded(world.engines[0], CheckpointLoaded(1, world.new))
    assert world.told() == ([[], []], [[], []])
    assert world.rollout.generation == 0
    world.rollout.loaded(world.engines[1], CheckpointLoaded(1, world.new))
    assert world.told() == ([[], []], [[Serve(2, 1)], [Serve(2, 1)]])
    assert world.rollout.generation == 1


def test_the_answer_comes_when_every_front_end_serves_the_new_one(world):
    world.want(number=7)
    world.load(1, world.new, world.new)
    world.told()
    world.rollout.serving(world.workers[1], NowServing(1))
    assert world.told() == ([[], []], [[], []])
    world.rollout.serving(world.workers[0], NowServing(1))
    [[count], []], [[outcome], []] = world.told()
    assert count == CountSwap("ok")
    assert outcome.number == 7
    assert (outcome.result.old, outcome.result.new) == (world.old, world.new)


def test_the_engines_keep_the_old_one_until_every_front_end_has_settled(world):
    world.want()
    world.load(1, world.new, world.new)
    world.serve(1)
    world.told()
    world.rollout.settled(world.workers[0], OldRequestsDone(1))
    assert world.told() == ([[], []], [[], []])
    world.rollout.settled(world.workers[1], OldRequestsDone(1))
    assert world.told() == ([[DropCheckpoint(0)], [DropCheckpoint(0)]], [[], []])


def test_where_one_engine_refuses_nobody_serves_it(world):
    world.want()
    world.told()
    world.load(1, world.new, REFUSED)
    engines, workers = world.told()
    assert engines == [[DropCheckpoint(1), CountSwap("refused")], [DropCheckpoint(1)]]
    assert workers == [[SwapResult(1, REFUSED)], []]
    assert (world.rollout.generation, world.rollout.served) == (0, world.old)
    # A number of its own: the engines may still be at work on what was dropped.
    world.want()
    assert world.engines[0].take() == [LoadCheckpoint(2, Path("/store/v2"))]
    world.load(2, world.new, world.new)
    world.serve(2)
    world.settle(2)
    assert DropCheckpoint(0) in world.engines[0].take()


def test_engines_that_loaded_different_ones_are_refused(world):
    world.want()
    world.load(1, world.new, dataclasses.replace(world.new, revision="3"))
    outcome = world.workers[0].take()[-1]
    assert isinstance(outcome.result, CheckpointRefusedError)
    assert world.rollout.generation == 0


def test_what_is_served_already_changes_nothing(world):
    world.want("v1")
    world.told()
    world.load(1, world.old, world.old)
    [[count], []], [[outcome], []] = world.told()
    assert count == CountSwap("unchanged")
    assert not outcome.result.changed


def test_a_second_request_is_refused_while_the_first_is_loading(world):
    world.want()
    world.told()
    world.want("v3", worker=1)
    _, [[], [outcome]] = world.told()
    assert isinstance(outcome.result, SwapRunningError)


def test_a_request_while_the_old_one_leaves_begins_when_it_has_left(world):
    world.want()
    world.load(1, world.new, world.new)
    world.serve(1)
    world.told()
    world.want("v3")
    assert world.told() == ([[], []], [[], []])
    world.settle(1)
    load = LoadCheckpoint(2, Path("/store/v3"))
    assert world.told() == ([[DropCheckpoint(0), load], [DropCheckpoint(0), load]], [[], []])


def test_a_name_that_is_none_is_refused_at_once(world):
    world.want("../v2")
    engines, [[outcome], []] = world.told()
    assert engines == [[], []]
    assert isinstance(outcome.result, InvalidRequestError)


def test_signals_while_a_swap_runs_are_one_after_it(world):
    world.rollout.reload()
    world.rollout.reload()
    world.rollout.reload()
    assert world.engines[0].take() == [LoadCheckpoint(1, Path("/store/v1"))]
    world.load(1, world.old, world.old)
    assert world.engines[0].take() == [CountSwap("unchanged"), LoadCheckpoint(2, Path("/store/v1"))]
    world.load(2, world.old, world.old)
    assert world.engines[0].take() == [CountSwap("unchanged")]


def test_a_front_end_that_dies_is_not_waited_for(world):
    world.want()
    world.load(1, world.new, world.new)
    world.rollout.serving(world.workers[0], NowServing(1))
    world.told()
    dead = world.workers.pop()
    world.rollout.buried(dead)
    assert isinstance(world.workers[0].take()[0], SwapResult)
    world.settle(1)
    assert DropCheckpoint(0) in world.engines[0].take()


def test_what_a_front_end_says_of_an_earlier_generation_does_not_count(world):
    """One that starts just then has still served the old one first."""
    world.want()
    world.load(1, world.new, world.new)
    world.told()
    world.serve(0)
    world.settle(0)
    assert world.told() == ([[], []], [[], []])
