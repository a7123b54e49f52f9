from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from app.core.head_labels import HEADS
from app.core.types import Encoded
from app.engine.cuda_graphs import ALIGNMENT, Graphs, ladder
from app.engine.engine import Engine
from app.engine.packing import pack
from app.model.packed_attention import PACKED

TOKENS = 1000


def of_length(*lengths: int) -> list[Encoded]:
    """Make ads of tokens that tell one from the other."""
    return [
        Encoded((np.arange(position, position + length, dtype=np.int32) % 40 + 5,))
        for position, length in enumerate(lengths)
    ]


class Tape:
    """Stands for the device: what is captured runs once, and again at each replay."""

    def __init__(self) -> None:
        self.replays: list[int] = []
        self.captured = 0

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        index, self.captured = self.captured, self.captured + 1

        def replay() -> None:
            self.replays.append(index)
            work()

        return replay


@pytest.fixture
def tape():
    return Tape()


@pytest.fixture
def graphs(checkpoint, tape):
    model = checkpoint.model(torch.float32, PACKED)

    def forward(ids, positions, bounds, longest):
        with torch.inference_mode():
            output = model(
                input_ids=ids, position_ids=positions, cu_seq_lens=bounds, longest=longest
            )
        return torch.cat([output[f"{head}_logits"] for head in HEADS], dim=1)

    made = Graphs(forward, labels=6, longest=64, device=torch.device("cpu"), capture=tape.capture)
    made.capture(TOKENS)
    return made


@pytest.mark.parametrize("tokens", [1, 127, 128, 1000, 1024, 32768, 40000])
def test_a_ladder_has_a_rung_above_every_size_and_none_far_above(tokens):
    rungs = ladder(tokens)
    sizes = [rung.tokens for rung in rungs]
    assert sizes == sorted(set(sizes))
    assert all(size % ALIGNMENT == 0 for size in sizes)
    assert sizes[-1] > tokens
    assert sizes[-1] - tokens <= ALIGNMENT
    for lower, upper in pairwise(sizes):
        assert upper - lower <= max(ALIGNMENT, lower // 8 + ALIGNMENT)


@pytest.mark.parametrize(
    "lengths", [(3,), (60, 2, 31), (64,) * 15, (5,) * 20, (62,) * 16, (40,) * 24]
)
def test_a_replay_answers_as_the_engine_does(graphs, tape, checkpoint, lengths):
    ads = of_length(*lengths)
    # What a batch before it left behind in the buffers is no matter.
    for before in (of_length(*(64,) * 15), of_length(50, 60)):
        assert graphs.replay(pack(before)) is not None
        rows = graphs.replay(pack(ads)).clone()
        expected = Engine(checkpoint, "cpu").logits(ads)
        joined = np.concatenate(
            [np.concatenate([ad[head] for head in HEADS], axis=1) for ad in expected]
        )
        np.testing.assert_allclose(rows.numpy(), joined, atol=2e-6)
    assert len(tape.replays) == 4


def test_a_batch_takes_the_lowest_rung_that_holds_it(graphs, tape):
    highest_first = [rung.tokens for rung in ladder(TOKENS)][::-1]
    # A full rung has no token left for the bounds of windows that are not there.
    for length, rung in ((63, 128), (64, 128), (127, 128), (128, 192), (191, 192), (192, 256)):
        graphs.replay(pack(of_length(*[length // 4] * 3, length - length // 4 * 3)))
        assert highest_first[tape.replays[-1]] == rung


def test_many_short_windows_take_a_higher_rung(graphs, tape):
    highest_first = [rung.tokens for rung in ladder(TOKENS)][::-1]
    graphs.replay(pack(of_length(*[3] * 12)))
    assert highest_first[tape.replays[-1]] > 128


@pytest.mark.parametrize("lengths", [(64,) * 16, (1,) * 100])
def test_what_no_rung_holds_is_left_to_the_caller(graphs, tape, lengths):
    assert graphs.replay(pack(of_length(*lengths))) is None
    assert tape.replays == []


def test_before_the_capture_everything_is_left_to_the_caller(tape):
    none = Graphs(
        lambda *_: pytest.fail("ran"),
        labels=6,
        longest=64,
        device=torch.device("cpu"),
        capture=tape.capture,
    )
    assert none.replay(pack(of_length(3))) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_graphs_on_cuda_answer_as_single_launches_do(checkpoint, dtype):
    ads = of_length(3, 64, 20, 31, 7, 64, 5)
    plain, warm = Engine(checkpoint, "cuda", dtype), Engine(checkpoint, "cuda", dtype)
    warm.warm_up(of_length(*[64] * 16))
    for batch in (ads, ads[:1], ads * 3, of_length(*[64] * 20), ads[::-1]):
        for one, other in zip(plain.logits(batch), warm.logits(batch), strict=True):
            for head in HEADS:
                np.testing.assert_allclose(one[head], other[head], atol=2e-3)
