import pytest
import torch

from app.core.errors import CheckpointError
from app.core.head_labels import HEADS
from app.model.checkpoint import save_checkpoint
from app.model.classifier import TwoHeadClassifier
from app.model.output import TwoHeadOutput
from app.training.distillation import (
    HIDDEN_STATE_WEIGHT,
    PREDICTION_SHARE,
    Distiller,
    build_student,
    hidden_state_distance,
)
from tests.conftest import HEADS as TINY_HEADS
from tests.conftest import tiny_encoder, tiny_model

INPUTS = {
    "input_ids": torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def random_states():
    return torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))


def test_a_student_of_all_layers_predicts_like_its_teacher(checkpoint):
    student, teacher = build_student(checkpoint, None, 64), checkpoint.model(torch.float32, "sdpa")
    for head in HEADS:
        name = f"{head}_logits"
        assert torch.equal(student.eval()(**INPUTS)[name], teacher(**INPUTS)[name])


def test_a_student_copies_the_teachers_layers_and_heads(checkpoint):
    student, teacher = build_student(checkpoint, 1, 32), checkpoint.model(torch.float32, "sdpa")
    assert len(student.encoder.encoder.layer) == student.config.encoder.num_hidden_layers == 1
    assert student.config.max_length == 32
    assert torch.equal(student.job_category.weight, teacher.job_category.weight)
    own, first = (
        model.encoder.encoder.layer[0].output.dense.weight for model in (student, teacher)
    )
    assert torch.equal(own, first)


def test_a_student_with_more_layers_than_its_teacher_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match="--layers has to lie between 1 and 2, not at 3"):
        build_student(checkpoint, 3, 64)


def test_windows_longer_than_the_teachers_positions_are_refused(checkpoint):
    with pytest.raises(CheckpointError, match="cannot read windows of 65 tokens"):
        build_student(checkpoint, 1, 65)


def test_a_saved_student_can_be_loaded(checkpoint, tokenizer_files, tmp_path):
    student = build_student(checkpoint, 1, 64)
    saved = save_checkpoint(tmp_path / "student", student, tokenizer_files, {}, "# student\n")
    assert saved.config.encoder.num_hidden_layers == 1


def test_the_state_distance_of_equal_states_and_of_the_mean():
    states = random_states()
    mask = torch.ones(2, 4, dtype=torch.int64)
    assert hidden_state_distance([states], [states], mask) == 0
    mean = states.mean(dim=(0, 1)).expand_as(states)
    assert hidden_state_distance([mean], [states], mask) == pytest.approx(1.0)
    assert hidden_state_distance([mean, states], [states, states], mask) == pytest.approx(0.5)


def test_padding_does_not_count_in_the_state_distance():
    states = random_states()
    other = states.clone()
    other[1, 3] = 100
    assert hidden_state_distance([other], [states], INPUTS["attention_mask"]) == 0
    assert hidden_state_distance([other], [states], torch.ones(2, 4)) > 1


def test_loss_of_a_student_equal_to_its_teacher():
    """The label loss and the entropy of the teacher's predictions remain, weighted."""
    model = tiny_model()
    distiller = Distiller(tiny_model(), 2, torch.device("cpu"))
    output = model(**INPUTS, output_hidden_states=True)
    # The cross-entropy of a distribution with itself is its entropy.
    entropy = sum(
        -(output[f"{head}_logits"].softmax(-1) * output[f"{head}_logits"].log_softmax(-1))
        .sum(-1)
        .mean()
        for head in HEADS
    )
    loss = distiller.loss(output, torch.tensor(3.0), INPUTS)
    expected = (1 - PREDICTION_SHARE) * 3.0 + PREDICTION_SHARE * entropy
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_includes_the_weighted_state_distance():
    teacher = TwoHeadClassifier.from_encoder(tiny_encoder(), TINY_HEADS).eval()
    output = tiny_model()(**INPUTS, output_hidden_states=True)
    distiller = Distiller(teacher, 2, torch.device("cpu"))
    target = teacher(**INPUTS, output_hidden_states=True)
    states = hidden_state_distance(
        output.hidden_states[1:], target.hidden_states[1:], INPUTS["attention_mask"]
    )
    near = TwoHeadOutput(
        job_category_logits=output.job_category_logits,
        min_education_logits=output.min_education_logits,
        hidden_states=target.hidden_states,
    )
    zero = torch.tensor(0.0)
    difference = distiller.loss(output, zero, INPUTS) - distiller.loss(near, zero, INPUTS)
    assert states > 0.1
    assert difference.item() == pytest.approx(HIDDEN_STATE_WEIGHT * states.item(), rel=1e-4)


def test_the_teachers_weights_are_frozen():
    teacher = tiny_model()
    Distiller(teacher, 1, torch.device("cpu"))
    assert not any(weight.requires_grad for weight in teacher.parameters())


def test_an_output_without_hidden_states_is_refused():
    with pytest.raises(ValueError, match="hidden states"):
        Distiller(tiny_model(), 2, torch.device("cpu")).loss(
            tiny_model()(**INPUTS), torch.tensor(0.0), INPUTS
        )
