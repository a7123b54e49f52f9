import pytest
import torch

from app.core.errors import CheckpointError
from app.core.head_labels import HEADS
from app.model.checkpoint import save_checkpoint
from app.model.classifier import TwoHeadClassifier
from app.model.output import TwoHeadOutput
from app.training.distillation import (
    ANSWERS_SHARE,
    STATES_WEIGHT,
    Distiller,
    states_distance,
    student_of,
)
from tests.conftest import HEADS as TINY_HEADS
from tests.conftest import tiny_encoder, tiny_model

INPUTS = {
    "input_ids": torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def test_a_student_of_all_layers_is_its_teacher(checkpoint):
    student, teacher = student_of(checkpoint, None, 64), checkpoint.model(torch.float32, "sdpa")
    for head in HEADS:
        name = f"{head}_logits"
        assert torch.equal(student.eval()(**INPUTS)[name], teacher(**INPUTS)[name])


def test_a_student_of_one_layer_has_the_teachers_first_layer_and_heads(checkpoint):
    student, teacher = student_of(checkpoint, 1, 32), checkpoint.model(torch.float32, "sdpa")
    assert len(student.encoder.encoder.layer) == student.config.encoder.num_hidden_layers == 1
    assert student.config.max_length == 32
    assert torch.equal(student.job_category.weight, teacher.job_category.weight)
    own, first = (
        model.encoder.encoder.layer[0].output.dense.weight for model in (student, teacher)
    )
    assert torch.equal(own, first)


def test_a_student_has_no_more_layers_than_its_teacher(checkpoint):
    with pytest.raises(CheckpointError, match="--layers has to lie between 1 and 2, not at 3"):
        student_of(checkpoint, 3, 64)


def test_a_student_has_no_longer_windows_than_its_teacher_has_positions(checkpoint):
    with pytest.raises(CheckpointError, match="no windows of 65 tokens"):
        student_of(checkpoint, 1, 65)


def test_a_saved_student_can_be_loaded(checkpoint, tokenizer_files, tmp_path):
    student = student_of(checkpoint, 1, 64)
    saved = save_checkpoint(tmp_path / "student", student, tokenizer_files, {}, "# student\n")
    assert saved.config.encoder.num_hidden_layers == 1


def test_equal_states_have_no_distance_and_the_mean_alone_has_one():
    states = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 4, dtype=torch.int64)
    assert states_distance([states], [states], mask) == 0
    mean = states.mean(dim=(0, 1)).expand_as(states)
    assert states_distance([mean], [states], mask) == pytest.approx(1.0)
    assert states_distance([mean, states], [states, states], mask) == pytest.approx(0.5)


def test_padding_does_not_count():
    states = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    other = states.clone()
    other[1, 3] = 100
    assert states_distance([other], [states], INPUTS["attention_mask"]) == 0
    assert states_distance([other], [states], torch.ones(2, 4)) > 1


def test_a_student_equal_to_its_teacher_pays_for_the_labels_and_for_its_doubts():
    model = tiny_model()
    distiller = Distiller(tiny_model(), 2, torch.device("cpu"))
    output = model(**INPUTS, output_hidden_states=True)
    # The cross-entropy of a distribution with itself is its entropy.
    doubts = sum(
        -(output[f"{head}_logits"].softmax(-1) * output[f"{head}_logits"].log_softmax(-1))
        .sum(-1)
        .mean()
        for head in HEADS
    )
    loss = distiller.loss(output, torch.tensor(3.0), INPUTS)
    expected = (1 - ANSWERS_SHARE) * 3.0 + ANSWERS_SHARE * doubts
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_states_far_from_the_teachers_cost():
    teacher = TwoHeadClassifier.from_encoder(tiny_encoder(), TINY_HEADS).eval()
    output = tiny_model()(**INPUTS, output_hidden_states=True)
    distiller = Distiller(teacher, 2, torch.device("cpu"))
    wanted = teacher(**INPUTS, output_hidden_states=True)
    states = states_distance(
        output.hidden_states[1:], wanted.hidden_states[1:], INPUTS["attention_mask"]
    )
    near = TwoHeadOutput(
        job_category_logits=output.job_category_logits,
        min_education_logits=output.min_education_logits,
        hidden_states=wanted.hidden_states,
    )
    zero = torch.tensor(0.0)
    difference = distiller.loss(output, zero, INPUTS) - distiller.loss(near, zero, INPUTS)
    assert states > 0.1
    assert difference.item() == pytest.approx(STATES_WEIGHT * states.item(), rel=1e-4)


def test_the_teacher_never_learns():
    teacher = tiny_model()
    Distiller(teacher, 1, torch.device("cpu"))
    assert not any(weight.requires_grad for weight in teacher.parameters())


def test_an_output_without_states_is_refused():
    with pytest.raises(ValueError, match="hidden states"):
        Distiller(tiny_model(), 2, torch.device("cpu")).loss(
            tiny_model()(**INPUTS), torch.tensor(0.0), INPUTS
        )
