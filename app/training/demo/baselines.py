"""Baselines for the demo checkpoint: majority class, keyword rules, TF-IDF, nearest title."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from app.core.head_labels import HEADS, IGNORE_INDEX, Head
from app.core.types import Ad, FloatArray
from app.data.labelled_ads import LabelledAds, Targets
from app.model.base_encoder import BaseEncoder
from app.training.demo.hand_labelled import Contender
from app.training.demo.occupations import JobTitle

Texts = list[str]

WORD_FEATURES, LETTER_FEATURES = 50_000, 100_000
"""Numbers of features: the most frequent n-grams of 1-2 words, and of 2-5 letters in a word."""

EPOCHS, ALPHA = 5, 1e-5
"""Passes over the rows and weight of the L2 penalty of the logistic regression.

The penalty was the best of 1e-4, 3e-5, 1e-5 and 1e-6 on generated validation rows.
"""

SEED = 7

TITLE_TOKENS = 64
"""The encoder reads a title, or the start of an ad without one, up to this many tokens."""

TITLE_BATCH = 128

PREFIX = "query: "
"""E5 encoders expect this before both of two texts that are compared."""

NO_DEGREE_TITLE = re.compile(
    r"\b(lehrstelle|lernende|azubi|auszubildende|ausbildung (?:zum|zur|als)|duales studium|"
    r"praktik(?:um|ant)|schnupper|werkstudent|ferienjob|aushilfe|hilfskraft|unterassist|wahljahr)",
    re.IGNORECASE,
)
"""Titles of positions that need no finished training, whatever the text says."""

WELCOME = re.compile(
    r"von vorteil|vorteilhaft|wünschenswert|erwünscht|idealerweise|im idealfall|gern gesehen|"
    r"ein plus|nice to have|bonus|optional|willkommen sind|bevorzugt",
    re.IGNORECASE,
)
"""Words of sentences that name a degree as an advantage, not as a requirement."""

OFFERED = re.compile(
    r"\bwir (?:bieten|bilden|unterstützen|fördern|ermöglichen)|weiterbildungs|ausbildungsbetrieb|"
    r"aus-? und (?:weiter|fort)bildung|ausbildungsplätze|lehrlingsausbildung",
    re.IGNORECASE,
)
"""Words of sentences about what the employer offers."""

LEVEL_WORDS = {
    "none": re.compile(
        r"quereinst|ohne (?:berufs)?ausbildung|keine (?:berufs)?(?:ausbildung|erfahrung)|ungelernt|"
        r"angelernt|auch ohne (?:vor|fach)kenntnisse|schulabschluss|immatrikul|eingeschrieben",
        re.IGNORECASE,
    ),
    "vocational": re.compile(
        r"berufsausbildung|(?:abgeschlossene|fundierte|kaufmännische|technische|handwerkliche|"
        r"gewerbliche|entsprechende|einschlägige|solide) (?:\w+ )?(?:grund)?ausbildung|"
        r"ausbildung (?:als|zum|zur|im|in)\b|berufslehre|\blehre\b|lehrabschluss|\bEFZ\b|\bEBA\b|"
        r"\bFaGe\b|\bMPA\b|\bKV\b|gelernte|fähigkeitszeugnis|berufsabschluss|gesellenbrief|"
        r"facharbeiter|mittlere[rn]? dienst|grundbildung",
        re.IGNORECASE,
    ),
    "advanced": re.compile(
        r"\bmeister(?:in|prüfung|titel|brief|schule)?\b|\btechniker(?:in)?\b|fachwirt|betriebswirt|"
        r"\bbachelor|\bHF\b|\bFH\b|fachhochschul|höhere (?:fachschule|fachprüfung|berufsbildung)|"
        r"fachausweis|eidg\w*\.? dipl|diplomierte pflege|dipl\. pflege|gehobene[rn]? dienst|"
        r"hochschulabschluss|hochschulstudium|(?:abgeschlossenes|technisches) (?:\w+ )?studium|"
        r"tertiär|\bstudium\b",
        re.IGNORECASE,
    ),
    "master": re.compile(
        r"\bmaster\b|staatsexamen|approbation|promotion|\bpromoviert|doktorat|\bPhD\b|anwaltspatent|"
        r"\bfacharzt|fachärzt|arztdiplom|universitätsabschluss|universitäre[rsn]? (?:abschluss|"
        r"studium|ausbildung|hochschul)|\bETH\b|wissenschaftliches (?:hochschul)?studium|"
        r"höhere[rn]? dienst|volljurist|lizenziat|lizentiat",
        re.IGNORECASE,
    ),
}
"""Words for German and Swiss degrees by level, lowest first."""


def majority(table: LabelledAds, heads: Mapping[str, Head], ads: Sequence[Ad]) -> Contender:
    """Predict for each ad the shares of the labels in the training rows."""
    targets = table.targets(heads, "the label file")
    scores = {
        name: np.tile(label_shares(targets[name], len(head.labels)), (len(ads), 1))
        for name, head in heads.items()
    }
    return Contender("majority class", scores, "The labels' shares of the training rows.")


def label_shares(targets: Targets, labels: int) -> FloatArray:
    """Return each label's share of the labelled rows, float32 of shape (labels,)."""
    counts = np.bincount(targets[targets != IGNORE_INDEX], minlength=labels)
    shares: FloatArray = (counts / counts.sum()).astype(np.float32)
    return shares


