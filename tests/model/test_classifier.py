import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)

from app.core.head_labels import IGNORE_INDEX, Head
from app.model.classifier import ENCODERS, TwoHeadClassifier, TwoHeadConfig
from app.model.output import TwoHeadOutput
from tests.conftest import HEADS, POSITIONS, tiny_encoder, tiny_model
from tests.support.packed_models import (
    LENGTHS,
    OUTPUTS,
    assert_same_logits,
    run_packed,
    run_padded,
    some_windows,
)

# --- packed, padded and single windows


@pytest.mark.parametrize("kind", ENCODERS)
def test_packed_padded_and_single_windows_give_equal_logits(kind):
    model, windows = tiny_model(kind), some_windows()
    packed = run_packed(model, windows)
    assert_same_logits(packed, run_padded(model, windows), 1e-5)
    for row, window in enumerate(windows):
        alone = TwoHeadOutput(**{name: packed[name][row : row + 1] for name in OUTPUTS})
        assert_same_logits(run_packed(model, [window]), alone, 1e-5)
        assert_same_logits(run_padded(model, [window]), alone, 1e-5)
    # The windows have different logits, or equality would prove nothing.
    assert packed.job_category_logits.std(dim=0).min() > 0.01


@pytest.mark.parametrize("kind", ENCODERS)
def test_bfloat16_on_a_cpu_is_close_to_float32(kind):
    model, windows = tiny_model(kind), some_windows()
    exact = run_packed(model, windows)
    near = run_packed(model.bfloat16(), windows)
    assert near.job_category_logits.dtype == torch.bfloat16
    for name in OUTPUTS:
        difference = near[name].float().softmax(-1) - exact[name].softmax(-1)
        assert difference.abs().max() < 0.05


@pytest.mark.parametrize("pad", [0, 1])
def test_packing_keeps_positions_that_start_behind_the_padding_index(pad):
    """RoBERTa and its relatives do so; their published padding index is 1."""
    config = tiny_encoder("roberta").config
    config.pad_token_id = pad
    config.max_position_embeddings = POSITIONS + pad + 1
    model = TwoHeadClassifier.from_encoder(
        type(tiny_encoder("roberta"))(config), HEADS, max_length=POSITIONS
    ).eval()
    assert model.config.position_start() == pad + 1
    assert model.config.longest_window() == POSITIONS
    windows = some_windows()
    assert_same_logits(run_packed(model, windows), run_padded(model, windows), 1e-5)


def test_a_packed_row_may_exceed_the_encoders_positions():
    windows = some_windows([POSITIONS] * 10)
    model = tiny_model()
    assert_same_logits(run_packed(model, windows), run_padded(model, windows), 1e-5)


def test_a_packed_window_does_not_depend_on_its_neighbours():
    model, windows = tiny_model(), some_windows()
    before = run_packed(model, windows)
    after = run_packed(model, [windows[0], windows[1][::-1].copy(), *windows[2:]])
    moved = [
        row
        for row in range(len(windows))
        if (before.job_category_logits[row] != after.job_category_logits[row]).any()
    ]
    assert moved == [1]


def test_the_encoder_runs_once_for_both_heads():
    model, calls = tiny_model(), []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    output = run_packed(model, some_windows())
    assert len(calls) == 1
    assert (
        output.job_category_logits.shape == output.min_education_logits.shape == (len(LENGTHS), 3)
    )
    assert output.loss is None


# --- training


def train_step(job, level, dtype=torch.float32) -> tuple[TwoHeadClassifier, torch.Tensor]:
    model = tiny_model().to(dtype).train()
    ids = torch.from_numpy(np.stack(some_windows([9, 9, 9]))).long()
    loss = model(ids, torch.ones_like(ids), job_category=job, min_education=level).loss
    loss.backward()
    return model, loss


def has_gradient(model: TwoHeadClassifier, part: str) -> bool:
    gradients = [parameter.grad for parameter in getattr(model, part).parameters()]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    return any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


PARTS = ("encoder", "pooler", "job_category", "min_education")


def test_one_backward_pass_trains_encoder_pooler_and_both_heads():
    model, _ = train_step(torch.tensor([0, 1, IGNORE_INDEX]), torch.tensor([IGNORE_INDEX, 2, 1]))
    assert [has_gradient(model, part) for part in PARTS] == [True] * 4
    deepest = model.encoder.embeddings.word_embeddings.weight.grad
    assert deepest.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_without_labels_for_one_head_trains_the_other(dtype):
    model, loss = train_step(torch.tensor([0, 1, 2]), torch.full((3,), IGNORE_INDEX), dtype)
    assert loss.isfinite()
    assert loss > 0
    assert [has_gradient(model, part) for part in PARTS] == [True, True, True, False]
    # It is in the autograd graph: distributed training waits for a gradient of every parameter.
    assert model.min_education.weight.grad is not None


def test_a_batch_without_labels_gives_zero_gradients():
    model, loss = train_step(torch.full((3,), IGNORE_INDEX), torch.full((3,), IGNORE_INDEX))
    assert loss.item() == 0
    assert [has_gradient(model, part) for part in PARTS] == [False] * 4


