"""The tables and the JSON document of a comparison: medians and ratios to our own server."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from tests.measurements.peers.results import HEADINGS, MORE_IS_BETTER, ContenderResults


def ratios(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float | None]:
    """Return by how many times ours is better in each figure; below 1 it is worse.

    None if the divisor is 0, such as for a contender without useful answers under overload.
    """
    return {
        name: _ratio(*((ours[name], theirs[name]) if more else (theirs[name], ours[name])))
        for name in HEADINGS
        if name in ours and name in theirs
        for more in [name in MORE_IS_BETTER]
    }


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def best(standings: Sequence[ContenderResults], figure: str) -> ContenderResults | None:
    """Return the best contender by a figure, or None if no contender has it."""
    having = [one for one in standings if figure in one.medians()]
    sign = 1 if figure in MORE_IS_BETTER else -1
    return max(having, key=lambda one: sign * one.medians()[figure], default=None)


def document(about: dict[str, Any], standings: Sequence[ContenderResults]) -> dict[str, Any]:
    """Return the JSON document: each round, medians, and ratios to each variant of our server."""
    medians = {one.contender.name: one.medians() for one in standings}
    return about | {
        "contenders": [
            {
                "name": one.contender.name,
                "remark": one.contender.remark,
                "versions": one.versions,
                "failure": one.failure,
                "medians": _rounded(one.medians()),
                "rounds": [_rounded(asdict(turn)) for turn in one.turns],
            }
            for one in standings
        ],
        "ratios": {
            ours.contender.name: {
                name: _rounded(ratios(medians[ours.contender.name], theirs))
                for name, theirs in medians.items()
                if theirs and name != ours.contender.name
            }
            for ours in standings
            if ours.own and ours.turns
        },
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def show(standings: Sequence[ContenderResults]) -> Iterator[RenderableType]:
    """Yield the tables to print: figures, ratios of each variant of our server, and failures."""
    table = _table("Medians", "contender", *HEADINGS.values())
    for one in standings:
        table.add_row(one.contender.name, *_cells(one.medians()))
    yield table
    for ours in standings:
        if not (ours.own and ours.turns):
            continue
        table = _table(f"{ours.contender.name} is better by, times", "than", *HEADINGS.values())
        for one in standings:
            if one is not ours:
                table.add_row(one.contender.name, *_cells(ratios(ours.medians(), one.medians()), 2))
        yield table
        yield from _against_the_best(ours, [one for one in standings if not one.own])
    for one in standings:
        if one.failure:
            yield f"{one.contender.name} failed: {one.failure}"


def _against_the_best(ours: ContenderResults, peers: Sequence[ContenderResults]) -> Iterator[str]:
    limited = [one for one in peers if one.contender.limit]
    unlimited = [one for one in peers if not one.contender.limit]
    for figure, group, who in (
        ("ads_per_second_32", unlimited, "best"),
        ("ads_per_second_32", [one for one in peers if one.contender.batch > 1], "best that pads"),
        ("p50_ms_1", unlimited, "best"),
        ("useful_per_second", unlimited, "best as it comes"),
        ("useful_per_second", limited, "best with a limit"),
    ):
        if rival := best(group, figure):
            times = ratios(ours.medians(), rival.medians()).get(figure)
            if times is not None:
                yield (
                    f"{ours.contender.name}, {HEADINGS[figure]}: {times:.2f} times "
                    f"{rival.contender.name}, the {who}."
                )


def _table(title: str, first: str, *rest: str) -> Table:
    table = Table(first, *rest, title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _cells(values: dict[str, Any], digits: int = 1) -> Iterator[str]:
    for name in HEADINGS:
        value = values.get(name)
        many = digits == 1 and name in ("p50_ms_1", "rest_mb", "peak_mb")
        yield "-" if value is None else f"{value:,.{0 if many else digits}f}"
