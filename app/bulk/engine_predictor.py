"""Bulk prediction with an engine on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from app.bulk.prediction_columns import (
    EMPTY_TEXT,
    PredictionColumns,
    columns_of_error,
    columns_of_labels,
)
from app.core.errors import EngineError, InvalidRequestError
from app.core.gaps import fill_gaps
from app.core.head_labels import HEADS, labels_of
from app.core.postprocessing import top_labels
from app.core.types import Ad, EncodedAd, Labels, Scores
from app.data.token_batches import PackedPass, run_in_batches
from app.text.tokenization import AdTokenizer

if TYPE_CHECKING:
    from app.model.checkpoint import Checkpoint

ENGINE = "app.engine:Engine"
"""The engine's class, by name: `app.bulk` must not import `app.engine`."""


@dataclass(frozen=True)
class EnginePredictor:
    """Predicts ads with an engine.

    Args:
        run: the engine's packed pass.
        tokenizer: of the checkpoint.
        labels: by head, in logit order.
        max_tokens: of a batch.
    """

    run: PackedPass[Scores]
    tokenizer: AdTokenizer
    labels: Mapping[str, Labels]
    max_tokens: int

    @classmethod
    def of(
        cls,
        checkpoint: "Checkpoint",
        device: str,
        dtype: str,
        batch_tokens: int | None,
        engine: str = ENGINE,
    ) -> "EnginePredictor":
        """Load a checkpoint into an engine, and check with one pass that its logits are finite.

        Args:
            checkpoint: to load.
            device: as the engine takes it.
            dtype: likewise.
            batch_tokens: tokens of a batch; by default what the engine recommends for its device.
            engine: the name of its class, as "package.module:Class".

        Raises:
            StartupError: the device, the dtype or the checkpoint cannot be used here.
        """
        tokenizer = checkpoint.tokenizer()
        loaded = resolve_name(engine)(checkpoint, device, dtype)
        loaded.warm_up(tokenizer.encode([Ad("a")]))
        tokens = batch_tokens or loaded.batch_tokens
        return cls(loaded.run, tokenizer, labels_of(checkpoint.heads), tokens)

    def answer(self, ads: Sequence[Ad]) -> list[PredictionColumns]:
        """Return the columns of each ad, in order: its predictions, or why it has none."""
        inputs = [self._encode(ad) for ad in ads]
        encoded = [one for one in inputs if isinstance(one, EncodedAd)]
        found = map(self._columns, run_in_batches(self.run, encoded, self.max_tokens))
        errors = [None if isinstance(one, EncodedAd) else columns_of_error(one) for one in inputs]
        return fill_gaps(errors, found)

    def _encode(self, ad: Ad) -> EncodedAd | str:
        """Return an ad's tokens, or why it has none."""
        try:
            return self.tokenizer.encode([ad])[0] if ad.text else EMPTY_TEXT
        except InvalidRequestError:
            return "The HTML shows no text."

    def _columns(self, found: Scores | EngineError) -> PredictionColumns:
        if isinstance(found, EngineError):
            return columns_of_error(str(found))
        return columns_of_labels(
            {
                head: top_labels(found.probabilities[head], self.labels[head], top_k=1)[0]
                for head in HEADS
            }
        )
