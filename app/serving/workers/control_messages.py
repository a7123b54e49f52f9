"""Messages between the supervisor and its child processes."""

from dataclasses import dataclass
from pathlib import Path

from app.core.errors import ServiceError
from app.core.served_model import ServedModel, Swap
from app.serving.settings import Settings
from app.serving.workers.runtime_folder import RuntimeFolder


@dataclass(frozen=True, slots=True)
class Serve:
    """To a front end: all engines are ready, so many of them, with that generation's model.

    The model that a service begins with is generation 0; each that replaces one has the next.
    """

    engines: int
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a child: what it is told at its begin."""

    name: str
    number: int
    """Of a front end, its row of the ledger; of an engine process, its account there."""
    settings: Settings
    folder: RuntimeFolder
    identity: str = ""
    """Of a front end: told from the one that it replaces."""
    listener: int = -1
    """Of a front end: the descriptor of the socket to accept from."""
    serve: Serve | None = None
    """Of a front end that starts when all engines are ready: what it serves at first."""
    engine: str = ""
    """Of an engine process: the name of what computes."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From a child: a front end answers probes, an engine process ads with its model."""

    model: ServedModel | None = None


@dataclass(frozen=True, slots=True)
class Devices:
    """From the first engine process: the devices that there is an engine process to be for."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """From a child: it cannot begin, or cannot go on; one sentence."""

    sentence: str


@dataclass(frozen=True, slots=True)
class FrontEndGone:
    """To an engine process: a front end is no more."""

    identity: str


@dataclass(frozen=True, slots=True)
class EngineLost:
    """To a front end: an engine is lost."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Drain:
    """To a child: finish what was accepted, and end."""


@dataclass(frozen=True, slots=True)
class SwapRequested:
    """From a front end: its `number`th request for another checkpoint, see `Swapping.swap`."""

    number: int
    name: str | None


@dataclass(frozen=True, slots=True)
class SwapResult:
    """To a front end: what became of such a request."""

    number: int
    result: Swap | ServiceError


@dataclass(frozen=True, slots=True)
class LoadCheckpoint:
    """To an engine process: load this checkpoint beside the served one."""

    generation: int
    folder: Path


@dataclass(frozen=True, slots=True)
class CheckpointLoaded:
    """From an engine process: it takes requests for that generation too, or why it does not."""

    generation: int
    result: ServedModel | ServiceError


@dataclass(frozen=True, slots=True)
class NowServing:
    """From a front end: from now on its requests are that generation's."""

    generation: int


@dataclass(frozen=True, slots=True)
class OldRequestsDone:
    """From a front end: no request of an earlier generation is left there."""

    generation: int


@dataclass(frozen=True, slots=True)
class DropCheckpoint:
    """To an engine process: free the model of a generation; nobody asks it."""

    generation: int


@dataclass(frozen=True, slots=True)
class CountSwap:
    """To the first engine process: how a swap ended, for `doppelkopf_swaps_total`."""

    result: str


Message = (
    Ready | Devices | Failed | Serve | FrontEndGone | EngineLost | Drain
    | SwapRequested | SwapResult | LoadCheckpoint | CheckpointLoaded | NowServing | OldRequestsDone | DropCheckpoint | CountSwap
)  # fmt: skip
