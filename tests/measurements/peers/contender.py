"""The description of a contender: its command, its requests and its answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.types import Ad


@dataclass(frozen=True)
class Call:
    """A request for one ad. An ad may need several, one for each head."""

    path: str
    body: Callable[[Ad, str], object]
    """Makes the body from the ad, and from its title and text joined by the separator token."""
    labels: Callable[[Any], dict[str, str]]
    """Gets the best label by head from the answer's JSON."""


@dataclass(frozen=True)
class Contender:
    """One way to serve a checkpoint.

    In `command` and `variables`, `{python}` and `{scripts}` stand for the environment's interpreter
    and its folder, `{port}` and `{threads}` for numbers, `{scratch}` for a temporary folder,
    `{model}` for the checkpoint, and `{two_heads}`, `{job_category}` and `{min_education}` for its
    exports.
    """

    name: str
    remark: str
    command: tuple[str, ...]
    calls: tuple[Call, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None
    """The name of its environment; None for the one that runs the comparison."""
    requirements: tuple[str, ...] = ()
    batch: int = 1
    """The largest number of ads in one of its batches."""
    limit: int | None = None
    """The number of simultaneous requests above which it refuses; None without a limit."""
    refusals: frozenset[int] = frozenset({429, 503})
    """Statuses of a refusal because of load."""
