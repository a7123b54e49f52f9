"""Messages between the supervisor and its child processes: front ends and engine processes.

A checkpoint is named by its generation: 0 for the one that the service starts with, and one more
for each that is loaded to replace it.
"""

from dataclasses import dataclass
from pathlib import Path

from app.core.errors import ServiceError
from app.core.served_model import CompletedSwap, ServedModel
from app.serving.settings import Settings
from app.serving.workers.runtime_folder import RuntimeFolder


@dataclass(frozen=True, slots=True)
class ServeGeneration:
    """To a front end: all `engines` engine processes are ready to serve this generation."""

    engines: int
    generation: int = 0


@dataclass(frozen=True, slots=True)
class StartProcess:
    """The first message to a child: its name and number, and what it needs to start."""

    name: str
    number: int
    """A front end's row in the shared counters, or an engine process's engine number there."""
    settings: Settings
    folder: RuntimeFolder
    identity: str = ""
    """A front end's ZeroMQ identity, which differs from that of the process it replaces."""
    listener: int = -1
    """A front end's listening socket, as an inherited file descriptor."""
    serve: ServeGeneration | None = None
    """For a front end that starts when all engines are ready: the generation to serve first."""
    engine: str = ""
    """For an engine process: the engine class as "module:name"; empty for the real one."""


@dataclass(frozen=True, slots=True)
class ProcessReady:
    """From a child: a front end answers health probes, or an engine process has loaded `model`."""

    model: ServedModel | None = None


@dataclass(frozen=True, slots=True)
class DevicesFound:
    """From the first engine process: the devices, each of which gets an engine process."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessFailed:
    """From a child: it cannot start or cannot continue; `sentence` says why."""

    sentence: str


@dataclass(frozen=True, slots=True)
class FrontEndGone:
    """To an engine process: a front end has ended, so its requests need no answer."""

    identity: str


@dataclass(frozen=True, slots=True)
class EngineLost:
    """To a front end: an engine is lost, and the service has to end."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Drain:
    """To a child: finish the accepted requests, then end."""


@dataclass(frozen=True, slots=True)
class SwapRequested:
    """From a front end: a client requests a swap to checkpoint `name`, see `Swapper.swap`.

    `number` is the front end's own, for the `SwapResult`.
    """

    number: int
    name: str | None


@dataclass(frozen=True, slots=True)
class SwapResult:
    """To a front end: the result of the `SwapRequested` with this number."""

    number: int
    result: CompletedSwap | ServiceError


@dataclass(frozen=True, slots=True)
class LoadCheckpoint:
    """To an engine process: load this checkpoint, while the current one stays in service."""

    generation: int
    folder: Path


@dataclass(frozen=True, slots=True)
class CheckpointLoaded:
    """From an engine process: the model that it can serve now, or why it could not be loaded."""

    generation: int
    result: ServedModel | ServiceError


@dataclass(frozen=True, slots=True)
class NowServing:
    """From a front end: new requests are answered by this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class OldRequestsDone:
    """From a front end: no request of a generation before this one is left."""

    generation: int


@dataclass(frozen=True, slots=True)
class DropCheckpoint:
    """To an engine process: free the model of a generation that no front end uses any more."""

    generation: int


@dataclass(frozen=True, slots=True)
class CountSwap:
    """To the first engine process: how a swap ended, for the metric `doppelkopf_swaps_total`."""

    result: str


Message = (
    ProcessReady | DevicesFound | ProcessFailed | ServeGeneration | FrontEndGone | EngineLost
    | Drain | SwapRequested | SwapResult | LoadCheckpoint | CheckpointLoaded | NowServing
    | OldRequestsDone | DropCheckpoint | CountSwap
)  # fmt: skip
