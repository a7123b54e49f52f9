"""The contest on the hand-labelled ads: a checkpoint, calibrated on them, and simple contenders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.core.head_labels import HEADS, Head
from app.core.postprocessing import WindowLogits, probabilities
from app.core.types import FloatArray
from app.data.labelled_ads import Columns, read_labelled
from app.data.token_batches import PackedPass, answers
from app.model.base_encoder import open_base
from app.model.checkpoint import Checkpoint
from app.training.demo import baselines
from app.training.demo.hand_labelled import Contender, HandLabelled, fit, fit_apart
from app.training.demo.job_families import merge_titles, read_families
from app.training.demo.occupations import read_catalog
from app.training.evaluation.head_metrics import bin_error, binned
from app.training.run_folder import Say

NAME = "checkpoint"
"""What the checkpoint is called among the contenders."""

BATCH_TOKENS = 2048
"""Of a pass over the hand-labelled ads; small, so that a CPU's memory is enough."""


TEMPERED = "Its temperatures are fitted on these ads as well."


@dataclass(frozen=True)
class MeasuredCheckpoint:
    """A checkpoint's answers to the hand-labelled ads."""

    heads: Mapping[str, Head]
    """Both heads with the temperatures fitted on these ads."""
    contender: Contender
    ece_apart: Mapping[str, float]
    """By head, the calibration error where each source has the temperature of all the others."""


def measure(
    checkpoint: Checkpoint, ads: HandLabelled, run: PackedPass[WindowLogits]
) -> MeasuredCheckpoint:
    """Answer the ads with a checkpoint and fit both its temperatures on them.

    Raises:
        DataError: an ad does not fit into the device's memory.
    """
    encoded = enumerate(checkpoint.tokenizer().encode(ads.ads), start=1)
    found = list(answers(run, encoded, BATCH_TOKENS, "hand-labelled ads"))
    logits = {head: [ad[head] for ad in found] for head in HEADS}
    heads = {
        name: head.model_copy(update={"temperature": fit(ads, name, logits[name])})
        for name, head in checkpoint.heads.items()
    }
    values = {
        name: np.array([probabilities(ad, head.temperature) for ad in logits[name]], np.float32)
        for name, head in heads.items()
    }
    layers = checkpoint.config.encoder.num_hidden_layers
    note = f"this one, {layers} layers, in one pass over title and text."
    apart = {name: _ece(ads, name, fit_apart(ads, name, logits[name])) for name in HEADS}
    return MeasuredCheckpoint(heads, Contender(NAME, values, note), apart)


def _ece(ads: HandLabelled, head: str, values: FloatArray) -> float:
    hits = ads.mask(head, values.shape[1])[range(len(ads)), values.argmax(axis=1)]
    return round(bin_error(binned(values.max(axis=1), hits)), 4)


def simple_contenders(
    shared: Path, data: Path, base: Path, heads: Mapping[str, Head], ads: HandLabelled, say: Say
) -> Iterator[Contender]:
    """Yield the simple contenders' answers, from the quickest to make to the slowest.

    Args:
        shared: folder with the occupation data.
        data: folder with the checkpoint's `train.csv`.
        base: folder of the untouched base encoder.
        heads: of the checkpoint.
        ads: to answer.
        say: is told of each contender that is done.
    """
    table = read_labelled(data / "train.csv", Columns())
    catalog = read_catalog(shared)
    _, own = read_families(catalog.taxonomy)
    titles = merge_titles(own, catalog.titles)
    makers: Sequence[Callable[[], Contender]] = (
        lambda: baselines.majority(table, heads, ads.ads),
        lambda: baselines.keywords(table, heads, ads.ads),
        lambda: calibrated(baselines.tfidf(table, heads, ads.ads), ads),
        lambda: baselines.nearest_title(open_base(str(base)), titles, heads, ads.ads),
    )
    for make in makers:
        contender = make()
        say(f"Measured: {contender.name}.")
        yield contender


def calibrated(contender: Contender, ads: HandLabelled) -> Contender:
    """Fit temperatures to a contender's probabilities too: as fair as to the checkpoint."""
    fitted = {}
    for name, values in contender.answers.items():
        # What is ruled out stays so: a logit of minus infinity.
        logits = np.full(values.shape, -np.inf, dtype=np.float32)
        np.log(values, out=logits, where=values > 0)
        single = [row[None] for row in logits]
        temperature = fit(ads, name, single)
        fitted[name] = np.array([probabilities(row, temperature) for row in single], np.float32)
    return replace(contender, answers=fitted, note=f"{contender.note} {TEMPERED}")
