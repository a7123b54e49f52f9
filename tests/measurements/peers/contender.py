"""What it takes to measure a contender: how it is started, asked and understood."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.types import Ad


@dataclass(frozen=True)
class Call:
    """A request for one ad. An ad may need several, one a head."""

    path: str
    body: Callable[[Ad, str], object]
    """From the ad, and its title and text joined by the tokenizer's separator."""
    labels: Callable[[Any], dict[str, str]]
    """The best label by head, from the answer's JSON."""


@dataclass(frozen=True)
class Contender:
    """One way to serve a checkpoint.

    In `command` and `variables`, `{python}` and `{scripts}` stand for the environment's interpreter
    and its folder, `{port}`, `{threads}` and `{scratch}` for what they say, `{model}` for the
    checkpoint, and `{two_heads}`, `{job_category}` and `{min_education}` for its exported forms.
    """

    name: str
    remark: str
    command: tuple[str, ...]
    calls: tuple[Call, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None
    """Its name; None stands for this one."""
    requirements: tuple[str, ...] = ()
    batch: int = 1
    """Ads it pads together at most."""
    limit: int | None = None
    """Requests it takes at once; those above it are refused."""
    refusals: frozenset[int] = frozenset({429, 503})
    """Statuses that tell a client to come again later."""
