import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig

from app.bench.engine_bench import (
    EncoderShape,
    EngineReport,
    Variant,
    make_variants,
    matmul,
    measure_variants,
    run_padded,
)
from app.core.types import EncodedAd
from app.engine.engine import Engine, load_model
from app.engine.packing import pack
from app.model.packed_attention import PACKED

BASE = EncoderShape.of(BertConfig())


def ad(*lengths: int) -> EncodedAd:
    return EncodedAd(tuple(np.full(length, 7, dtype=np.int32) for length in lengths))


@pytest.mark.parametrize(("tokens", "gflop"), [(128, 22.35), (256, 45.9), (512, 96.6)])
def test_flops_of_bert_base_are_the_published_ones(tokens, gflop):
    assert BASE.flops(ad(tokens)) / 1e9 == pytest.approx(gflop, rel=0.002)


def test_attention_flops_count_each_window_alone():
    assert BASE.flops(ad(100, 60)) == BASE.flops(ad(100)) + BASE.flops(ad(60))
    assert BASE.flops(ad(160)) > BASE.flops(ad(100, 60))


def test_flops_are_those_that_torch_counts(checkpoint):
    model = checkpoint.model(torch.float32, "eager")
    shape = EncoderShape.of(checkpoint.config.encoder)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.encoder(input_ids=torch.full((1, 48), 7))
    assert shape.flops(ad(48)) == counter.get_total_flops()


def test_packed_flops_are_those_that_torch_counts(checkpoint):
    model, windows = load_model(checkpoint, "float32", PACKED), ad(48, 20, 7)
    shape, packed = EncoderShape.of(checkpoint.config.encoder), pack([windows])
    bounds = (packed.cu_seq_lens, packed.longest)
    # The counter knows the mathematical attention, but not the fused one of the CPU.
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


def test_matmul_computes_the_products_of_all_layers():
    shape = EncoderShape(layers=2, hidden=32, intermediate=64)
    multiply = matmul(shape, torch.device("cpu"), torch.float32)
    with FlopCounterMode(display=False) as counter:
        claimed = multiply()
    assert claimed == counter.get_total_flops() == 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64) * 1024


def test_every_variant_runs_all_ads_in_order(checkpoint):
    padded_shapes = []
    padded = checkpoint.model(torch.float32, "sdpa")
    padded.register_forward_hook(lambda _model, args, _output: padded_shapes.append(args[0].shape))
    read = []
    variants = make_variants(read.extend, padded, BASE, exact=lambda ads: read.extend(ads))
    assert "float32, 1024 tokens" in variants
    ads = [ad(20), ad(40, 30), *[ad(5)] * 7]
    for name in [*variants][:-1]:
        read.clear()
        variants[name].run(ads)
        assert read == ads
    variants["padded, 8 windows"].run(ads)
    assert padded_shapes == [(8, 40), (2, 5)]


def test_padded_windows_give_the_logits_of_packed_ones(checkpoint):
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
    """A machine with a clock of its own: 100 tokens per second, 50 FLOP of products in 1 second."""

    def __init__(self) -> None:
        self.now, self.pace = 0.0, 1.0

    def run(self, ads) -> None:
        self.now += self.pace * sum(one.tokens for one in ads) / 100

    def multiply(self) -> int:
        self.now += self.pace
        return 50

    def measure_variants(self, report: EngineReport, seconds: float, stopped=lambda: False) -> None:
        shape = report.shape
        variants = {
            "fast": Variant(self.run, shape.flops),
            "slow": Variant(lambda ads: (self.run(ads), self.run(ads)), shape.flops),
        }
        measure_variants(report, ADS, variants, self.multiply, seconds, stopped, lambda: self.now)


ADS = [ad(25)] * 1000


def test_rates_are_medians_and_shares_of_the_products():
    report = EngineReport(EncoderShape(1, 1, 1), "cpu", "float32", 1)
    Machine().measure_variants(report, seconds=700)
    fast, slow = report.rows()
    assert report.ads == 8 * 700 // (5 * 7)
    assert (fast["ads"], fast["tokens"]) == (4, 100)
    assert (slow["ads"], slow["tokens"]) == (2, 50)
    # 12 FLOP a token for the matrices and 4 * 25 for attention, at 100 tokens per second.
    assert fast["gflops"] == pytest.approx(100 * 112 / 1e9)
    assert fast["share"] == pytest.approx(100 * 112 / 50)
    assert len(report.matmul) == 5


def test_a_slower_machine_leaves_the_shares_unchanged():
    machine, report = Machine(), EngineReport(EncoderShape(1, 1, 1), "cpu", "float32", 1)
    calls = iter(range(100))

    def slower() -> bool:
        machine.pace = 1.0 + next(calls) // 2
        return False

    machine.measure_variants(report, 100, slower)
    assert max(report.matmul) > 2 * min(report.matmul)
    assert [row["share"] for row in report.rows()] == pytest.approx([224, 112])


def test_a_stop_keeps_the_finished_rounds():
    report = EngineReport(EncoderShape(1, 1, 1), "cpu", "float32", 1)
    stops = iter([False] * 5 + [True])
    Machine().measure_variants(report, 100, lambda: next(stops))
    assert len(report.matmul) == len(report.ways[0].ads) == len(report.ways[1].ads) == 2
