import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback
from typer.testing import CliRunner

from app.cli import app
from app.cli.tables import comparison_tables
from app.core.errors import CheckpointError, DataError
from app.core.head_labels import HEADS
from app.engine.engine import Engine
from app.model.checkpoint import open_checkpoint
from app.training.demo import benchmark as contest
from app.training.demo import recipe
from app.training.demo import training_data as demo
from app.training.demo.comparison_tables import HEADING, KEY
from app.training.demo.hand_labelled import Contender, read_hand_labelled
from app.training.demo.recipe import (
    TEACHER,
    TRAINING,
    make_demo,
    student_training,
    swap,
    unpack_base,
)
from tests.conftest import POSITIONS
from tests.support.tiny_gold import GOLD_ROWS, write_base_archive, write_gold
from tests.support.tiny_occupations import write_occupation_tables

TINY = replace(TRAINING, epochs=1, batch_size=16, layers=1, max_length=POSITIONS)
TINY_TEACHER = replace(TEACHER, batch_size=16, freeze_layers=1, max_length=POSITIONS)


def engine(checkpoint):
    return Engine(checkpoint, "cpu").logits


def make(made, out, **changes):
    given = {"rows": 60, "teaching": TINY_TEACHER, "training": TINY} | changes
    return make_demo(made.shared, out, made.work, engine, made.said.append, **given)


class Made:
    """A checkpoint made once, with what it was made from."""

    def __init__(self, folder, base):
        self.shared = write_gold(write_occupation_tables(folder / "shared"))
        write_base_archive(self.shared, base)
        self.work, self.out, self.said = folder / "work", folder / "store" / "demo", []


@pytest.fixture(autouse=True)
def no_families(monkeypatch):
    """Our own families speak of KldB codes the tiny taxonomy does not know."""
    for module in (demo, contest):
        monkeypatch.setattr(module, "read_families", lambda _: ({}, ()))


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_base):
    made = Made(tmp_path_factory.mktemp("recipe"), tiny_base)
    with pytest.MonkeyPatch.context() as patch:
        for module in (demo, contest):
            patch.setattr(module, "read_families", lambda _: ({}, ()))
        make(made, made.out)
    return made


def test_one_call_makes_a_checkpoint_that_verifies(made):
    checkpoint = open_checkpoint(made.out)
    assert checkpoint.config.encoder.num_hidden_layers == 1
    assert "Measuring on 5 hand-labelled ads." in made.said
    assert sorted(path.name for path in made.out.parent.iterdir()) == ["demo"]
    # What was trained on the way is in the result.
    assert not list((made.work / "trained").iterdir())


def test_the_card_tells_how_the_teacher_was_trained_too(made):
    teacher = open_checkpoint(made.out).metrics["teacher"]
    assert teacher["layers"] == 2
    assert teacher["command"] in (made.out / "README.md").read_text(encoding="utf-8")
    assert "--freeze-layers 1" in teacher["command"]


def test_all_contenders_are_measured_in_all_by_source_and_by_country(made):
    comparison = open_checkpoint(made.out).metrics[KEY]
    assert list(comparison["contenders"]) == [
        "majority class",
        "key-word rules",
        "TF-IDF, logistic regression",
        "nearest title",
        "checkpoint",
    ]
    own = comparison["contenders"]["checkpoint"]
    assert own["all"]["ads"] == 5
    assert {name: group["ads"] for name, group in own["sources"].items()} == {"acme": 3, "beta": 2}
    assert set(own["countries"]) == {"CH", "DE"}
    assert set(own["all"]["min_education"]) == {"top_1", "top_3", "ece", "levels_off", "far_off"}
    assert comparison["same_rows"] is True
    assert set(comparison["ece_apart"]) == set(HEADS)


def test_the_fitted_temperatures_are_the_heads(made):
    checkpoint = open_checkpoint(made.out)
    comparison = checkpoint.metrics[KEY]
    for name, head in checkpoint.heads.items():
        assert head.temperature == comparison["temperatures"][name] != 1


def test_the_card_has_both_tables_and_the_limits(made):
    card = (made.out / "README.md").read_text(encoding="utf-8")
    assert "doppelkopf train --data" in card
    assert card.count(HEADING) == card.count("## Limits") == 1
    assert "| majority class | " in card
    assert "| acme | 3 | " in card
    assert "the best simple contender is " in card
    assert "The 5 hand-labelled ads (3 of CH, 2 of DE)" in card


def test_no_text_or_id_of_an_ad_is_written(made):
    written = [(made.out / name).read_text("utf-8") for name in ("README.md", "metrics.json")]
    for key, _, title, text, *_ in GOLD_ROWS:
        for content in written:
            assert key not in content
            assert text not in content
            assert not title or title not in content


def test_a_taken_folder_is_refused_before_any_work(made):
    said = len(made.said)
    with pytest.raises(CheckpointError, match="--overwrite"):
        make(made, made.out)
    assert len(made.said) == said