def tfidf(table: LabelledAds, heads: Mapping[str, Head], ads: Sequence[Ad]) -> Contender:
    """Fit a logistic regression per head on TF-IDF features of title and text.

    It is fitted by stochastic gradient descent, one class against the rest, because a full-batch
    solver takes an hour for these rows on two cores.
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
    features = union.transform(_texts(ads))
    targets = table.targets(heads, "the label file")
    return Contender(
        "TF-IDF, logistic regression",
        {
            name: _regression(rows, targets[name], features, len(head.labels))
            for name, head in heads.items()
        },
        f"{rows.shape[1]:,} n-grams of 1-2 words and of 2-5 letters inside words, all "
        f"{len(table):,} training rows, stochastic gradient descent (scikit-learn's SGDClassifier "
        f"with log loss, {EPOCHS} epochs, alpha {ALPHA:g}), one class against the rest.",
    )


def _texts(ads: Sequence[Ad]) -> Texts:
    return [f"{ad.title}\n{ad.text}" if ad.title else ad.text for ad in ads]


def _regression(rows: Any, targets: Targets, features: Any, labels: int) -> FloatArray:
    from sklearn.linear_model import SGDClassifier

    kept = np.flatnonzero(targets != IGNORE_INDEX)
    model = SGDClassifier(
        loss="log_loss", alpha=ALPHA, max_iter=EPOCHS, tol=None, random_state=SEED, n_jobs=-1
    )
    model.fit(rows[kept], targets[kept])
    scores = np.zeros((features.shape[0], labels), dtype=np.float32)
    scores[:, model.classes_] = model.predict_proba(features)
    return scores


def keywords(table: LabelledAds, heads: Mapping[str, Head], ads: Sequence[Ad]) -> Contender:
    """Predict the education by rules, else the most frequent level of the training rows."""
    head = heads["min_education"]
    shares = label_shares(table.targets(heads, "the label file")["min_education"], len(head.labels))
    found = [required_level(ad) for ad in ads]
    numbers = [head.labels.index(level) if level else int(shares.argmax()) for level in found]
    without_rule = found.count(None)
    return Contender(
        "key-word rules",
        {"min_education": np.eye(len(head.labels), dtype=np.float32)[numbers]},
        "Regular expressions for German and Swiss degrees, the lowest that a sentence asks for; "
        f"{without_rule} of {len(ads)} ads name none of them and get the most frequent level.",
        probabilistic=False,
    )


def required_level(ad: Ad) -> str | None:
    """Return the lowest level whose words are in a sentence that asks for something, or None.

    It is the lowest because "Ausbildung oder Studium" asks for a vocational training only.
    """
    if NO_DEGREE_TITLE.search(ad.title or ad.text[:120]):
        return "none"
    requirements = [
        sentence
        for sentence in _sentences(ad.text)
        if not WELCOME.search(sentence) and not OFFERED.search(sentence)
    ]
    for level, words in LEVEL_WORDS.items():
        if any(words.search(sentence) for sentence in requirements):
            return level
    return None


def _sentences(text: str) -> Iterator[str]:
    # A full stop ends a sentence only after five letters and before a capital, so that
    # "dipl. Pflege" is not split.
    for line in re.split(r"[\n•;!?]+", text):
        yield from re.split(r"(?<=\w{5}\.)\s+(?=[A-ZÄÖÜ])", line)


def nearest_title(
    base: BaseEncoder,
    titles: Sequence[JobTitle],
    heads: Mapping[str, Head],
    ads: Sequence[Ad],
) -> Contender:
    """Predict the labels of the occupation title that is most similar to the title of the ad.

    Args:
        base: the base encoder without fine-tuning; its last layer is averaged over the tokens.
        titles: occupation titles with labels; only the masculine forms are compared.
        heads: both heads.
        ads: compared by title, or by the start of the text if they have none.
    """
    title_vectors = sentence_vectors(base, [job.forms.masculine for job in titles])
    ad_vectors = sentence_vectors(base, [ad.title or ad.text for ad in ads])
    # Maps cosines to 0.5 to 1, so that 0 is left for labels without any title.
    similarity = (ad_vectors @ title_vectors.T + 3) / 4
    labels = {
        "job_category": [job.category for job in titles],
        "min_education": [job.level for job in titles],
    }
    scores = {}
    for name in HEADS:
        scores[name] = np.zeros((len(ads), len(heads[name].labels)), dtype=np.float32)
        for number, label in enumerate(heads[name].labels):
            own = [row for row, other in enumerate(labels[name]) if other == label]
            if own:
                scores[name][:, number] = similarity[:, own].max(axis=1)
    return Contender(
        "nearest title",
        scores,
        f"Cosine of the untouched base encoder's mean-pooled vectors to {len(titles):,} occupation "
        f"titles; the ad's title, or its first {TITLE_TOKENS} tokens where it has none.",
        probabilistic=False,
    )


@torch.inference_mode()
def sentence_vectors(base: BaseEncoder, texts: Sequence[str]) -> FloatArray:
    """Return unit vectors of shape (texts, hidden): the last layer averaged over the tokens."""
    encoder = base.encoder().eval()
    encoded = base.tokenizer(TITLE_TOKENS).encode([Ad(PREFIX + text) for text in texts])
    windows = [ad.windows[0] for ad in encoded]
    vectors = np.zeros((len(texts), base.config.hidden_size), dtype=np.float32)
    # Batches of similar length need little padding.
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
