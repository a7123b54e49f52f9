"""What a training shows on the terminal: a bar of steps, and each epoch's losses."""

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


def bar(console: Console) -> Progress:
    """Return a progress bar with counts and times."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        # The finished bar says nothing that the result does not.
        transient=True,
        disable=not console.is_terminal,
    )


class Steps(TrainerCallback):  # type: ignore[misc]  # checked as untyped
    """Shows the Trainer's steps and, at the end of an epoch, its losses."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = bar(console)
        self._task = self._progress.add_task("Training", total=None)
        self._loss: float | None = None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
        """Show the bar."""
        self._progress.update(self._task, total=state.max_steps, completed=state.global_step)
        self._progress.start()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: object) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=state.global_step)

    def on_log(
        self, args: Any, state: Any, _control: Any, logs: dict[str, float], **_: object
    ) -> None:
        """Print an epoch's losses, as soon as all that it has are known."""
        validates = args.eval_strategy == "epoch"
        self._loss = logs.get("loss", self._loss)
        if ("eval_loss" if validates else "loss") not in logs or self._loss is None:
            return
        text = f"Epoch {round(state.epoch)}/{args.num_train_epochs}: training loss {self._loss:.4f}"
        if validates:
            text += f", validation loss {logs['eval_loss']:.4f}"
        self._console.print(text, highlight=False)

    def on_train_end(self, *_: object, **__: object) -> None:
        """Take the bar away."""
        self.stop()

    def stop(self) -> None:
        """Take the bar away, also after a failure."""
        self._progress.stop()
