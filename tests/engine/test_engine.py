import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch

from app.core.errors import CheckpointError, EngineError, FatalEngineError, SettingsError
from app.core.head_labels import HEADS
from app.core.postprocessing import probabilities
from app.core.types import Ad, EncodedAd, Scores
from app.engine.devices import HAS_ONEDNN
from app.engine.engine import Engine
from app.engine.onednn_linear import ROW_STEP, padded_rows
from app.model.checkpoint import Checkpoint, save_checkpoint
from app.model.classifier import TwoHeadClassifier
from app.model.packed_attention import PACKED
from tests.conftest import HEADS as TINY_HEADS
from tests.conftest import LEVELS, POSITIONS, TRADES

ADS = [
    Ad("Koch für die Küche"),
    Ad(" ".join(TRADES.values()) * 9, "Pflegefachkraft im Team"),
    Ad(""),
    Ad(LEVELS["master"], "Entwickler"),
    Ad(" ".join(LEVELS.values()) * 2),
    Ad("Koch für die Küche"),
]


@dataclass(frozen=True)
class Observed(Checkpoint):
    """A checkpoint that passes its loaded model to `prepare` before the engine gets it."""

    prepare: Callable[[TwoHeadClassifier], object] | None = None

    def model(self, dtype, attention):
        model = super().model(dtype, attention)
        if self.prepare is not None:
            self.prepare(model)
        return model


def observed(
    checkpoint: Checkpoint, prepare: Callable[[TwoHeadClassifier], object], dtype: str = "auto"
) -> Engine:
    """Return an engine whose model `prepare` has changed or added hooks to."""
    values = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    return Engine(Observed(**values, prepare=prepare), "cpu", dtype)


def failing(error: Callable[[int], Exception | None], seen: list[int] | None = None):
    """Return a `prepare` for a model whose passes raise what `error` returns for their tokens.

    The number of tokens of each pass is appended to `seen`.
    """

    def hook(_module, _args, kwargs):
        tokens = kwargs["input_ids"].numel()
        if seen is not None:
            seen.append(tokens)
        if (raised := error(tokens)) is not None:
            raise raised

    return lambda model: model.encoder.register_forward_pre_hook(hook, with_kwargs=True)


def memory_for(most: int) -> Callable[[int], Exception | None]:
    """Return an `error` for `failing`: the memory suffices for `most` tokens."""
    return lambda tokens: torch.OutOfMemoryError("CUDA out of memory") if tokens > most else None


@pytest.fixture(scope="module")
def engine(checkpoint):
    return Engine(checkpoint, "cpu")


@pytest.fixture(scope="module")
def batch(checkpoint):
    return checkpoint.tokenizer().encode(ADS)


def of_length(*lengths: int) -> list[EncodedAd]:
    """Return an ad of one window for each length."""
    return [EncodedAd((np.arange(5, 5 + length, dtype=np.int32),)) for length in lengths]


def assert_same(given: Sequence[object], expected: Sequence[object], tolerance: float = 1e-5):
    assert len(given) == len(expected)
    for one, other in zip(given, expected, strict=True):
        assert isinstance(one, Scores)
        assert isinstance(other, Scores)
        for head in HEADS:
            np.testing.assert_allclose(
                one.probabilities[head], other.probabilities[head], atol=tolerance
            )


# --- answers


def test_a_batch_gives_the_answers_of_single_ads_in_order(engine, batch):
    together = engine.run(batch)
    assert_same(together, [engine.run([encoded])[0] for encoded in batch])
    assert_same(engine.run(batch[::-1]), together[::-1])
    # Equal ads have equal answers and others do not, or equality would prove nothing.
    answers = [result.probabilities["job_category"] for result in together]
    assert abs(answers[0] - answers[5]).max() < 1e-6
    assert min(abs(answers[0] - answers[index]).max() for index in (1, 2, 3, 4)) > 1e-4


def test_answers_are_probabilities_on_the_host(engine, batch):
    for result in engine.run(batch):
        for head in HEADS:
            values = result.probabilities[head]
            assert isinstance(values, np.ndarray)
            assert (values.dtype, values.shape) == (np.float32, (3,))
            assert values.sum() == pytest.approx(1, abs=1e-5)


def test_the_encoder_runs_once_a_batch_for_both_heads(checkpoint, batch):
    passes: list[int] = []
    engine = observed(checkpoint, failing(lambda _: None, passes))
    assert len(engine.run(batch)) == len(batch)
    # No token is computed twice, and the padding is what oneDNN needs.
    assert passes == [padded_rows(sum(encoded.tokens for encoded in batch))]


def test_an_empty_batch_runs_no_pass(checkpoint):
    passes: list[int] = []
    engine = observed(checkpoint, failing(lambda _: None, passes))
    assert engine.run([]) == []
    assert passes == []


@pytest.mark.parametrize("max_windows", [1, 4, 6])
def test_a_long_ads_answer_is_the_mean_over_its_windows(engine, checkpoint, max_windows):
    tokenizer = checkpoint.tokenizer(max_windows)
    (encoded,) = tokenizer.encode([Ad("Koch Küche Restaurant " * 1000, "Koch")])
    assert (len(encoded.windows), encoded.tokens) == (max_windows, max_windows * POSITIONS)
    assert encoded.truncated
    alone = [engine.run([EncodedAd((window,))])[0] for window in encoded.windows]
    (together,) = engine.run([encoded])
    for head in HEADS:
        expected = np.mean([one.probabilities[head] for one in alone], axis=0)
        np.testing.assert_allclose(together.probabilities[head], expected, atol=1e-5)


