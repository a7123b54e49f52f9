"""Converts a JobPosting to an ad, and its prediction to an answer with a patch."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from app.core.head_labels import CREDENTIAL, NO_REQUIREMENTS, Head
from app.core.types import Ad, Prediction
from app.schemas.classify import ClassifyResponse
from app.schemas.jobposting_request import JobPosting, texts_of
from app.schemas.jobposting_response import (
    CategoryCode,
    CategoryCodeSet,
    Credential,
    JobPostingAnswer,
    Patch,
    Stated,
    StatedHeads,
)
from app.serving.api.jobposting.stated_values import (
    LabelMatcher,
    free_texts,
    scheme_of,
    stated_values,
)

SECTIONS = (
    "responsibilities",
    "qualifications",
    "educationRequirements",
    "experienceRequirements",
    "skills",
    "jobBenefits",
    "incentiveCompensation",
    "workHours",
)
"""Properties that the model reads after the description. Not `industry`: it is the employer's, and
a cook in a hospital is no nurse. Not `occupationalCategory`: the prediction is compared with it."""

PROPERTIES = {"job_category": "occupationalCategory", "min_education": "educationRequirements"}
"""The property that states what a head predicts, by head."""

MAX_STATED_VALUES = 20
"""Maximum texts and codes of a property that are compared with the labels."""

MAX_STATED_CHARACTERS = 200
"""Maximum characters of a property's texts that the answer quotes."""


def ad_of(posting: JobPosting) -> Ad:
    """Return the ad that the model reads; `format="auto"` detects which of its texts are HTML."""
    title = next(iter(texts_of(posting.title)), None)
    sections = [texts_of(posting.description), *(free_texts(posting.value(of)) for of in SECTIONS)]
    texts = [text for text in map("\n".join, sections) if text]
    if not texts:
        return Ad(title or "", format="auto")
    return Ad(texts[0], title, "auto", tuple(texts[1:]))


class JobPostingEnricher:
    """Answers postings with the labels, names and codes of one model's heads."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        self._heads = heads
        self._matchers = {name: LabelMatcher(head) for name, head in heads.items()}

    def answer(self, posting: JobPosting, prediction: Prediction) -> JobPostingAnswer:
        """Return the prediction, the patch, and the labels that the posting itself states."""
        best = {name: top[: posting.top_k] for name, top in prediction.heads.items()}
        base = ClassifyResponse.of(posting, replace(prediction, heads=best))
        predicted = {
            name: head.labels.index(best[name][0].label) for name, head in self._heads.items()
        }
        stated = {
            name: self._stated(name, posting.value(where), predicted[name])
            for name, where in PROPERTIES.items()
        }
        return JobPostingAnswer(
            **dict(base), patch=self._patch(posting, predicted), stated=StatedHeads(**stated)
        )

    def _patch(self, posting: JobPosting, predicted: Mapping[str, int]) -> Patch:
        category, education = (self._heads[name] for name in PROPERTIES)
        values = {
            "occupationalCategory": _category(category, predicted["job_category"]),
            "educationRequirements": _education(education, predicted["min_education"]),
        }
        # In JSON-LD null and empty values say nothing; any other value is the author's own.
        return Patch.model_validate(
            {
                where: value
                for where, value in values.items()
                if posting.value(where) in (None, "", [], {})
            }
        )

    def _stated(self, name: str, value: Any, predicted: int) -> Stated:
        values = list(islice(stated_values(value), MAX_STATED_VALUES))
        if not values:
            return Stated()
        text = _sendable("; ".join(dict.fromkeys(one.text for one in values)))
        meant = set[int]().union(*map(self._matchers[name].labels_of, values))
        if not meant:
            return Stated(text=text)
        head = self._heads[name]
        # Of several levels the lowest counts: it is enough for an applicant.
        if head.ordered or len(meant) == 1:
            label = min(meant)
            return Stated(text=text, label=head.labels[label], agrees=label == predicted)
        return Stated(text=text, agrees=predicted in meant)


def _category(head: Head, index: int) -> list[CategoryCode] | str:
    name = head.name_of(index)
    return [
        CategoryCode(
            codeValue=code,
            name=name,
            inCodeSet=CategoryCodeSet(name=scheme_of(key).name, url=scheme_of(key).url),
        )
        for key, codes in head.codes_of(index).items()
        for code in codes
    ] or name


def _education(head: Head, index: int) -> Credential | str:
    name = head.name_of(index)
    credential = next(iter(head.codes_of(index).get(CREDENTIAL, ())), None)
    if credential is None:
        return name
    if credential == NO_REQUIREMENTS:
        # Search engines expect this one as a plain text, not as a credential.
        return credential
    return Credential(credentialCategory=credential, name=name)


def _sendable(text: str) -> str:
    """Shorten a text for the answer; replace lone surrogates, which UTF-8 cannot encode."""
    return text[:MAX_STATED_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
