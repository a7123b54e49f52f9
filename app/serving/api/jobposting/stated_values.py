"""What JSON-LD says in texts and codes, and which labels that means."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.heads import CREDENTIAL, CREDENTIALS, Head

TEXT_KEYS = ("@value", "name", "description", "text", "educationalLevel", "credentialCategory")
CODE_KEYS = ("codeValue", "termCode")
SET_KEYS = ("inCodeSet", "inDefinedTermSet")
SET_NAMES = ("name", "url", "@id", "@value")
DEPTH = 4
"""Levels of objects in lists in objects that are looked through; honest postings have three."""

MATCHED = 300
"""Characters of a text that are compared with labels, and searched for a classification's name."""

NUMBER = re.compile(r"\d[\d.-]*")
HIERARCHICAL = ("kldb", "isco")
"""Schemes whose longer codes are parts of the shorter ones that they begin with."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A classification as postings name it; `marks` are what its names have in common."""

    name: str
    url: str | None
    marks: tuple[str, ...]


SCHEMES = {
    "kldb": Scheme(
        "KldB 2010",
        "https://statistik.arbeitsagentur.de/DE/Navigation/Grundlagen/Klassifikationen/"
        "Klassifikation-der-Berufe/Klassifikation-der-Berufe-Nav.html",
        ("kldb", "klassifikation der berufe", "klassifikation-der-berufe"),
    ),
    "isco": Scheme(
        "ISCO-08",
        "https://ilostat.ilo.org/methods/concepts-and-definitions/classification-occupation/",
        ("isco",),
    ),
    "dqr": Scheme("DQR", None, ("dqr", "deutscher qualifikationsrahmen")),
    "eqf": Scheme("EQF", None, ("eqf", "eqr", "qualifications framework")),
}


def scheme_of(key: str) -> Scheme:
    """Return what is known of a scheme; a foreign one is called by its key."""
    return SCHEMES.get(key) or Scheme(key, None, (key,))


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that a posting says: a text or a code, and what names its classification."""

    text: str
    scheme: str
    is_code: bool = False


def claims(value: Any, depth: int = DEPTH) -> Iterator[Claim]:
    """Yield all that a property says, as far as it is texts and codes."""
    if isinstance(value, str) and value.strip():
        yield Claim(value.strip(), value[:MATCHED])
    elif isinstance(value, list) and depth:
        for one in value:
            yield from claims(one, depth - 1)
    elif isinstance(value, dict) and depth:
        scheme = " ".join(_sets(value))[:MATCHED]
        for key in CODE_KEYS:
            if isinstance(value.get(key), str | int) and str(value[key]).strip():
                yield Claim(str(value[key]).strip(), scheme, is_code=True)
        for key in filter(value.__contains__, TEXT_KEYS):
            for claim in claims(value[key], depth - 1):
                yield Claim(claim.text, f"{scheme} {claim.scheme}", claim.is_code)


def _sets(value: Mapping[str, Any]) -> Iterator[str]:
    for given in filter(None, map(value.get, SET_KEYS)):
        for one in given if isinstance(given, list) else [given]:
            for part in map(one.get, SET_NAMES) if isinstance(one, dict) else [one]:
                if isinstance(part, str):
                    yield part


def free_texts(value: Any) -> Iterator[str]:
    """Yield the texts of a property, without codes, addresses and words of a fixed vocabulary."""
    for claim in claims(value):
        if not (
            claim.is_code
            or claim.text.startswith(("http://", "https://"))
            or _plain(claim.text[:MATCHED]) in CREDENTIALS
        ):
            yield claim.text


class Meanings:
    """Finds the labels of one head that a posting's words or codes mean."""

    def __init__(self, head: Head) -> None:
        self._by_name: dict[str, set[int]] = defaultdict(set)
        for names in (head.labels, *head.names.values()):
            for index, name in enumerate(names):
                self._by_name[_plain(name)].add(index)
        for index, own in enumerate(head.codes.get(CREDENTIAL, ())):
            for credential in own:
                self._by_name[credential].add(index)
        self._codes = [
            (key, _naming(key), [(one, index) for index, own in enumerate(codes) for one in own])
            for key, codes in head.codes.items()
            if key != CREDENTIAL
        ]

    def of(self, claim: Claim) -> set[int]:
        """Return the indices of the labels that a claim means; none where that is not known."""
        found = set(self._by_name.get(_plain(claim.text[:MATCHED]), ()))
        named = claim.scheme.casefold()
        for key, naming, codes in self._codes:
            if naming.search(named) and (code := _number(claim.text, scheme_of(key))):
                found |= _of_code(code, codes, nested=key in HIERARCHICAL)
        return found


def _naming(key: str) -> re.Pattern[str]:
    """Return what finds a scheme named: "soc" is no part of "social"."""
    marks = "|".join(map(re.escape, scheme_of(key).marks))
    return re.compile(rf"(?<![a-z])(?:{marks})(?![a-z])")


def _number(text: str, scheme: Scheme) -> str | None:
    """Return the first number of a text that is no part of the scheme's name, as "2010" is."""
    own = NUMBER.findall(scheme.name)
    numbers = (found.rstrip(".-") for found in NUMBER.findall(text[:MATCHED]))
    return next((number for number in numbers if number not in own), None)


def _of_code(code: str, codes: Sequence[tuple[str, int]], *, nested: bool) -> set[int]:
    """Return the labels with a code; in a hierarchy with what it is a part of, or has as parts."""
    if nested:
        longest = max((len(one) for one, _ in codes if code.startswith(one)), default=0)
        if not longest:
            return {index for one, index in codes if one.startswith(code)}
        code = code[:longest]
    return {index for one, index in codes if one == code}


def _plain(text: str) -> str:
    """Make "Bachelor's Degree" and "bachelor-degree" equal."""
    return " ".join(re.sub(r"['’]s\b", "", text.casefold()).replace("-", " ").split())