def test_each_heads_temperature_is_applied(tokenizer_files, checkpoint, batch, tmp_path):
    model = checkpoint.model(torch.float32, PACKED)
    heads = {
        name: head.model_copy(update={"temperature": {"job_category": 3.0}.get(name, 0.5)})
        for name, head in TINY_HEADS.items()
    }
    model.config.heads = {name: head.model_dump(mode="json") for name, head in heads.items()}
    warmer = Engine(save_checkpoint(tmp_path / "x", model, tokenizer_files, {}, ""), "cpu")
    for raw, given in zip(warmer.logits(batch), warmer.run(batch), strict=True):
        for head, temperature in (("job_category", 3.0), ("min_education", 0.5)):
            np.testing.assert_allclose(
                given.probabilities[head], probabilities(raw[head], temperature), atol=1e-6
            )


def test_bfloat16_on_a_cpu_is_close_to_float32(engine, checkpoint, batch):
    assert_same(Engine(checkpoint, "cpu", "bfloat16").run(batch), engine.run(batch), 0.05)


def test_several_threads_may_call_run_at_once(engine, batch):
    expected = engine.run(batch)
    with ThreadPoolExecutor(4) as pool:
        for given in pool.map(lambda _: engine.run(batch), range(8)):
            assert_same(given, expected)


def test_the_engine_has_name_revision_device_and_dtype(engine, checkpoint):
    assert (engine.name, engine.revision) == ("tiny", checkpoint.revision)
    assert (engine.device.type, engine.dtype) == ("cpu", "float32")


# --- failures


def test_a_batch_too_large_for_the_memory_is_halved(checkpoint, engine):
    seen: list[int] = []
    ads = of_length(10, 20, 30, 5, 25)
    assert_same(observed(checkpoint, failing(memory_for(ROW_STEP), seen)).run(ads), engine.run(ads))
    assert seen == list(map(padded_rows, [90, 30, 60, 30, 30]))


def test_an_ad_that_never_fits_fails_alone(checkpoint, engine):
    ads = of_length(10, 20, 60, 5)
    given = observed(checkpoint, failing(memory_for(ROW_STEP))).run(ads)
    expected = engine.run(ads)
    assert isinstance(given[2], EngineError)
    assert not isinstance(given[2], FatalEngineError)
    assert str(given[2]) == "The ad does not fit into the device's memory."
    cause = given[2].__cause__
    assert isinstance(cause, torch.OutOfMemoryError)
    # A traceback would keep the tensors of the failed pass as long as the result exists.
    assert cause.__traceback__ is None
    assert_same([*given[:2], given[3]], [*expected[:2], expected[3]])


def test_an_engine_works_after_it_ran_out_of_memory(checkpoint, engine):
    small = observed(checkpoint, failing(memory_for(ROW_STEP)))
    assert isinstance(small.run(of_length(60))[0], EngineError)
    assert_same(small.run(of_length(30)), engine.run(of_length(30)))


def test_a_cpu_out_of_memory_is_recognised(checkpoint, engine):
    # More than any machine can address, to get the allocator's real message.
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**55, dtype=torch.uint8)
    for error in (refused.value, MemoryError()):
        small = observed(checkpoint, failing(lambda tokens, e=error: e if tokens > 40 else None))
        ads = of_length(30, 30)
        assert_same(small.run(ads), engine.run(ads))
    wrong = observed(checkpoint, failing(lambda _: RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        wrong.run(of_length(30))


def test_a_lost_device_is_fatal(checkpoint):
    broken = observed(checkpoint, failing(lambda _: torch.AcceleratorError("CUDA error 700")))
    with pytest.raises(FatalEngineError, match="has to restart") as caught:
        broken.run(of_length(3, 4))
    assert isinstance(caught.value.__cause__, torch.AcceleratorError)
    assert "700" not in str(caught.value)


def test_an_ad_that_overflows_the_dtype_fails_alone(checkpoint, engine):
    """NaN is no probability, and JSON has no number for it."""
    ads = of_length(10, 20, 5)

    def overflow(model):
        # Only the second ad contains piece 20.
        model.encoder.embeddings.word_embeddings.weight.data[20] = float("inf")

    given = observed(checkpoint, overflow).run(ads)
    expected = engine.run(ads)
    assert isinstance(given[1], EngineError)
    assert "NaN" in str(given[1])
    assert_same([given[0], given[2]], [expected[0], expected[2]])


# --- the warm-up


@pytest.mark.parametrize(("dtype", "passes"), [("float32", 1), ("int8", 2)])
def test_the_warm_up_measures_tokens_a_second(checkpoint, dtype, passes):
    """It runs the batch twice if the first pass is slow."""
    if dtype == "int8" and not HAS_ONEDNN:
        pytest.skip("this torch has no oneDNN")
    seen: list[int] = []
    engine = observed(checkpoint, failing(lambda _: None, seen), dtype)
    rate = engine.warm_up(of_length(20, 30))
    assert seen == [padded_rows(50)] * passes
    assert 0 < rate < 1e9


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_the_warm_up_refuses_weights_that_give_nan(checkpoint, poison):
    broken = observed(checkpoint, lambda model: model.pooler.dense.weight.data.fill_(poison))
    with pytest.raises(CheckpointError, match=r"tiny answers with NaN in float32") as caught:
        broken.warm_up(of_length(5))
    assert "\n" not in str(caught.value)


def test_the_warm_up_refuses_a_too_small_memory(checkpoint):
    small = observed(checkpoint, failing(memory_for(ROW_STEP)))
    with pytest.raises(SettingsError, match="lower MAX_WINDOWS"):
        small.warm_up(of_length(60, 20))


def test_a_closed_engine_frees_its_model(checkpoint):
    models = []
    engine = observed(checkpoint, lambda model: models.append(weakref.ref(model)))
    engine.run(checkpoint.tokenizer().encode(ADS))
    assert models[0]() is not None
    engine.close()
    assert models[0]() is None
