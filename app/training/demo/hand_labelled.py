"""Ads that people labelled by reading them, where either of two labels may count as right.

The figures are those of the shared folder's own score: top-1, top-3, calibration error, levels
off. Ads are only read: neither their text nor their ids go into anything that is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.core.errors import DataError
from app.core.head_labels import HEADS, Head
from app.core.postprocessing import probabilities
from app.core.types import Ad, FloatArray
from app.data.files import Row, as_text, read_rows
from app.training.evaluation.head_metrics import TOP, Mask, bin_error, binned, fit_accepted

COLUMNS = {"job_category": "category", "min_education": "education"}
"""Each head's column of the label table; a second right answer stands in the one with `_alt`."""


@dataclass(frozen=True)
class HandLabelled:
    """The labelled ads, in the order of their table."""

    ids: tuple[str, ...]
    ads: tuple[Ad, ...]
    sources: tuple[str, ...]
    """Who published each ad: its id up to the first dash."""
    countries: tuple[str, ...]
    accepted: Mapping[str, tuple[frozenset[int], ...]]
    """By head, the numbers of each ad's right labels, never empty."""

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, head: str, labels: int) -> Mask:
        """Return the right labels as a mask of shape (ads, labels)."""
        mask = np.zeros((len(self), labels), dtype=bool)
        for row, right in enumerate(self.accepted[head]):
            mask[row, list(right)] = True
        return mask


@dataclass(frozen=True)
class Contender:
    """A way to answer, with its answers to the hand-labelled ads."""

    name: str
    answers: Mapping[str, FloatArray]
    """By head, of shape (ads, labels): the higher the better, 0 where a label is ruled out."""
    note: str = ""
    """How it was made, in one sentence for the card."""
    probabilistic: bool = True
    """Whether the answers are probabilities, so that calibration means something."""


def read_hand_labelled(shared: Path, heads: Mapping[str, Head]) -> HandLabelled:
    """Read `data/gold_dev.csv` and the ads it labels from `data/ads.jsonl`.

    Raises:
        DataError: a label is unknown or missing, or an ad is not there; names the row.
    """
    table = shared / "data" / "gold_dev.csv"
    rows = list(read_rows(table))
    if not rows:
        raise DataError.at(table, "has no rows.")
    wanted = {as_text(row.get("id")) for _, row in rows}
    found = {
        key: row
        for _, row in read_rows(shared / "data" / "ads.jsonl")
        if (key := as_text(row.get("id"))) in wanted
    }
    for number, row in rows:
        if as_text(row.get("id")) not in found:
            raise DataError.at(table, "its ad is not in ads.jsonl.", row=number, column="id")
    ids = tuple(as_text(row["id"]) for _, row in rows)
    return HandLabelled(
        ids=ids,
        ads=tuple(
            Ad(as_text(found[key].get("text")), as_text(found[key].get("title")) or None)
            for key in ids
        ),
        sources=tuple(key.split("-")[0] for key in ids),
        countries=tuple(as_text(found[key].get("country")) for key in ids),
        accepted={
            name: tuple(
                _accepted(table, number, row, COLUMNS[name], head.labels) for number, row in rows
            )
            for name, head in heads.items()
        },
    )


def _accepted(
    table: Path, number: int, row: Row, column: str, labels: Sequence[str]
) -> frozenset[int]:
    names = {as_text(row.get(column)), as_text(row.get(f"{column}_alt"))} - {""}
    if not names:
        raise DataError.at(table, "there is no label.", row=number, column=column)
    if unknown := names - set(labels):
        message = f"'{min(unknown)}' is none of the checkpoint's labels."
        raise DataError.at(table, message, row=number, column=column)
    return frozenset(labels.index(name) for name in names)


def fit(ads: HandLabelled, head: str, logits: Sequence[FloatArray]) -> float:
    """Return the temperature at which the right labels together are most probable.

    Args:
        ads: whose labels count.
        head: its name.
        logits: by ad, float32 of shape (windows, labels).
    """
    return fit_accepted(logits, ads.mask(head, logits[0].shape[1]))


def fit_apart(ads: HandLabelled, head: str, logits: Sequence[FloatArray]) -> FloatArray:
    """Return each ad's probabilities at the temperature fitted on all other sources' ads.

    What a temperature promises for a source that it never saw; with a single source it is fitted
    on that one.
    """
    mask = ads.mask(head, logits[0].shape[1])
    values = np.zeros(mask.shape, dtype=np.float32)
    for held in sorted(set(ads.sources)):
        others = [row for row, source in enumerate(ads.sources) if source != held]
        others = others or list(range(len(ads)))
        temperature = fit_accepted([logits[row] for row in others], mask[others])
        for row, source in enumerate(ads.sources):
            if source == held:
                values[row] = probabilities(logits[row], temperature)
    return values


def score(
    ads: HandLabelled, heads: Mapping[str, Head], contender: Contender
) -> dict[str, dict[str, Any]]:
    """Score a contender, in all and by source and country.

    Returns:
        `all` holds figures; `sources` and `countries` hold figures by name. Figures are the
        number of `ads` and for each answered head `top_1`, `top_3` and, for probabilities, `ece`;
        for an ordered head also the mean `levels_off` and the share `far_off`, by more than one.
    """

    def figures(rows: Sequence[int]) -> dict[str, Any]:
        return {"ads": len(rows)} | {
            name: _figures(
                contender.answers[name][list(rows)],
                [ads.accepted[name][row] for row in rows],
                ordered=heads[name].ordered,
                probabilistic=contender.probabilistic,
            )
            for name in HEADS
            if name in contender.answers
        }

    def by(groups: Iterable[str]) -> dict[str, Any]:
        groups = list(groups)
        return {
            group: figures([row for row, other in enumerate(groups) if other == group])
            for group in sorted(set(groups))
        }

    return {
        "all": figures(range(len(ads))),
        "sources": by(ads.sources),
        "countries": by(ads.countries),
    }


def _figures(
    answers: FloatArray, accepted: Sequence[frozenset[int]], *, ordered: bool, probabilistic: bool
) -> dict[str, float]:
    order = np.argsort(-answers, axis=1, kind="stable")[:, :TOP]
    best = order[:, 0]
    hits = np.array([int(label) in right for label, right in zip(best, accepted, strict=True)])
    # A label that is ruled out is no answer, wherever the sorting puts it.
    among = [
        any(int(label) in right and values[label] > 0 for label in labels)
        for labels, values, right in zip(order, answers, accepted, strict=True)
    ]
    found = {"top_1": hits.mean(), "top_3": np.mean(among)}
    if probabilistic:
        found["ece"] = bin_error(binned(answers.max(axis=1), hits))
    if ordered:
        off = np.array(
            [
                min(abs(int(label) - level) for level in right)
                for label, right in zip(best, accepted, strict=True)
            ]
        )
        found |= {"levels_off": off.mean(), "far_off": (off > 1).mean()}
    return {name: round(float(value), 4) for name, value in found.items()}
