import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)

from app.core.head_labels import IGNORED, Head
from app.core.types import Encoded
from app.engine.packing import pack
from app.model.classifier import ENCODERS, TwoHeadClassifier, TwoHeadConfig
from app.model.output import TwoHeadOutput, two_head_loss
from app.model.packed_attention import PACKED
from tests.conftest import HEADS, POSITIONS, tiny_encoder, tiny_model

LENGTHS = [5, 64, 2, 33, 64]
OUTPUTS = ("job_category_logits", "min_education_logits")


def some_windows(lengths=LENGTHS, lowest=5) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(lowest, 400, length, dtype=np.int32) for length in lengths]


@torch.inference_mode()
def run_packed(model, windows):
    model.set_attn_implementation(PACKED)
    batch = pack([Encoded(tuple(windows))], model.config.position_start())
    return model(batch.input_ids, None, batch.position_ids, batch.cu_seq_lens, batch.longest)


@torch.inference_mode()
def run_padded(model, windows):
    """Run as training does: the library's own attention, positions and mask."""
    model.set_attn_implementation("sdpa")
    pad = model.config.encoder.pad_token_id
    longest = max(len(window) for window in windows)
    ids = torch.full((len(windows), longest), pad)
    mask = torch.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = torch.from_numpy(window)
        mask[row, : len(window)] = 1
    return model(ids, attention_mask=mask)


def assert_equal(given, expected, tolerance):
    for name in OUTPUTS:
        torch.testing.assert_close(given[name], expected[name], atol=tolerance, rtol=0)


def both(**rows) -> TwoHeadOutput:
    return TwoHeadOutput(**{f"{head}_logits": torch.tensor(value) for head, value in rows.items()})


# --- packed, padded, alone


