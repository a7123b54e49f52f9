"""Key-word rules for the education level: the simple contender that needs no training.

The rules know German and Swiss degrees and nothing of occupations; where no word of theirs stands
in an ad, the most frequent level of the training rows is the answer.
"""

import re
from collections.abc import Iterator

from app.core.types import Ad

NO_DEGREE_TITLE = re.compile(
    r"\b(lehrstelle|lernende|azubi|auszubildende|ausbildung (?:zum|zur|als)|duales studium|"
    r"praktik(?:um|ant)|schnupper|werkstudent|ferienjob|aushilfe|hilfskraft|unterassist|wahljahr)",
    re.IGNORECASE,
)
"""A title like this asks for no finished training, whatever its text offers."""

WELCOME = re.compile(
    r"von vorteil|vorteilhaft|wünschenswert|erwünscht|idealerweise|im idealfall|gern gesehen|"
    r"ein plus|nice to have|bonus|optional|willkommen sind|bevorzugt",
    re.IGNORECASE,
)
"""Such a sentence asks for nothing."""

OFFERED = re.compile(
    r"\bwir (?:bieten|bilden|unterstützen|fördern|ermöglichen)|weiterbildungs|ausbildungsbetrieb|"
    r"aus-? und (?:weiter|fort)bildung|ausbildungsplätze|lehrlingsausbildung",
    re.IGNORECASE,
)
"""Such a sentence speaks of what the employer offers."""

LEVELS = {
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
"""The words of each level, lowest first."""


def required_level(ad: Ad) -> str | None:
    """Return the lowest level that a sentence of the ad asks for, or None where none does.

    The lowest, since "Ausbildung oder Studium" asks for the former.
    """
    if NO_DEGREE_TITLE.search(ad.title or ad.text[:120]):
        return "none"
    asking = [
        sentence
        for sentence in _sentences(ad.text)
        if not WELCOME.search(sentence) and not OFFERED.search(sentence)
    ]
    for level, words in LEVELS.items():
        if any(words.search(sentence) for sentence in asking):
            return level
    return None


def _sentences(text: str) -> Iterator[str]:
    # A point ends a sentence only before a capital, so that "dipl. Pflege" stays in one piece
    # where an abbreviation is short.
    for line in re.split(r"[\n•;!?]+", text):
        yield from re.split(r"(?<=\w{5}\.)\s+(?=[A-ZÄÖÜ])", line)
