"""Hand-labelled ads: reading them, fitting temperatures on them, scoring contenders.

Some ads have two right labels. The metrics are those of the shared folder's `tools/score.py`:
top-1, top-3, calibration error, levels off. Neither the ads' text nor their ids may be written to
any file.
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
from app.training.evaluation.calibration import (
    Mask,
    calibration_error,
    confidence_bins,
    fit_temperature_to_any,
)
from app.training.evaluation.head_metrics import TOP

COLUMNS = {"job_category": "category", "min_education": "education"}
"""The label column of each head; a second right label is in the column with the suffix `_alt`."""


@dataclass(frozen=True)
class HandLabelled:
    """The hand-labelled ads, in the order of their table."""

    ids: tuple[str, ...]
    ads: tuple[Ad, ...]
    sources: tuple[str, ...]
    """The publisher of each ad: its id up to the first dash."""
    countries: tuple[str, ...]
    accepted: Mapping[str, tuple[frozenset[int], ...]]
    """By head, the indices of each ad's right labels, at least one."""

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, head: str, labels: int) -> Mask:
        """Return the right labels as a boolean mask of shape (ads, labels)."""
        mask = np.zeros((len(self), labels), dtype=bool)
        for row, right in enumerate(self.accepted[head]):
            mask[row, list(right)] = True
        return mask


@dataclass(frozen=True)
class Contender:
    """A checkpoint or baseline with its predictions for the hand-labelled ads."""

    name: str
    scores: Mapping[str, FloatArray]
    """By head, scores of shape (ads, labels): higher is more likely, 0 is ruled out."""
    note: str = ""
    """How the predictions were made, in one sentence for the card."""
    probabilistic: bool = True
    """Whether the scores are probabilities, so that they have a calibration error."""


def read_hand_labelled(shared: Path, heads: Mapping[str, Head]) -> HandLabelled:
    """Read `data/gold_dev.csv` and the ads it labels from `data/ads.jsonl`.

    Raises:
        DataError: a label is unknown or missing, or an ad is missing; names the row.
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
                _accepted_labels(table, number, row, COLUMNS[name], head.labels)
                for number, row in rows
            )
            for name, head in heads.items()
        },
    )


def _accepted_labels(
    table: Path, number: int, row: Row, column: str, labels: Sequence[str]
) -> frozenset[int]:
    names = {as_text(row.get(column)), as_text(row.get(f"{column}_alt"))} - {""}
    if not names:
        raise DataError.at(table, "there is no label.", row=number, column=column)
    if unknown := names - set(labels):
        message = f"'{min(unknown)}' is not a label of the checkpoint."
        raise DataError.at(table, message, row=number, column=column)
    return frozenset(labels.index(name) for name in names)


def fit_on_hand_labelled(ads: HandLabelled, head: str, logits: Sequence[FloatArray]) -> float:
    """Return the temperature at which the right labels are most probable.

    Args:
        ads: the ads.
        head: name of the head.
        logits: for each ad, float32 of shape (windows, labels).
    """
    return fit_temperature_to_any(logits, ads.mask(head, logits[0].shape[1]))


def leave_one_source_out(ads: HandLabelled, head: str, logits: Sequence[FloatArray]) -> FloatArray:
    """Return each ad's probabilities at the temperature fitted on the ads of all other sources.

    This estimates the calibration for an unknown source. With a single source, the temperature is
    fitted on that source.

    Returns:
        float32 of shape (ads, labels).
    """
    mask = ads.mask(head, logits[0].shape[1])
    values = np.zeros(mask.shape, dtype=np.float32)
    for held_out in sorted(set(ads.sources)):
        others = [row for row, source in enumerate(ads.sources) if source != held_out]
        others = others or list(range(len(ads)))
        temperature = fit_temperature_to_any([logits[row] for row in others], mask[others])
        for row, source in enumerate(ads.sources):
            if source == held_out:
                values[row] = probabilities(logits[row], temperature)
    return values


def score(
    ads: HandLabelled, heads: Mapping[str, Head], contender: Contender
) -> dict[str, dict[str, Any]]:
    """Score a contender on all ads, by source and by country.

    Returns:
        `all` has the metrics of all ads; `sources` and `countries` have metrics by name. They are
        the number of `ads` and for each predicted head `top_1`, `top_3` and, for probabilities,
        `ece`; for an ordered head also the mean `levels_off` and `far_off`, the share of ads that
        are more than one level off.
    """

    def metrics(rows: Sequence[int]) -> dict[str, Any]:
        return {"ads": len(rows)} | {
            name: _head_metrics(
                contender.scores[name][list(rows)],
                [ads.accepted[name][row] for row in rows],
                ordered=heads[name].ordered,
                probabilistic=contender.probabilistic,
            )
            for name in HEADS
            if name in contender.scores
        }

    def by(groups: Iterable[str]) -> dict[str, Any]:
        groups = list(groups)
        return {
            group: metrics([row for row, other in enumerate(groups) if other == group])
            for group in sorted(set(groups))
        }

    return {
        "all": metrics(range(len(ads))),
        "sources": by(ads.sources),
        "countries": by(ads.countries),
    }


def _head_metrics(
    scores: FloatArray, accepted: Sequence[frozenset[int]], *, ordered: bool, probabilistic: bool
) -> dict[str, float]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    best = order[:, 0]
    hits = np.array([int(label) in right for label, right in zip(best, accepted, strict=True)])
    # A label with score 0 is ruled out, so it does not count as predicted.
    among_top = [
        any(int(label) in right and values[label] > 0 for label in labels)
        for labels, values, right in zip(order, scores, accepted, strict=True)
    ]
    metrics = {"top_1": hits.mean(), "top_3": np.mean(among_top)}
    if probabilistic:
        metrics["ece"] = calibration_error(confidence_bins(scores.max(axis=1), hits))
    if ordered:
        levels_off = np.array(
            [
                min(abs(int(label) - level) for level in right)
                for label, right in zip(best, accepted, strict=True)
            ]
        )
        metrics |= {"levels_off": levels_off.mean(), "far_off": (levels_off > 1).mean()}
    return {name: round(float(value), 4) for name, value in metrics.items()}