@pytest.mark.parametrize("kind", ENCODERS)
def test_packed_equals_padded_equals_one_by_one(kind):
    model, windows = tiny_model(kind), some_windows()
    packed = run_packed(model, windows)
    assert_equal(packed, run_padded(model, windows), 1e-5)
    for row, window in enumerate(windows):
        alone = TwoHeadOutput(**{name: packed[name][row : row + 1] for name in OUTPUTS})
        assert_equal(run_packed(model, [window]), alone, 1e-5)
        assert_equal(run_padded(model, [window]), alone, 1e-5)
    # The windows do differ, or equality would say nothing.
    assert packed.job_category_logits.std(dim=0).min() > 0.01


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_answer_is_the_same_where_only_first_tokens_are_kept(kind):
    model, windows = tiny_model(kind), some_windows()
    expected = run_packed(model, windows)
    model.keep_first_tokens()
    assert_equal(run_packed(model, windows), expected, 1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
def test_bfloat16_on_a_cpu_comes_near_float32(kind):
    model, windows = tiny_model(kind), some_windows()
    exact = run_packed(model, windows)
    near = run_packed(model.bfloat16(), windows)
    assert near.job_category_logits.dtype == torch.bfloat16
    for name in OUTPUTS:
        difference = near[name].float().softmax(-1) - exact[name].softmax(-1)
        assert difference.abs().max() < 0.05


@pytest.mark.parametrize("pad", [0, 1])
def test_positions_that_start_behind_the_padding_index_survive_packing(pad):
    """RoBERTa's kin number positions from the padding index on, which is 1 in their releases."""
    config = tiny_encoder("roberta").config
    config.pad_token_id = pad
    config.max_position_embeddings = POSITIONS + pad + 1
    model = TwoHeadClassifier.from_encoder(
        type(tiny_encoder("roberta"))(config), HEADS, max_length=POSITIONS
    ).eval()
    assert model.config.position_start() == pad + 1
    assert model.config.longest_window() == POSITIONS
    windows = some_windows()
    assert_equal(run_packed(model, windows), run_padded(model, windows), 1e-5)


def test_a_packed_row_may_be_longer_than_the_encoders_positions():
    windows = some_windows([POSITIONS] * 10)
    model = tiny_model()
    assert_equal(run_packed(model, windows), run_padded(model, windows), 1e-5)


def test_a_packed_window_does_not_feel_its_neighbours():
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


# --- the loss


JOB = [[2.0, 0.0, -1.0], [0.5, 0.5, 3.0], [1.0, -2.0, 0.0]]
LEVEL = [[0.0, 1.0], [4.0, 0.0], [-1.0, 1.0]]


def cross_entropy(row: list[float], target: int) -> float:
    """Compute -log softmax by hand."""
    return float(np.log(np.exp(np.array(row)).sum()) - row[target])


def test_the_loss_is_the_sum_of_both_heads_means():
    targets = {"job_category": torch.tensor([0, 2, 1]), "min_education": torch.tensor([1, 0, 0])}
    loss = two_head_loss(both(job_category=JOB, min_education=LEVEL), targets)
    job = np.mean([cross_entropy(row, t) for row, t in zip(JOB, (0, 2, 1), strict=True)])
    level = np.mean([cross_entropy(row, t) for row, t in zip(LEVEL, (1, 0, 0), strict=True)])
    assert loss.item() == pytest.approx(job + level, abs=1e-6)


def test_a_missing_label_leaves_out_that_row_for_that_head_only():
    targets = {
        "job_category": torch.tensor([0, IGNORED, 1]),
        "min_education": torch.tensor([IGNORED, 0, IGNORED]),
    }
    loss = two_head_loss(both(job_category=JOB, min_education=LEVEL), targets)
    job = (cross_entropy(JOB[0], 0) + cross_entropy(JOB[2], 1)) / 2
    assert loss.item() == pytest.approx(job + cross_entropy(LEVEL[1], 0), abs=1e-6)


@pytest.mark.parametrize("nothing", [None, torch.full((3,), IGNORED)])
def test_a_head_without_a_labelled_row_adds_nothing(nothing):
    output = both(job_category=JOB, min_education=LEVEL)
    given = two_head_loss(
        output, {"job_category": torch.tensor([0, 2, 1]), "min_education": nothing}
    )
    job = np.mean([cross_entropy(row, t) for row, t in zip(JOB, (0, 2, 1), strict=True)])
    assert given.item() == pytest.approx(job, abs=1e-6)
    assert two_head_loss(output, {"job_category": nothing, "min_education": nothing}).item() == 0


def test_class_weights_weigh_the_rows_of_their_head_only():
    targets = {"job_category": torch.tensor([0, 2, 1]), "min_education": torch.tensor([1, 0, 0])}
    weights = {"job_category": torch.tensor([1.0, 5.0, 0.5])}
    loss = two_head_loss(both(job_category=JOB, min_education=LEVEL), targets, weights)
    rows = [cross_entropy(row, t) for row, t in zip(JOB, (0, 2, 1), strict=True)]
    # The weighted mean of the rows, by each row's own class.
    job = (1.0 * rows[0] + 0.5 * rows[1] + 5.0 * rows[2]) / 6.5
    level = np.mean([cross_entropy(row, t) for row, t in zip(LEVEL, (1, 0, 0), strict=True)])
    assert loss.item() == pytest.approx(job + level, abs=1e-6)


def test_a_distance_weight_adds_the_expected_levels_off_for_its_head_alone():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]))
    output = TwoHeadOutput(job_category_logits=logits, min_education_logits=logits)
    targets = {
        "job_category": torch.tensor([0, 2, 1]),
        "min_education": torch.tensor([0, 2, IGNORED]),
    }
    plain = two_head_loss(output, targets)
    weighted = two_head_loss(output, targets, distance_weights={"min_education": 2.0})
    # (0.3 * 1 + 0.2 * 2) and (0.1 * 2 + 0.1 * 1) levels off; the third row has no label.
    assert weighted - plain == pytest.approx(2.0 * (0.7 + 0.3) / 2, abs=1e-6)


def test_label_smoothing_spreads_a_share_of_the_target_over_all_labels():
    targets = {"job_category": torch.tensor([0, IGNORED, IGNORED]), "min_education": None}
    loss = two_head_loss(both(job_category=JOB, min_education=LEVEL), targets, label_smoothing=0.3)
    even = np.mean([cross_entropy(JOB[0], label) for label in range(3)])
    assert loss.item() == pytest.approx(0.7 * cross_entropy(JOB[0], 0) + 0.3 * even, abs=1e-6)


