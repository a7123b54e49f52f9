"""The simple contenders that a trained checkpoint has to beat, on the same training rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from app.core.head_labels import HEADS, IGNORED, Head
from app.core.types import Ad, FloatArray
from app.data.labelled_ads import LabelledAds, Targets
from app.model.base_encoder import BaseEncoder
from app.training.demo.hand_labelled import Contender
from app.training.demo.keyword_baseline import required_level
from app.training.demo.occupations import JobTitle

Texts = list[str]

WORD_FEATURES, LETTER_FEATURES = 50_000, 100_000
"""The most frequent n-grams that are kept: of 1-2 words, and of 2-5 letters inside a word."""

EPOCHS, ALPHA = 5, 1e-5
"""Of the logistic regression: passes over the rows, and the weight of its L2 penalty.

The penalty was the best of 1e-4, 3e-5, 1e-5 and 1e-6 on generated validation rows.
"""

SEED = 7

TITLE_TOKENS = 64
"""A title, or the beginning of an ad without one, as the encoder reads it."""

TITLE_BATCH = 128

PREFIX = "query: "
"""What the E5 encoders read before either of two texts that are compared."""


def majority(table: LabelledAds, heads: Mapping[str, Head], ads: Sequence[Ad]) -> Contender:
    """Answer every ad with the labels' shares of the training rows."""
    targets = table.targets(heads, "the label file")
    answers = {}
    for name, head in heads.items():
        share = shares(targets[name], len(head.labels))
        answers[name] = np.tile(share, (len(ads), 1))
    return Contender("majority class", answers, "The labels' shares of the training rows.")


def shares(targets: Targets, labels: int) -> FloatArray:
    """Return how often each label stands among the labelled rows, summing to one."""
    counts = np.bincount(targets[targets != IGNORED], minlength=labels)
    share: FloatArray = (counts / counts.sum()).astype(np.float32)
    return share


def tfidf(table: LabelledAds, heads: Mapping[str, Head], ads: Sequence[Ad]) -> Contender:
    """Fit one logistic regression a head on TF-IDF features of title and text.

    By stochastic gradient descent, one class against the rest: a full-batch solver takes an hour
    for these rows on two cores.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    common: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "min_df": 2}
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), max_features=WORD_FEATURES, **common),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), max_features=LETTER_FEATURES, **common
        ),
    )
    rows = union.fit_transform(_texts(table.ads))
    asked = union.transform(_texts(ads))
    targets = table.targets(heads, "the label file")
    return Contender(
        "TF-IDF, logistic regression",
        {
            name: _regression(rows, targets[name], asked, len(head.labels))
            for name, head in heads.items()
        },
        f"{rows.shape[1]:,} n-grams of 1-2 words and of 2-5 letters inside words, all "
        f"{len(table):,} training rows, stochastic gradient descent (scikit-learn's SGDClassifier "
        f"with log loss, {EPOCHS} epochs, alpha {ALPHA:g}), one class against the rest.",
    )


def _texts(ads: Sequence[Ad]) -> Texts:
    return [f"{ad.title}\n{ad.text}" if ad.title else ad.text for ad in ads]


def _regression(rows: Any, targets: Targets, asked: Any, labels: int) -> FloatArray:
    from sklearn.linear_model import SGDClassifier

    kept = np.flatnonzero(targets != IGNORED)
    model = SGDClassifier(
        loss="log_loss", alpha=ALPHA, max_iter=EPOCHS, tol=None, random_state=SEED, n_jobs=-1
    )
    model.fit(rows[kept], targets[kept])
    answers = np.zeros((asked.shape[0], labels), dtype=np.float32)
    answers[:, model.classes_] = model.predict_proba(asked)
    return answers


def keywords(table: LabelledAds, heads: Mapping[str, Head], ads: Sequence[Ad]) -> Contender:
    """Answer the education by rules, or with the training rows' most frequent level."""
    head = heads["min_education"]
    usual = shares(table.targets(heads, "the label file")["min_education"], len(head.labels))
    found = [required_level(ad) for ad in ads]
    numbers = [head.labels.index(level) if level else int(usual.argmax()) for level in found]
    silent = found.count(None)
    return Contender(
        "key-word rules",
        {"min_education": np.eye(len(head.labels), dtype=np.float32)[numbers]},
        "Regular expressions for German and Swiss degrees, the lowest that a sentence asks for; "
        f"{silent} of {len(ads)} ads name none of them and get the most frequent level.",
        probabilistic=False,
    )


def nearest_title(
    base: BaseEncoder,
    titles: Sequence[JobTitle],
    heads: Mapping[str, Head],
    ads: Sequence[Ad],
) -> Contender:
    """Give each ad the labels of the occupation title that its own title is most similar to.

    Args:
        base: the untouched base encoder, its last layer averaged over the tokens.
        titles: of occupations, with their labels; the masculine form is read.
        heads: both heads.
        ads: read by their title, or by their beginning where they have none.
    """
    listed = [job.forms.masculine for job in titles]
    known = sentence_vectors(base, listed)
    asked = sentence_vectors(base, [ad.title or ad.text for ad in ads])
    # Cosines from -1 to 1; moved, so that only a label without any title has 0.
    similarity = (asked @ known.T + 3) / 4
    labels = {
        "job_category": [job.category for job in titles],
        "min_education": [job.level for job in titles],
    }
    answers = {}
    for name in HEADS:
        answers[name] = np.zeros((len(ads), len(heads[name].labels)), dtype=np.float32)
        for number, label in enumerate(heads[name].labels):
            own = [row for row, other in enumerate(labels[name]) if other == label]
            if own:
                answers[name][:, number] = similarity[:, own].max(axis=1)
    return Contender(
        "nearest title",
        answers,
        f"Cosine of the untouched base encoder's mean-pooled vectors to {len(titles):,} occupation "
        f"titles; the ad's title, or its first {TITLE_TOKENS} tokens where it has none.",
        probabilistic=False,
    )


@torch.inference_mode()
def sentence_vectors(base: BaseEncoder, texts: Sequence[str]) -> FloatArray:
    """Return unit vectors of shape (texts, hidden): the last layer's mean over the tokens."""
    encoder = base.encoder().eval()
    encoded = base.tokenizer(TITLE_TOKENS).encode([Ad(PREFIX + text) for text in texts])
    windows = [ad.windows[0] for ad in encoded]
    vectors = np.zeros((len(texts), base.config.hidden_size), dtype=np.float32)
    # Alike in length side by side, so that little is padded.
    order = sorted(range(len(texts)), key=lambda row: len(windows[row]))
    for start in range(0, len(order), TITLE_BATCH):
        rows = order[start : start + TITLE_BATCH]
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(windows[row]).long() for row in rows], batch_first=True
        )
        lengths = torch.tensor([len(windows[row]) for row in rows])
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        states = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        mean = (states * mask[:, :, None]).sum(dim=1) / lengths[:, None]
        vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return vectors
