import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from app.cli.progress import TrainingProgress, progress_bar


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, highlight=False)


def log(progress: TrainingProgress, strategy: str, **logs: float) -> None:
    args = SimpleNamespace(eval_strategy=strategy, num_train_epochs=3)
    progress.on_log(args, SimpleNamespace(epoch=1.0), None, logs)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_shows_on_a_terminal_only(terminal):
    shown = console(terminal=terminal)
    with progress_bar(shown) as progress:
        progress.add_task("Predicting", total=2)
    assert ("Predicting" in shown.file.getvalue()) is terminal


def test_an_epoch_without_validation_prints_its_training_loss():
    shown = console(terminal=False)
    log(TrainingProgress(shown), "no", loss=0.5)
    assert shown.file.getvalue() == "Epoch 1/3: training loss 0.5000\n"


def test_an_epoch_with_validation_prints_both_losses_once():
    shown = console(terminal=False)
    progress = TrainingProgress(shown)
    log(progress, "epoch", loss=0.5)
    log(progress, "epoch", eval_loss=0.25)
    assert shown.file.getvalue() == "Epoch 1/3: training loss 0.5000, validation loss 0.2500\n"


def test_the_bar_of_a_failed_training_is_removed():
    shown = console(terminal=True)
    progress = TrainingProgress(shown)
    progress.on_train_begin(None, SimpleNamespace(max_steps=10, global_step=4), None)
    progress.on_step_end(None, SimpleNamespace(global_step=5), None)
    progress.stop()
    progress.stop()
    assert "5/10" in shown.file.getvalue()
