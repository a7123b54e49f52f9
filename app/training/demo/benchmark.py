"""Measures the demo checkpoint and the baselines on the hand-labelled ads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.core.head_labels import HEADS, Head
from app.core.postprocessing import WindowLogits, probabilities
from app.core.types import FloatArray
from app.data.labelled_ads import ColumnNames, read_labelled
from app.data.token_batches import PackedPass, run_rows_in_batches
from app.model.base_encoder import open_base_encoder
from app.model.checkpoint import Checkpoint
from app.training.demo import baselines
from app.training.demo.hand_labelled import (
    Contender,
    HandLabelled,
    fit_on_hand_labelled,
    leave_one_source_out,
)
from app.training.demo.job_families import FamilyReader, merge_titles, read_families
from app.training.demo.occupations import read_catalog
from app.training.evaluation.calibration import calibration_error, confidence_bins
from app.training.run_folder import Notify

CHECKPOINT = "checkpoint"
"""The name of the checkpoint among the contenders."""

BATCH_TOKENS = 2048
"""Tokens in a packed pass; few, so that it fits into the memory of a CPU machine."""

CALIBRATED_NOTE = "Its temperatures are fitted on these ads as well."


@dataclass(frozen=True)
class MeasuredCheckpoint:
    """A checkpoint's predictions for the hand-labelled ads, calibrated on them."""

    heads: Mapping[str, Head]
    """Both heads, with the temperatures fitted on these ads."""
    contender: Contender
    ece_unseen_source: Mapping[str, float]
    """By head, the calibration error of `leave_one_source_out`."""


def measure_checkpoint(
    checkpoint: Checkpoint, ads: HandLabelled, run: PackedPass[WindowLogits]
) -> MeasuredCheckpoint:
    """Predict the ads with a checkpoint and fit both temperatures on them.

    Raises:
        DataError: an ad does not fit into the device's memory.
    """
    encoded = enumerate(checkpoint.tokenizer().encode(ads.ads), start=1)
    found = list(run_rows_in_batches(run, encoded, BATCH_TOKENS, "hand-labelled ads"))
    logits = {head: [ad[head] for ad in found] for head in HEADS}
    heads = {
        name: head.model_copy(update={"temperature": fit_on_hand_labelled(ads, name, logits[name])})
        for name, head in checkpoint.heads.items()
    }
    values = {
        name: np.array([probabilities(ad, head.temperature) for ad in logits[name]], np.float32)
        for name, head in heads.items()
    }
    layers = checkpoint.config.encoder.num_hidden_layers
    note = f"this one, {layers} layers, in one pass over title and text."
    unseen = {
        name: _ece(ads, name, leave_one_source_out(ads, name, logits[name])) for name in HEADS
    }
    return MeasuredCheckpoint(heads, Contender(CHECKPOINT, values, note), unseen)


def _ece(ads: HandLabelled, head: str, values: FloatArray) -> float:
    hits = ads.mask(head, values.shape[1])[range(len(ads)), values.argmax(axis=1)]
    return round(calibration_error(confidence_bins(values.max(axis=1), hits)), 4)


def measure_baselines(
    shared: Path,
    data: Path,
    base: Path,
    heads: Mapping[str, Head],
    ads: HandLabelled,
    notify: Notify,
    read_families: FamilyReader = read_families,
) -> Iterator[Contender]:
    """Yield the baselines with their predictions, the fastest first.

    Args:
        shared: folder with the occupation data.
        data: folder with the training rows, `train.csv`.
        base: folder of the base encoder.
        heads: both heads of the checkpoint.
        ads: the ads to predict.
        notify: receives a message for each baseline that is done.
        read_families: reads the job families.
    """
    table = read_labelled(data / "train.csv", ColumnNames())
    catalog = read_catalog(shared)
    _, family_titles = read_families(catalog.taxonomy)
    titles = merge_titles(family_titles, catalog.titles)
    makers: Sequence[Callable[[], Contender]] = (
        lambda: baselines.majority(table, heads, ads.ads),
        lambda: baselines.keywords(table, heads, ads.ads),
        lambda: calibrate(baselines.tfidf(table, heads, ads.ads), ads),
        lambda: baselines.nearest_title(open_base_encoder(str(base)), titles, heads, ads.ads),
    )
    for make in makers:
        contender = make()
        notify(f"Measured: {contender.name}.")
        yield contender


def calibrate(contender: Contender, ads: HandLabelled) -> Contender:
    """Fit temperatures to a contender's probabilities, as is done for the checkpoint."""
    fitted = {}
    for name, values in contender.scores.items():
        # A label that is ruled out gets a logit of minus infinity and stays ruled out.
        logits = np.full(values.shape, -np.inf, dtype=np.float32)
        np.log(values, out=logits, where=values > 0)
        windows = [row[None] for row in logits]
        temperature = fit_on_hand_labelled(ads, name, windows)
        fitted[name] = np.array([probabilities(row, temperature) for row in windows], np.float32)
    return replace(contender, scores=fitted, note=f"{contender.note} {CALIBRATED_NOTE}")
