import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback
from typer.testing import CliRunner

from app.cli import app
from app.core.errors import CheckpointError, DataError
from app.model.checkpoint import open_checkpoint
from app.training.demo import recipe
from app.training.demo.comparison_tables import HEADING, KEY
from app.training.demo.recipe import (
    STUDENT_OPTIONS,
    TEACHER_OPTIONS,
    replace_folder,
    student_options,
    unpack_base,
)
from tests.support.tiny_gold import GOLD_ROWS
from tests.training.demo.conftest import TINY_STUDENT


def test_one_call_makes_a_checkpoint_that_verifies(made):
    checkpoint = open_checkpoint(made.out)
    assert checkpoint.config.encoder.num_hidden_layers == 1
    assert "Measuring on 5 hand-labelled ads." in made.messages
    assert sorted(path.name for path in made.out.parent.iterdir()) == ["demo"]
    # The trained student and teacher are deleted, since the result contains them.
    assert not list((made.work / "trained").iterdir())


def test_the_card_has_the_command_of_the_teacher(made):
    teacher = open_checkpoint(made.out).metrics["teacher"]
    assert teacher["layers"] == 2
    assert teacher["command"] in (made.out / "README.md").read_text(encoding="utf-8")
    assert "--freeze-layers 1" in teacher["command"]


def test_the_heads_have_the_fitted_temperatures(made):
    checkpoint = open_checkpoint(made.out)
    comparison = checkpoint.metrics[KEY]
    for name, head in checkpoint.heads.items():
        assert head.temperature == comparison["temperatures"][name] != 1


def test_no_text_or_id_of_an_ad_is_saved(made):
    written = [(made.out / name).read_text("utf-8") for name in ("README.md", "metrics.json")]
    for key, _, title, text, *_ in GOLD_ROWS:
        for content in written:
            assert key not in content
            assert text not in content
            assert not title or title not in content


def test_an_existing_folder_is_refused_before_any_work(made):
    before = len(made.messages)
    with pytest.raises(CheckpointError, match="--overwrite"):
        made.make(made.out)
    assert len(made.messages) == before


def test_only_a_checkpoint_is_overwritten(made, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(CheckpointError):
        made.make(tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").is_file()


def test_a_checkpoint_trained_elsewhere_is_measured_in_place(made, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(made.out, out)
    again = made.make(out, trained=out, overwrite=True, with_baselines=False, rows=40)
    before, after = (load_file(path / "model.safetensors") for path in (made.out, out))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.config.dtype == open_checkpoint(made.out).config.dtype
    assert list(again.metrics[KEY]["contenders"]) == ["checkpoint"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.count(HEADING) == card.count("## Limits") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    # The generated rows differ from those it was trained on.
    assert again.metrics[KEY]["same_rows"] is False
    assert made.messages[-1].startswith("The checkpoint was trained on other rows")


def test_a_finished_training_is_not_overwritten(made, tmp_path):
    left = made.work / "trained" / "other"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("hours of work")
    with pytest.raises(CheckpointError, match="continue with --trained"):
        made.make(tmp_path / "other")


class Stop(TrainerCallback):
    """Interrupts after the second epoch, which only the student has."""

    def on_epoch_begin(self, _args, state, _control, **_):
        if state.epoch >= 2:
            raise KeyboardInterrupt


def test_an_interrupted_recipe_continues_with_the_same_command(made, tmp_path):
    three = {"student": replace(TINY_STUDENT, epochs=3), "with_baselines": False}
    with pytest.raises(KeyboardInterrupt, match="run the same command"):
        made.make(tmp_path / "long", callbacks=[Stop()], **three)
    checkpoint = made.make(tmp_path / "long", **three)
    assert "Resuming the interrupted training." in made.messages
    assert len(checkpoint.metrics["history"]) == 3
    # The teacher was finished before and is not trained again.
    assert made.messages[made.messages.index("Resuming the interrupted training.") - 1] == (
        "Training the student."
    )


def test_a_teacher_trained_on_other_rows_is_refused(made, tmp_path):
    three = {"student": replace(TINY_STUDENT, epochs=3), "with_baselines": False}
    with pytest.raises(KeyboardInterrupt):
        made.make(tmp_path / "other-rows", callbacks=[Stop()], **three)
    with pytest.raises(CheckpointError, match="left from a run on other rows: remove it"):
        made.make(tmp_path / "other-rows", rows=40, **three)


def test_the_base_is_unpacked_once(made, tmp_path):
    folder = unpack_base(made.shared, tmp_path)
    (folder / "kept").touch()
    assert unpack_base(made.shared, tmp_path) == folder
    assert (folder / "kept").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["base-encoder"]


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_a_missing_or_damaged_archive_is_refused(tmp_path, content):
    archive = tmp_path / "base-encoder" / "base-encoder.tar.xz"
    archive.parent.mkdir()
    if content:
        archive.write_bytes(content)
    with pytest.raises(DataError, match=r"base-encoder\.tar\.xz"):
        unpack_base(tmp_path, tmp_path / "work")
    assert not (tmp_path / "work" / "base-encoder").exists()


def test_replacing_a_folder_leaves_one_folder(tmp_path):
    for name in ("new", "demo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "is").write_text(name)
    replace_folder(tmp_path / "demo", tmp_path / "new")
    assert (tmp_path / "demo" / "is").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_the_command_prints_the_tables_of_what_it_made(made, monkeypatch, tmp_path):
    call = {}

    def fake_make_demo(*arguments, **options):
        call.update(options, arguments=arguments)
        return open_checkpoint(made.out)

    monkeypatch.setattr(recipe, "make_demo", fake_make_demo)
    words = ["demo", "--shared", "s", "--out", "o", "--trained", "t", "--no-baselines"]
    result = CliRunner().invoke(app, [*words, "--work", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert call["arguments"][:3] == (Path("s"), Path("o"), tmp_path)
    assert call["trained"] == Path("t")
    assert call["with_baselines"] is call["overwrite"] is False
    # The command passes the engine in.
    factory = call["arguments"][3]
    assert callable(factory(open_checkpoint(made.out)))
    assert "5 hand-labelled ads" in result.output
    assert "Saved o, revision" in result.output


def test_the_recipes_options_are_valid():
    for options in (TEACHER_OPTIONS, STUDENT_OPTIONS):
        options.check()
        assert json.dumps(options.command(512))
    assert STUDENT_OPTIONS.layers == 6


def test_a_gpu_trains_the_student_for_more_epochs():
    assert student_options(gpu=True).epochs > student_options(gpu=False).epochs == 1