def train_step(job, level, dtype=torch.float32) -> tuple[TwoHeadClassifier, torch.Tensor]:
    model = tiny_model().to(dtype).train()
    ids = torch.from_numpy(np.stack(some_windows([9, 9, 9]))).long()
    loss = model(ids, torch.ones_like(ids), job_category=job, min_education=level).loss
    loss.backward()
    return model, loss


def pulled(model: TwoHeadClassifier, part: str) -> bool:
    gradients = [parameter.grad for parameter in getattr(model, part).parameters()]
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    return any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


PARTS = ("encoder", "pooler", "job_category", "min_education")


def test_one_backward_pass_trains_encoder_pooler_and_both_heads():
    model, _ = train_step(torch.tensor([0, 1, IGNORED]), torch.tensor([IGNORED, 2, 1]))
    assert [pulled(model, part) for part in PARTS] == [True] * 4
    deepest = model.encoder.embeddings.word_embeddings.weight.grad
    assert deepest.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_without_labels_for_one_head_trains_the_rest(dtype):
    model, loss = train_step(torch.tensor([0, 1, 2]), torch.full((3,), IGNORED), dtype)
    assert loss.isfinite()
    assert loss > 0
    assert [pulled(model, part) for part in PARTS] == [True, True, True, False]
    # In the graph even so: distributed training waits for a gradient of every parameter.
    assert model.min_education.weight.grad is not None


def test_a_batch_without_any_label_pulls_nowhere():
    model, loss = train_step(torch.full((3,), IGNORED), torch.full((3,), IGNORED))
    assert loss.item() == 0
    assert [pulled(model, part) for part in PARTS] == [False] * 4


def test_labels_for_one_head_alone_are_enough():
    model = tiny_model()
    ids = torch.from_numpy(np.stack(some_windows([9, 9]))).long()
    output = model(ids, min_education=torch.tensor([0, 2]))
    expected = F.cross_entropy(output.min_education_logits, torch.tensor([0, 2]))
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_dropout_lies_before_both_heads_in_training_only():
    model = TwoHeadClassifier.from_encoder(
        tiny_encoder(), HEADS, max_length=POSITIONS, head_dropout=1.0
    )
    ids = torch.from_numpy(np.stack(some_windows([9, 9]))).long()
    dropped = model.train()(ids)
    # Without anything pooled the heads answer with their bias.
    assert torch.equal(dropped.job_category_logits, model.job_category.bias.expand(2, 3))
    assert torch.equal(dropped.min_education_logits, model.min_education.bias.expand(2, 3))
    assert not torch.equal(model.eval()(ids).job_category_logits, dropped.job_category_logits)


# --- where weights come from and go to


def test_from_encoder_takes_the_encoder_and_its_pooler_over():
    encoder = tiny_encoder()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    model = TwoHeadClassifier.from_encoder(encoder, HEADS, max_length=POSITIONS).eval()
    ids = torch.from_numpy(np.stack(some_windows([9, 9]))).long()
    with torch.inference_mode():
        pooled = encoder.eval()(ids).pooler_output
        torch.testing.assert_close(
            model(ids).job_category_logits, model.job_category(pooled), atol=1e-6, rtol=0
        )
    # The caller's encoder stays whole: a second model can be made from it.
    assert encoder.state_dict().keys() == before.keys()
    torch.testing.assert_close(encoder.pooler.dense.weight, before["pooler.dense.weight"])


def test_from_encoder_makes_a_fresh_pooler_where_there_is_none():
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


def test_from_encoder_forgets_where_the_base_lay(tiny_base):
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
def test_a_saved_model_comes_back_with_equal_logits_and_settings(kind, tmp_path):
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
    assert_equal(run_packed(again, windows), run_packed(model, windows), 0)
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
def test_missing_foreign_or_malformed_heads_are_refused(heads):
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
