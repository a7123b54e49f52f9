"""Compares a checkpoint's predictions with the labels of a file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.head_labels import HEADS
from app.core.postprocessing import WindowLogits
from app.core.types import EncodedAd
from app.data.files import chunks
from app.data.labelled_ads import ColumnNames, LabelledAds, read_labelled, sha256
from app.data.token_batches import PackedPass, run_rows_in_batches
from app.model.checkpoint import Checkpoint
from app.training.evaluation.head_metrics import HeadMetrics, measure_head


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: counts of rows, and the metrics of each head."""

    checkpoint: str
    revision: str
    data: str
    sha256: str
    rows: int
    unlabelled: int
    truncated: int
    """Ads longer than the checkpoint reads."""
    heads: Mapping[str, HeadMetrics]

    def as_json(self) -> dict[str, Any]:
        """Return all metrics, with per-class tables and confusion matrices."""
        return {
            "checkpoint": self.checkpoint,
            "revision": self.revision,
            "data": self.data,
            "data_sha256": self.sha256,
            "rows": {
                "labelled": self.rows,
                "unlabelled": self.unlabelled,
                "truncated": self.truncated,
            },
            **{
                name: metrics.summary()
                | {"per_class": metrics.per_class(), "confusion": metrics.confusion().tolist()}
                for name, metrics in self.heads.items()
            },
        }


def read_test_ads(checkpoint: Checkpoint, path: Path, columns: ColumnNames) -> LabelledAds:
    """Read a file of labelled ads and check that the checkpoint knows their labels.

    Raises:
        DataError: names file, row and column of the first error.
    """
    table = read_labelled(path, columns)
    table.targets(checkpoint.heads, f"the checkpoint {checkpoint.name}")
    return table


def evaluate(
    checkpoint: Checkpoint,
    table: LabelledAds,
    run: PackedPass[WindowLogits],
    max_tokens: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Predict every labelled ad and compare with the labels.

    Args:
        checkpoint: the source of tokenizer, labels and temperatures.
        table: the ads, from `read_test_ads`.
        run: the packed pass that returns raw logits.
        max_tokens: tokens in a batch.
        progress: is called with the number of ads that were just predicted.

    Raises:
        DataError: an ad does not fit into the device's memory.
    """
    truncated = 0
    tokenizer = checkpoint.tokenizer()

    def encoded() -> Iterator[tuple[int, EncodedAd]]:
        nonlocal truncated
        for chunk in chunks(zip(table.rows, table.ads, strict=True)):
            for (row, _), ad in zip(chunk, tokenizer.encode([ad for _, ad in chunk]), strict=True):
                truncated += ad.truncated
                yield row, ad

    logits = []
    for ad_logits in run_rows_in_batches(run, encoded(), max_tokens, table.path):
        logits.append(ad_logits)
        progress(1)
    targets = table.targets(checkpoint.heads, f"the checkpoint {checkpoint.name}")
    return Evaluation(
        checkpoint=checkpoint.name,
        revision=checkpoint.revision,
        data=table.path.name,
        sha256=sha256(table.path),
        rows=len(table),
        unlabelled=table.unlabelled,
        truncated=truncated,
        heads={
            head: measure_head([ad[head] for ad in logits], targets[head], checkpoint.heads[head])
            for head in HEADS
        },
    )
