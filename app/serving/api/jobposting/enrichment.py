"""schema.org's JobPosting: what the model reads of it, and what to add to it."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from app.heads import CREDENTIAL, NO_REQUIREMENTS, Head
from app.records import Ad, Prediction
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
from app.serving.api.jobposting.stated_values import Meanings, claims, free_texts, scheme_of

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
"""Properties that are read behind the description. Not `industry`: it is the employer's, and a
hospital's cook is no nurse. Not `occupationalCategory`: the prediction is compared with it."""

PROPERTIES = {"job_category": "occupationalCategory", "min_education": "educationRequirements"}
"""Where a posting states what each head predicts."""

MAX_CLAIMS = 20
MAX_STATED = 200
"""Texts and codes of a property that are compared, and characters of them that are answered."""


def ad_of(posting: JobPosting) -> Ad:
    """Return what the model reads of a posting; each text is HTML where it looks so."""
    title = next(iter(texts_of(posting.title)), None)
    sections = [texts_of(posting.description), *(free_texts(posting.value(of)) for of in SECTIONS)]
    texts = [text for text in map("\n".join, sections) if text]
    if not texts:
        return Ad(title or "", format="auto")
    return Ad(texts[0], title, "auto", tuple(texts[1:]))


class JobPostings:
    """Answers postings with the labels of the served model."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        self._heads = heads
        self._meanings = {name: Meanings(head) for name, head in heads.items()}

    def answer(self, posting: JobPosting, prediction: Prediction) -> JobPostingAnswer:
        """Put the prediction for a posting on the wire, with what to add to the posting."""
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
        # In JSON-LD null and an empty list say nothing; all else is the author's own word.
        return Patch.model_validate(
            {
                where: value
                for where, value in values.items()
                if posting.value(where) in (None, "", [], {})
            }
        )

    def _stated(self, name: str, value: Any, predicted: int) -> Stated:
        found = list(islice(claims(value), MAX_CLAIMS))
        if not found:
            return Stated()
        text = _sendable("; ".join(dict.fromkeys(claim.text for claim in found)))
        meant = set[int]().union(*map(self._meanings[name].of, found))
        if not meant:
            return Stated(text=text)
        head = self._heads[name]
        # Of several levels the lowest is enough for an applicant.
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
        # The one of the vocabulary that is a text of its own and no credential.
        return credential
    return Credential(credentialCategory=credential, name=name)


def _sendable(text: str) -> str:
    """Cut a text for an answer; half a surrogate pair could not be sent."""
    return text[:MAX_STATED].encode("utf-8", "replace").decode("utf-8")
