from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from app.core.head_labels import HEADS
from app.core.types import EncodedAd
from app.engine.cuda_graphs import TOKEN_ALIGNMENT, CudaGraphs, graph_sizes
from app.engine.engine import Engine
from app.engine.packing import pack
from app.model.packed_attention import PACKED

TOKENS = 1000


def of_length(*lengths: int) -> list[EncodedAd]:
    """Return ads of these lengths with different tokens."""
    return [
        EncodedAd((np.arange(position, position + length, dtype=np.int32) % 40 + 5,))
        for position, length in enumerate(lengths)
    ]


class FakeDevice:
    """Takes the place of CUDA: a captured function is called at once, and at each replay."""

    def __init__(self) -> None:
        self.replays: list[int] = []
        self.captured = 0

    def capture(self, launch: Callable[[], None]) -> Callable[[], None]:
        launch()
        index, self.captured = self.captured, self.captured + 1

        def replay() -> None:
            self.replays.append(index)
            launch()

        return replay


@pytest.fixture
def device():
    return FakeDevice()


@pytest.fixture
def graphs(checkpoint, device):
    model = checkpoint.model(torch.float32, PACKED)

    def forward(ids, positions, bounds, longest):
        with torch.inference_mode():
            output = model(
                input_ids=ids, position_ids=positions, cu_seq_lens=bounds, longest=longest
            )
        return torch.cat([output[f"{head}_logits"] for head in HEADS], dim=1)

    made = CudaGraphs(
        forward,
        labels=6,
        max_window=64,
        device=torch.device("cpu"),
        capture_graph=device.capture,
    )
    made.capture(TOKENS)
    return made


@pytest.mark.parametrize("tokens", [1, 127, 128, 1000, 1024, 32768, 40000])
def test_the_sizes_are_aligned_and_close_to_each_other(tokens):
    sizes = [size.tokens for size in graph_sizes(tokens)]
    assert sizes == sorted(set(sizes))
    assert all(size % TOKEN_ALIGNMENT == 0 for size in sizes)
    assert sizes[-1] > tokens
    assert sizes[-1] - tokens <= TOKEN_ALIGNMENT
    for lower, upper in pairwise(sizes):
        assert upper - lower <= max(TOKEN_ALIGNMENT, lower // 8 + TOKEN_ALIGNMENT)


@pytest.mark.parametrize(
    "lengths", [(3,), (60, 2, 31), (64,) * 15, (5,) * 20, (62,) * 16, (40,) * 24]
)
def test_a_replay_gives_the_engines_logits(graphs, device, checkpoint, lengths):
    ads = of_length(*lengths)
    # Earlier batches leave other values in the buffers.
    for before in (of_length(*(64,) * 15), of_length(50, 60)):
        assert graphs.replay(pack(before)) is not None
        rows = graphs.replay(pack(ads)).clone()
        expected = Engine(checkpoint, "cpu").logits(ads)
        joined = np.concatenate(
            [np.concatenate([ad[head] for head in HEADS], axis=1) for ad in expected]
        )
        np.testing.assert_allclose(rows.numpy(), joined, atol=2e-6)
    assert len(device.replays) == 4


def test_a_batch_uses_the_smallest_size_it_fits(graphs, device):
    largest_first = [size.tokens for size in graph_sizes(TOKENS)][::-1]
    # A batch must leave one token of a size, which the bounds of unused windows point to.
    for length, tokens in ((63, 128), (64, 128), (127, 128), (128, 192), (191, 192), (192, 256)):
        graphs.replay(pack(of_length(*[length // 4] * 3, length - length // 4 * 3)))
        assert largest_first[device.replays[-1]] == tokens


def test_many_short_windows_use_a_larger_size(graphs, device):
    largest_first = [size.tokens for size in graph_sizes(TOKENS)][::-1]
    graphs.replay(pack(of_length(*[3] * 12)))
    assert largest_first[device.replays[-1]] > 128


@pytest.mark.parametrize("lengths", [(64,) * 16, (1,) * 100])
def test_a_batch_too_large_for_all_graphs_is_not_replayed(graphs, device, lengths):
    assert graphs.replay(pack(of_length(*lengths))) is None
    assert device.replays == []


def test_nothing_is_replayed_before_the_capture(device):
    graphs = CudaGraphs(
        lambda *_: pytest.fail("ran"),
        labels=6,
        max_window=64,
        device=torch.device("cpu"),
        capture_graph=device.capture,
    )
    assert graphs.replay(pack(of_length(3))) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_graphs_on_cuda_give_the_logits_of_single_launches(checkpoint, dtype):
    ads = of_length(3, 64, 20, 31, 7, 64, 5)
    plain, warm = Engine(checkpoint, "cuda", dtype), Engine(checkpoint, "cuda", dtype)
    warm.warm_up(of_length(*[64] * 16))
    for batch in (ads, ads[:1], ads * 3, of_length(*[64] * 20), ads[::-1]):
        for one, other in zip(plain.logits(batch), warm.logits(batch), strict=True):
            for head in HEADS:
                np.testing.assert_allclose(one[head], other[head], atol=2e-3)