def test_labels_for_one_head_are_enough():
    model = tiny_model()
    ids = torch.from_numpy(np.stack(some_windows([9, 9]))).long()
    output = model(ids, min_education=torch.tensor([0, 2]))
    expected = F.cross_entropy(output.min_education_logits, torch.tensor([0, 2]))
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_dropout_precedes_both_heads_in_training_only():
    model = TwoHeadClassifier.from_encoder(
        tiny_encoder(), HEADS, max_length=POSITIONS, head_dropout=1.0
    )
    ids = torch.from_numpy(np.stack(some_windows([9, 9]))).long()
    dropped = model.train()(ids)
    # With all inputs dropped, a head returns its bias.
    assert torch.equal(dropped.job_category_logits, model.job_category.bias.expand(2, 3))
    assert torch.equal(dropped.min_education_logits, model.min_education.bias.expand(2, 3))
    assert not torch.equal(model.eval()(ids).job_category_logits, dropped.job_category_logits)


# --- making, saving and loading


def test_from_encoder_copies_the_encoder_and_its_pooler():
    encoder = tiny_encoder()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    model = TwoHeadClassifier.from_encoder(encoder, HEADS, max_length=POSITIONS).eval()
    ids = torch.from_numpy(np.stack(some_windows([9, 9]))).long()
    with torch.inference_mode():
        pooled = encoder.eval()(ids).pooler_output
        torch.testing.assert_close(
            model(ids).job_category_logits, model.job_category(pooled), atol=1e-6, rtol=0
        )
    # The encoder is unchanged, so a second model can be made from it.
    assert encoder.state_dict().keys() == before.keys()
    torch.testing.assert_close(encoder.pooler.dense.weight, before["pooler.dense.weight"])


def test_from_encoder_makes_a_new_pooler_if_there_is_none():
    encoder = tiny_encoder("electra")
    model = TwoHeadClassifier.from_encoder(encoder, HEADS, max_length=POSITIONS)
    assert model.pooler.dense.weight.std() > 0
    assert not any("pooler" in name for name in model.encoder.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_encoder_published_in_16_bit_is_trained_in_float32(dtype):
    encoder = tiny_encoder().to(dtype)
    encoder.config.dtype = dtype
    model = TwoHeadClassifier.from_encoder(encoder, HEADS, max_length=POSITIONS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert run_packed(model.eval(), some_windows()).job_category_logits.isfinite().all()


def test_from_encoder_removes_the_path_of_the_base(tiny_base):
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(tiny_base)
    model = TwoHeadClassifier.from_encoder(encoder, HEADS)
    assert str(tiny_base) not in model.config.to_json_string()


def test_an_encoder_of_another_type_is_refused():
    config = TwoHeadConfig(
        encoder={"model_type": "modernbert", "pad_token_id": 0},
        heads={name: head.model_dump(mode="json") for name, head in HEADS.items()},
    )
    with pytest.raises(ValueError, match="type 'modernbert' is not supported, only bert, electra"):
        TwoHeadClassifier(config)


@pytest.mark.parametrize("kind", ENCODERS)
def test_saving_and_loading_keeps_logits_and_settings(kind, tmp_path):
    heads = {
        "job_category": HEADS["job_category"].model_copy(update={"temperature": 1.7}),
        "min_education": HEADS["min_education"],
    }
    model = TwoHeadClassifier.from_encoder(
        tiny_encoder(kind), heads, max_length=48, head_dropout=0.25
    ).eval()
    model.save_pretrained(tmp_path)
    again = TwoHeadClassifier.from_pretrained(tmp_path).eval()
    windows = some_windows()
    assert_same_logits(run_packed(again, windows), run_packed(model, windows), 0)
    assert (again.config.max_length, again.config.head_dropout) == (48, 0.25)
    assert again.config.parsed_heads() == heads
    assert again.config.encoder.model_type == kind
    assert again.dropout.p == 0.25


@pytest.mark.parametrize(
    "heads",
    [
        None,
        {},
        {"job_category": {"labels": ["a", "b"]}},
        {name: {"labels": ["a", "b"]} for name in ("job_category", "min_education", "third")},
        {"job_category": {"labels": ["a", "b"]}, "min_education": {"labels": ["a", "a"]}},
    ],
)
def test_missing_unknown_or_malformed_heads_are_refused(heads):
    with pytest.raises(ValueError, match=r"heads have to be|appears twice"):
        TwoHeadConfig(encoder=tiny_encoder().config, heads=heads).parsed_heads()


def test_each_head_has_its_own_width():
    heads = {
        "job_category": Head(labels=("a", "b", "c", "d", "e")),
        "min_education": Head(labels=("low", "high")),
    }
    model = TwoHeadClassifier.from_encoder(tiny_encoder(), heads, max_length=POSITIONS).eval()
    output = run_packed(model, some_windows())
    assert output.job_category_logits.shape == (len(LENGTHS), 5)
    assert output.min_education_logits.shape == (len(LENGTHS), 2)
