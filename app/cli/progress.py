"""Progress bars of commands, and the Trainer callback that shows a training's steps and losses."""

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback


def progress_bar(console: Console) -> Progress:
    """Return a bar with counts and times, which shows on a terminal only and clears at its end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class TrainingProgress(TrainerCallback):  # type: ignore[misc]  # transformers is checked as untyped
    """Shows the Trainer's steps as a bar and prints the losses of each epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = progress_bar(console)
        self._task = self._progress.add_task("Training", total=None)
        self._loss: float | None = None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
        """Show the bar; a resumed training begins at the step that it had reached."""
        self._progress.update(self._task, total=state.max_steps, completed=state.global_step)
        self._progress.start()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
        """Move the bar by a step."""
        self._progress.update(self._task, completed=state.global_step)

    def on_log(
        self, args: Any, state: Any, _control: Any, logs: dict[str, float], **_: object
    ) -> None:
        """Print an epoch's losses in one line.

        The Trainer logs the training loss first and the validation loss in a later call.
        """
        validates = args.eval_strategy == "epoch"
        self._loss = logs.get("loss", self._loss)
        if ("eval_loss" if validates else "loss") not in logs or self._loss is None:
            return
        text = f"Epoch {round(state.epoch)}/{args.num_train_epochs}: training loss {self._loss:.4f}"
        if validates:
            text += f", validation loss {logs['eval_loss']:.4f}"
        self._console.print(text, highlight=False)

    def on_train_end(self, *_: object, **__: object) -> None:
        """Remove the bar."""
        self.stop()

    def stop(self) -> None:
        """Remove the bar; to be called after a failed training too."""
        self._progress.stop()
