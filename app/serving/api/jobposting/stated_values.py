"""The texts and codes that a property of a posting states, and the labels that they mean."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.head_labels import CREDENTIAL, CREDENTIALS, Head

TEXT_KEYS = ("@value", "name", "description", "text", "educationalLevel", "credentialCategory")
CODE_KEYS = ("codeValue", "termCode")
SET_KEYS = ("inCodeSet", "inDefinedTermSet")
SET_NAMES = ("name", "url", "@id", "@value")
MAX_DEPTH = 4
"""Levels of nested objects and lists that are searched; ordinary postings have three."""

MATCHED_CHARACTERS = 300
"""Characters of a text that are compared with label names and searched for a scheme's name."""

NUMBER = re.compile(r"\d[\d.-]*")
HIERARCHICAL = ("kldb", "isco")
"""Schemes in which a code contains all longer codes that begin with it: 813 contains 81302."""


@dataclass(frozen=True, slots=True)
class ClassificationScheme:
    """A classification of occupations or of qualification levels."""

    name: str
    url: str | None
    marks: tuple[str, ...]
    """Lower-case texts; a posting that names the scheme has one of them in its name or address."""


SCHEMES = {
    "kldb": ClassificationScheme(
        "KldB 2010",
        "https://statistik.arbeitsagentur.de/DE/Navigation/Grundlagen/Klassifikationen/"
        "Klassifikation-der-Berufe/Klassifikation-der-Berufe-Nav.html",
        ("kldb", "klassifikation der berufe", "klassifikation-der-berufe"),
    ),
    "isco": ClassificationScheme(
        "ISCO-08",
        "https://ilostat.ilo.org/methods/concepts-and-definitions/classification-occupation/",
        ("isco",),
    ),
    "dqr": ClassificationScheme("DQR", None, ("dqr", "deutscher qualifikationsrahmen")),
    "eqf": ClassificationScheme("EQF", None, ("eqf", "eqr", "qualifications framework")),
}


def scheme_of(key: str) -> ClassificationScheme:
    """Return a scheme by its key in a label file; an unknown one is named after its key."""
    return SCHEMES.get(key) or ClassificationScheme(key, None, (key,))


@dataclass(frozen=True, slots=True)
class StatedValue:
    """A text or a code that a property states."""

    text: str
    scheme: str
    """Texts in which the name of its classification is searched."""

    is_code: bool = False


def stated_values(value: Any, depth: int = MAX_DEPTH) -> Iterator[StatedValue]:
    """Yield the texts and codes of a property, those of nested objects and lists too."""
    if isinstance(value, str) and value.strip():
        yield StatedValue(value.strip(), value[:MATCHED_CHARACTERS])
    elif isinstance(value, list) and depth:
        for one in value:
            yield from stated_values(one, depth - 1)
    elif isinstance(value, dict) and depth:
        scheme = " ".join(_sets(value))[:MATCHED_CHARACTERS]
        for key in CODE_KEYS:
            if isinstance(value.get(key), str | int) and str(value[key]).strip():
                yield StatedValue(str(value[key]).strip(), scheme, is_code=True)
        for key in filter(value.__contains__, TEXT_KEYS):
            for one in stated_values(value[key], depth - 1):
                yield StatedValue(one.text, f"{scheme} {one.scheme}", one.is_code)


def _sets(value: Mapping[str, Any]) -> Iterator[str]:
    for given in filter(None, map(value.get, SET_KEYS)):
        for one in given if isinstance(given, list) else [given]:
            for part in map(one.get, SET_NAMES) if isinstance(one, dict) else [one]:
                if isinstance(part, str):
                    yield part


def free_texts(value: Any) -> Iterator[str]:
    """Yield the texts of a property, without codes, web addresses and schema.org's credentials."""
    for one in stated_values(value):
        if not (
            one.is_code
            or one.text.startswith(("http://", "https://"))
            or _normalized(one.text[:MATCHED_CHARACTERS]) in CREDENTIALS
        ):
            yield one.text


class LabelMatcher:
    """Finds the labels of one head that a stated value means: by name, credential or code."""

    def __init__(self, head: Head) -> None:
        self._by_name: dict[str, set[int]] = defaultdict(set)
        for names in (head.labels, *head.names.values()):
            for index, name in enumerate(names):
                self._by_name[_normalized(name)].add(index)
        for index, own in enumerate(head.codes.get(CREDENTIAL, ())):
            for credential in own:
                self._by_name[credential].add(index)
        self._codes = [
            (
                key,
                _scheme_pattern(key),
                [(one, index) for index, own in enumerate(codes) for one in own],
            )
            for key, codes in head.codes.items()
            if key != CREDENTIAL
        ]

    def labels_of(self, value: StatedValue) -> set[int]:
        """Return the indices of the labels that a value means; none if that is unknown."""
        found = set(self._by_name.get(_normalized(value.text[:MATCHED_CHARACTERS]), ()))
        scheme = value.scheme.casefold()
        for key, pattern, codes in self._codes:
            if pattern.search(scheme) and (code := _code_in(value.text, scheme_of(key))):
                found |= _labels_of_code(code, codes, nested=key in HIERARCHICAL)
        return found


def _scheme_pattern(key: str) -> re.Pattern[str]:
    """Return a pattern that finds a scheme's marks as whole words: "soc" is not in "social"."""
    marks = "|".join(map(re.escape, scheme_of(key).marks))
    return re.compile(rf"(?<![a-z])(?:{marks})(?![a-z])")


def _code_in(text: str, scheme: ClassificationScheme) -> str | None:
    """Return a text's first number that is not in the scheme's name, as "2010" is in KldB's."""
    own = NUMBER.findall(scheme.name)
    numbers = (found.rstrip(".-") for found in NUMBER.findall(text[:MATCHED_CHARACTERS]))
    return next((number for number in numbers if number not in own), None)


def _labels_of_code(code: str, codes: Sequence[tuple[str, int]], *, nested: bool) -> set[int]:
    """Return the labels that have a code.

    If the scheme is nested: the labels with the longest code that `code` begins with; if there is
    none, all labels with codes that begin with `code`.
    """
    if nested:
        longest = max((len(one) for one, _ in codes if code.startswith(one)), default=0)
        if not longest:
            return {index for one, index in codes if one.startswith(code)}
        code = code[:longest]
    return {index for one, index in codes if one == code}


def _normalized(text: str) -> str:
    """Return a text for comparison: "Bachelor's Degree" equals "bachelor-degree"."""
    return " ".join(re.sub(r"['’]s\b", "", text.casefold()).replace("-", " ").split())
