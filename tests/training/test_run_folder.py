from pathlib import Path

import pytest

from app.core.errors import CheckpointError
from app.training.options import TrainOptions
from app.training.run_folder import (
    check_run_folder,
    create_run_folder,
    last_trainer_state,
    run_fingerprint,
    run_folder,
)


@pytest.fixture
def options(tmp_path):
    data = tmp_path / "ads.csv"
    data.write_text("text\n")

    def make(**changes):
        return TrainOptions(data, "base", tmp_path / "out", **changes)

    return make


def interrupt(options):
    """Leave what an interrupted training leaves."""
    folder = create_run_folder(options, run_fingerprint(options, 64))
    (folder / "checkpoint-3").mkdir()
    return folder


def check(options):
    messages = []
    check_run_folder(options, run_fingerprint(options, 64), messages.append)
    return messages


def test_the_run_folder_is_hidden_beside_the_checkpoint(tmp_path, monkeypatch):
    assert run_folder(tmp_path / "v1") == tmp_path / ".v1.training"
    monkeypatch.chdir(tmp_path)
    assert run_folder(Path()) == tmp_path.parent / f".{tmp_path.name}.training"


def test_a_new_training_starts_without_a_message(options):
    assert check(options()) == []


def test_an_interrupted_training_needs_resume(options):
    folder = interrupt(options())
    assert last_trainer_state(folder) == str(folder / "checkpoint-3")
    with pytest.raises(CheckpointError, match="--resume, or remove"):
        check(options())
    assert check(options(resume=True)) == ["Resuming the interrupted training."]


def test_changed_data_cannot_be_resumed(options):
    interrupt(options())
    options().data.write_text("text\nKoch\n")
    with pytest.raises(CheckpointError, match="other options or data"):
        check(options(resume=True))


def test_only_the_first_process_writes_the_fingerprint(options, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert not create_run_folder(options(), {}).exists()
