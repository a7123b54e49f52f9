"""Job titles: their masculine and feminine forms, and how ads write them."""

import random
import re
from dataclasses import dataclass

SUFFIX = re.compile(r"^(?P<stem>.+?)/(?P<dash>-?)(?P<rest>[^/]+)$")
INNER = re.compile(r"^(?P<stem>\w+)\((?P<a>\w+)/(?P<b>\w+)\)(?P<end>.*)$")
UMLAUTS = str.maketrans("äöü", "aou")
GENDER_MARKS = ("(m/w/d)", "(w/m/d)", "(m/w)", "m/w/d", "(w/m)", "(d/m/w)", "(all genders)", "(gn)")


@dataclass(frozen=True, slots=True)
class Forms:
    """A title in both forms; `feminine` is empty where there is only one form."""

    masculine: str
    feminine: str = ""

    @property
    def key(self) -> str:
        """What two spellings of one title have in common."""
        return " ".join(self.masculine.casefold().replace("-", " ").split())


def parse_title(title: str) -> Forms:
    """Take a dictionary's title such as "Aalräucherer/-räucherin" apart into its two forms."""
    # A bracket holds a synonym or the branch; outside the dictionary nobody writes it.
    title = re.sub(r"\s*\((?![a-zäöü]+/)[^()]*\)", "", title)
    if title.count("/") == 1 and " " in title.split("/")[1]:
        # "Geprüfter Manager/Geprüfte Managerin - Elektro": both forms are written out.
        left, right = (part.strip() for part in title.split("/"))
        if " " in left and right[:1].isupper() and left[:4] == right[:4]:
            tail = re.search(r" (?:-|in|für|der|Fachrichtung) .*$", right)
            missing = tail is not None and not left.endswith(tail[0])
            return Forms(left + (tail[0] if tail and missing else ""), right)
    pairs = [_word(word) for word in title.split()]
    masculine = " ".join(pair[0] for pair in pairs)
    feminine = " ".join(pair[1] for pair in pairs)
    return Forms(masculine, feminine if feminine != masculine else "")


def _word(word: str) -> tuple[str, str]:
    """Return the two forms of one word, equal where it has one."""
    if match := INNER.match(word):
        stem, end = match["stem"], match["end"]
        return stem + match["a"] + end, stem + match["b"] + end
    comma = "," if word.endswith(",") else ""
    match = SUFFIX.match(word.rstrip(","))
    if not match:
        return word, word
    stem, rest = match["stem"], match["rest"]
    if rest in ("in", "innen"):
        return stem + comma, stem.removesuffix("e") + rest + comma
    if rest == "r":
        return stem + "r" + comma, stem + comma
    if rest == "e":
        return stem.removesuffix("r") + comma, stem.removesuffix("r") + comma
    if rest in ("frau", "mann", "männin"):
        other = stem[: len(stem) - len("mann")] + rest
        return (stem, other) if stem.endswith("mann") else (other, stem)
    if match["dash"] or rest[:1].islower():
        return stem + comma, _graft(stem, rest) + comma
    return stem + comma, rest + comma


def _graft(stem: str, ending: str) -> str:
    """Put "-räucherin" in the place of the end of "Aalräucherer", and "-ärztin" of "-arzt"."""
    plain, wanted = (word.casefold().translate(UMLAUTS) for word in (stem, ending))
    for length in range(min(4, len(ending)), 1, -1):
        at = plain.rfind(wanted[:length])
        if at >= 0:
            return stem[:at] + (ending if at else ending.capitalize())
    return stem  # "Kinderdorfmutter/-vater": no seam to be seen, one form has to do.


def slashed(forms: Forms, mark: str) -> str:
    """Write both forms in one word where the feminine only adds "in": "Koch" gives none."""
    words = []
    for masculine, feminine in zip(forms.masculine.split(), forms.feminine.split(), strict=False):
        if masculine == feminine:
            words.append(masculine)
        elif feminine == masculine + "in":
            words.append(masculine + mark + "in")
        elif masculine == feminine + "r":
            words.append(feminine + mark.replace(":", "/").replace("*", "/") + "r")
        elif masculine.endswith("e") and feminine == masculine[:-1] + "in":
            words.append(masculine[:-1] + mark + "in")
        else:
            return ""
    return " ".join(words)


def write_title(forms: Forms, rng: random.Random) -> str:
    """Write a title as an ad does: one form with (m/w/d), a sign before "in", or both forms."""
    both = len(forms.feminine.split()) == len(forms.masculine.split())
    draw = rng.random()
    if not forms.feminine or draw < 0.42:
        name = forms.feminine if forms.feminine and rng.random() < 0.12 else forms.masculine
        return f"{name} {rng.choice(GENDER_MARKS)}" if rng.random() < 0.7 else name
    if draw < 0.75 and both:
        mark = rng.choices(("/", "/-", ":", "*", "_", "·"), (30, 30, 25, 10, 2, 1))[0]
        if name := slashed(forms, mark):
            return f"{name} {rng.choice(GENDER_MARKS)}" if rng.random() < 0.15 else name
    if draw < 0.92:
        pair = [forms.masculine, forms.feminine]
        if rng.random() < 0.4:
            pair.reverse()
        return rng.choice((" / ", "/", " oder ", " bzw. ", " / ")).join(pair)
    return rng.choice((forms.masculine, forms.feminine))
