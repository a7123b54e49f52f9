"""The engine's figures: formulas against counts made by hand, ways that read the same ads."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig

from app.bench.engine_bench import (
    EngineReport,
    Shape,
    Variant,
    batches,
    matmul,
    measure,
    run_padded,
    ways_to_run,
)
from app.bench.report import show_engine
from app.core.types import Encoded
from app.engine.engine import Engine, load_model
from app.engine.packing import pack
from app.model.packed_attention import PACKED

BASE = Shape.of(BertConfig())


def ad(*lengths: int) -> Encoded:
    return Encoded(tuple(np.full(length, 7, dtype=np.int32) for length in lengths))


@pytest.mark.parametrize(("tokens", "gflop"), [(128, 22.35), (256, 45.9), (512, 96.6)])
def test_a_pass_of_bert_base_costs_what_is_published(tokens, gflop):
    assert BASE.flops(ad(tokens)) / 1e9 == pytest.approx(gflop, rel=0.002)


def test_windows_attend_to_themselves_only():
    assert BASE.flops(ad(100, 60)) == BASE.flops(ad(100)) + BASE.flops(ad(60))
    assert BASE.flops(ad(160)) > BASE.flops(ad(100, 60))


def test_the_formula_counts_what_torch_counts(checkpoint):
    model = checkpoint.model(torch.float32, "eager")
    shape = Shape.of(checkpoint.config.encoder)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.encoder(input_ids=torch.full((1, 48), 7))
    assert shape.flops(ad(48)) == counter.get_total_flops()


def test_the_engines_formula_counts_what_torch_counts(checkpoint):
    model, windows = load_model(checkpoint, "float32", PACKED), ad(48, 20, 7)
    shape, packed = Shape.of(checkpoint.config.encoder), pack([windows])
    bounds = (packed.cu_seq_lens, packed.longest)
    # The counter does not know the CPU's own attention.
    with (
        torch.inference_mode(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model(packed.input_ids, None, packed.position_ids, *bounds)
    labels = sum(len(head.labels) for head in checkpoint.heads.values())
    heads = 2 * 3 * shape.hidden * (shape.hidden + labels)
    assert shape.packed_flops(windows) == counter.get_total_flops() - heads
    assert shape.packed_flops(windows) < shape.flops(windows)


def test_the_products_are_the_layers_own():
    shape = Shape(layers=2, hidden=32, intermediate=64)
    multiply = matmul(shape, torch.device("cpu"), torch.float32)
    with FlopCounterMode(display=False) as counter:
        claimed = multiply()
    assert claimed == counter.get_total_flops() == 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64) * 1024


def test_batches_keep_the_order_and_the_bound_and_a_longer_ad_goes_alone():
    ads = [ad(30), ad(30), ad(200), ad(10), ad(60, 20), ad(11)]
    cut = batches(ads, 90)
    assert [[one.tokens for one in batch] for batch in cut] == [[30, 30], [200], [10, 80], [11]]
    assert [one for batch in cut for one in batch] == ads


def test_all_ways_read_all_ads(checkpoint):
    seen = []
    padded = checkpoint.model(torch.float32, "sdpa")
    padded.register_forward_hook(lambda _model, args, _output: seen.append(args[0].shape))
    read = []
    ways = ways_to_run(read.extend, padded, BASE, exact=lambda ads: read.extend(ads))
    assert "float32, 1024 tokens" in ways
    ads = [ad(20), ad(40, 30), *[ad(5)] * 7]
    for way in [*ways][:-1]:
        read.clear()
        ways[way].run(ads)
        assert read == ads
    ways["padded, 8 windows"].run(ads)
    assert seen == [(8, 40), (2, 5)]


def test_padded_windows_answer_as_packed_ones(checkpoint):
    answers = []
    padded = checkpoint.model(torch.float32, "sdpa")
    padded.register_forward_hook(
        lambda _model, _args, output: answers.append(output.job_category_logits)
    )
    ads = [ad(20), ad(40), ad(5)]
    run_padded(padded, ads, 2)
    packed = [one["job_category"] for one in Engine(checkpoint, "cpu").logits(ads)]
    assert torch.cat(answers).numpy() == pytest.approx(np.concatenate(packed), abs=1e-5)


class Machine:
    """One whose clock moves by what is done: 100 tokens a second, products of 50 FLOP in 1 s."""

    def __init__(self) -> None:
        self.now, self.passes, self.pace = 0.0, 0, 1.0

    def run(self, ads) -> None:
        self.passes += 1
        self.now += self.pace * sum(one.tokens for one in ads) / 100

    def multiply(self) -> int:
        self.now += self.pace
        return 50

    def measure(self, report: EngineReport, seconds: float, stopped=lambda: False) -> None:
        shape = report.shape
        ways = {
            "fast": Variant(self.run, shape.flops),
            "slow": Variant(lambda ads: (self.run(ads), self.run(ads)), shape.flops),
        }
        measure(report, ADS, ways, self.multiply, seconds, stopped, lambda: self.now)


ADS = [ad(25)] * 1000


def test_rates_are_medians_over_rounds_and_shares_of_the_products():
    report = EngineReport(Shape(1, 1, 1), "cpu", "float32", 1)
    Machine().measure(report, seconds=700)
    fast, slow = report.rows()
    assert report.ads == 8 * 700 // (5 * 7)
    assert (fast["ads"], fast["tokens"]) == (4, 100)
    assert (slow["ads"], slow["tokens"]) == (2, 50)
    # 12 a token for the matrices, 4 * 25 for its attention, at 100 tokens a second.
    assert fast["gflops"] == pytest.approx(100 * 112 / 1e9)
    assert fast["share"] == pytest.approx(100 * 112 / 50)
    assert len(report.matmul) == 5


def test_a_machine_that_slows_down_changes_no_share():
    machine, report = Machine(), EngineReport(Shape(1, 1, 1), "cpu", "float32", 1)
    asked = iter(range(100))

    def slower() -> bool:
        machine.pace = 1.0 + next(asked) // 2
        return False

    machine.measure(report, 100, slower)
    assert max(report.matmul) > 2 * min(report.matmul)
    assert [row["share"] for row in report.rows()] == pytest.approx([224, 112])


def test_a_stop_leaves_the_finished_rounds():
    report = EngineReport(Shape(1, 1, 1), "cpu", "float32", 1)
    asked = iter([False] * 5 + [True])
    Machine().measure(report, 100, lambda: next(asked))
    assert len(report.matmul) == len(report.ways[0].ads) == len(report.ways[1].ads) == 2


def test_a_stop_before_the_first_round_is_said():
    report = EngineReport(Shape(1, 1, 1), "cpu", "float32", 1)
    Machine().measure(report, 100, lambda: True)
    assert list(show_engine(report))[1] == "No round was finished."