def test_only_a_checkpoint_is_overwritten(made, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(CheckpointError):
        make(made, tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").is_file()


def test_a_checkpoint_trained_elsewhere_is_measured_in_its_own_place(made, tmp_path):
    out = tmp_path / "demo"
    shutil.copytree(made.out, out)
    again = make(made, out, trained=out, overwrite=True, with_baselines=False, rows=40)
    before, after = (load_file(path / "model.safetensors") for path in (made.out, out))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.config.dtype == open_checkpoint(made.out).config.dtype
    assert list(again.metrics[KEY]["contenders"]) == ["checkpoint"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.count(HEADING) == card.count("## Limits") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    # Other rows were written than those it was trained on, and that is said.
    assert again.metrics[KEY]["same_rows"] is False
    assert made.said[-1].startswith("The checkpoint was trained on other rows")


def test_a_finished_training_is_never_trained_over(made, tmp_path):
    left = made.work / "trained" / "other"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("hours of work")
    with pytest.raises(CheckpointError, match="go on with --trained"):
        make(made, tmp_path / "other")


class Stop(TrainerCallback):
    """Interrupts after the second of three epochs, which only the student has."""

    def on_epoch_begin(self, _args, state, _control, **_):
        if state.epoch >= 2:
            raise KeyboardInterrupt


def test_an_interrupted_recipe_goes_on_with_the_same_command(made, tmp_path):
    three = {"training": replace(TINY, epochs=3), "with_baselines": False}
    with pytest.raises(KeyboardInterrupt, match="run the same command"):
        make(made, tmp_path / "long", callbacks=[Stop()], **three)
    checkpoint = make(made, tmp_path / "long", **three)
    assert "Resuming the interrupted training." in made.said
    assert len(checkpoint.metrics["history"]) == 3
    # Its teacher was finished before and is not trained again.
    assert made.said[made.said.index("Resuming the interrupted training.") - 1] == (
        "Training its student."
    )


def test_a_teacher_of_other_rows_is_refused(made, tmp_path):
    three = {"training": replace(TINY, epochs=3), "with_baselines": False}
    with pytest.raises(KeyboardInterrupt):
        make(made, tmp_path / "other-rows", callbacks=[Stop()], **three)
    with pytest.raises(CheckpointError, match="left from a run on other rows: remove it"):
        make(made, tmp_path / "other-rows", rows=40, **three)


def test_the_base_is_unpacked_once_and_whole(made, tmp_path):
    folder = unpack_base(made.shared, tmp_path)
    (folder / "kept").touch()
    assert unpack_base(made.shared, tmp_path) == folder
    assert (folder / "kept").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["base-encoder"]


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_a_missing_or_damaged_archive_is_one_sentence(tmp_path, content):
    archive = tmp_path / "base-encoder" / "base-encoder.tar.xz"
    archive.parent.mkdir()
    if content:
        archive.write_bytes(content)
    with pytest.raises(DataError, match=r"base-encoder\.tar\.xz"):
        unpack_base(tmp_path, tmp_path / "work")
    assert not (tmp_path / "work" / "base-encoder").exists()


def test_a_swap_leaves_one_folder(tmp_path):
    for name in ("new", "demo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "is").write_text(name)
    swap(tmp_path / "new", tmp_path / "demo")
    assert (tmp_path / "demo" / "is").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_the_tables_are_shown(made):
    shown = list(comparison_tables(open_checkpoint(made.out)))
    # By head a caption, the contenders (the rules know no category), and the ads' sources and
    # countries with all of them.
    assert [table.row_count for table in shown if not isinstance(table, str)] == [4, 5, 5, 5]


def test_a_temperature_changes_no_order_and_keeps_what_is_ruled_out(made):
    ads = read_hand_labelled(made.shared, open_checkpoint(made.out).heads)
    values = np.array([[0.9, 0.1, 0, 0]] * 5, np.float32)
    found = contest.tempered(Contender("one", {"min_education": values}, "Note."), ads)
    answers = found.answers["min_education"]
    assert (answers[:, 0] > answers[:, 1]).all()
    # Sure and mostly wrong before.
    assert answers[0, 0] < 0.8
    assert (answers[:, 2:] == 0).all()
    assert found.note.startswith("Note. Its temperatures")


def test_the_command_prints_the_tables_of_what_it_made(made, monkeypatch, tmp_path):
    asked = {}

    def fake(*given, **options):
        asked.update(options, given=given)
        return open_checkpoint(made.out)

    monkeypatch.setattr(recipe, "make_demo", fake)
    words = ["demo", "--shared", "s", "--out", "o", "--trained", "t", "--no-baselines"]
    result = CliRunner().invoke(app, [*words, "--work", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert asked["given"][:3] == (Path("s"), Path("o"), tmp_path)
    assert asked["trained"] == Path("t")
    assert asked["with_baselines"] is asked["overwrite"] is False
    # The engine is the command line's to hand in.
    factory = asked["given"][3]
    assert callable(factory(open_checkpoint(made.out)))
    assert "5 hand-labelled ads" in result.output
    assert "Saved o, revision" in result.output


def test_the_recipes_options_can_be_used():
    for options in (TEACHER, TRAINING):
        options.check()
        assert json.dumps(options.command(512))
    assert TRAINING.layers == 6


def test_a_gpu_gives_the_student_more_time():
    assert student_training(gpu=True).epochs > student_training(gpu=False).epochs == 1
