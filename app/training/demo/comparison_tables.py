"""The comparison of the demo checkpoint with the baselines, for `metrics.json` and the card."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.core.head_labels import HEADS, Head
from app.training.demo.hand_labelled import Contender, HandLabelled, score
from app.training.evaluation.display_names import HEAD_TITLES

KEY = "hand_labelled"
"""The key of the comparison in `metrics.json`."""

HEADING = "## Quality on hand-labelled ads"

METRIC_NAMES = {
    "top_1": "top-1",
    "top_3": "top-3",
    "ece": "calibration error",
    "levels_off": "levels off",
    "far_off": "more than one off",
}
"""By the key in `metrics.json`, in the order of tables."""

Table = list[list[str]]

LIMITS = (
    "It was trained on generated ads only: what the templates and the occupation data do not say, "
    "it has not seen. New occupations, slang and unusual layouts fail first.",
    "The {ads} hand-labelled ads ({countries}) were used to fit the temperatures and to choose "
    "between variants of data and training, so the metrics above are optimistic; expect less on "
    "ads of other employers.",
    "It reads German with German and Swiss spelling and degrees. English ads are read weakly, "
    "other languages not at all.",
    "The education is what the ad's words ask for; where they ask for nothing, it is a guess from "
    "the occupation.",
    "The categories are whole branches of occupations; a mixed job has more than one right answer.",
)


def comparison_metrics(
    ads: HandLabelled, heads: Mapping[str, Head], contenders: Sequence[Contender]
) -> dict[str, Any]:
    """Return the metrics of all contenders for `metrics.json`, without texts and ids of ads."""
    return {
        "ads": len(ads),
        "contenders": {
            contender.name: score(ads, heads, contender)
            | ({"note": contender.note} if contender.note else {})
            for contender in contenders
        },
    }


def extend_card(card: str, comparison: Mapping[str, Any]) -> str:
    """Return a card with the comparison and the limits; replaces those of an earlier call.

    Args:
        card: the Markdown of a training, or of this function.
        comparison: the result of `comparison_metrics`, with `checkpoint`, `temperatures` and
            `ece_apart` added.
    """
    kept = card.split(HEADING)[0].rstrip()
    return "\n".join([kept, "", *_section(comparison), "", *_limits(comparison)]) + "\n"


def _section(comparison: Mapping[str, Any]) -> Iterator[str]:
    contenders = comparison["contenders"]
    temperatures = ", ".join(f"{comparison['temperatures'][head]} for {head}" for head in HEADS)
    apart = ", ".join(f"{comparison['ece_apart'][head]:.3f} for {head}" for head in HEADS)
    yield from (
        HEADING,
        "",
        f"{comparison['ads']} real ads, labelled by reading each; either of two labels may count. "
        "The calibration error has ten equal bins.",
        "",
    )
    yield from markdown(contender_rows(contenders))
    yield ""
    yield from _best_baseline(comparison)
    yield (
        f"- With {comparison['ads']} ads a share has a standard error of up to "
        f"{0.5 / comparison['ads'] ** 0.5:.3f}; a smaller difference says nothing."
    )
    for name, metrics in contenders.items():
        if note := metrics.get("note"):
            yield f"- {name}: {note}"
    yield from (
        "",
        f"The temperatures in `config.json` ({temperatures}) were fitted on these ads and replace "
        "those of the validation rows. Fitted on all sources but the one they are measured on, the "
        f"calibration error is {apart}.",
        "",
        f"The {comparison['checkpoint']} by source of the ads:",
        "",
    )
    yield from markdown(source_rows(contenders[comparison["checkpoint"]]))


def _best_baseline(comparison: Mapping[str, Any]) -> Iterator[str]:
    """Yield for each head a sentence that names the best baseline."""
    for head in HEADS:
        others = {
            name: metrics["all"][head]["top_1"]
            for name, metrics in comparison["contenders"].items()
            if name != comparison["checkpoint"] and head in metrics["all"]
        }
        if others:
            best = max(others, key=lambda name: others[name])
            own = comparison["contenders"][comparison["checkpoint"]]["all"][head]["top_1"]
            yield (
                f"- {HEAD_TITLES[head]}: the best simple contender is {best} with "
                f"{others[best]:.3f}; the {comparison['checkpoint']} has {own:.3f}."
            )


def _limits(comparison: Mapping[str, Any]) -> Iterator[str]:
    groups = comparison["contenders"][comparison["checkpoint"]]["countries"]
    counts = ", ".join(f"{metrics['ads']} of {name}" for name, metrics in groups.items())
    yield from ("## Limits", "")
    yield from (f"- {limit.format(ads=comparison['ads'], countries=counts)}" for limit in LIMITS)


def contender_rows(contenders: Mapping[str, Any], heads: Sequence[str] = HEADS) -> Table:
    """Return the table of all contenders; the first row is the header."""
    groups = [([name], metrics["all"]) for name, metrics in contenders.items()]
    return _rows(["contender"], groups, heads)


def source_rows(metrics: Mapping[str, Any], heads: Sequence[str] = HEADS) -> Table:
    """Return the table of one contender by source and country; the first row is the header."""
    groups = {**metrics["sources"], **metrics["countries"], "all": metrics["all"]}
    counted = [([name, str(group["ads"])], group) for name, group in groups.items()]
    return _rows(["source", "ads"], counted, heads)


def _rows(
    first: list[str], groups: Sequence[tuple[list[str], Mapping[str, Any]]], heads: Sequence[str]
) -> Table:
    columns = [
        (head, key)
        for head in heads
        for key in METRIC_NAMES
        if any(key in group.get(head, ()) for _, group in groups)
    ]
    # The caption of a table with one head names the head.
    prefix = {head: f"{HEAD_TITLES[head]}: " if len(heads) > 1 else "" for head in heads}
    rows = [first + [prefix[head] + METRIC_NAMES[key] for head, key in columns]]
    for cells, group in groups:
        if any(head in group for head in heads):
            values = [group.get(head, {}).get(key) for head, key in columns]
            shown = ["-" if value is None else f"{value:.3f}" for value in values]
            rows.append([*cells, *shown])
    return rows


def markdown(rows: Table) -> Iterator[str]:
    """Yield the lines of a Markdown table; the first row is the header."""
    header, *body = rows
    yield f"| {' | '.join(header)} |"
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    for row in body:
        yield f"| {' | '.join(row)} |"
