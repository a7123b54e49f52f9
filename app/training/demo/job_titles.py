"""Job titles: parses their masculine and feminine forms, and writes them as ads do."""

import random
import re
from dataclasses import dataclass

FEMININE_SUFFIX = re.compile(r"^(?P<stem>.+?)/(?P<dash>-?)(?P<rest>[^/]+)$")
FORMS_IN_BRACKETS = re.compile(r"^(?P<stem>\w+)\((?P<a>\w+)/(?P<b>\w+)\)(?P<end>.*)$")
UMLAUTS = str.maketrans("äöü", "aou")
GENDER_MARKS = ("(m/w/d)", "(w/m/d)", "(m/w)", "m/w/d", "(w/m)", "(d/m/w)", "(all genders)", "(gn)")


@dataclass(frozen=True, slots=True)
class TitleForms:
    """A title in both grammatical genders; `feminine` is empty if there is only one form."""

    masculine: str
    feminine: str = ""

    @property
    def key(self) -> str:
        """The normalised title, equal for different spellings of the same title."""
        return " ".join(self.masculine.casefold().replace("-", " ").split())


def parse_title(title: str) -> TitleForms:
    """Parse a dictionary title such as "Aalräucherer/-räucherin" into its two forms."""
    # Brackets hold a synonym or the branch, which ads do not write.
    title = re.sub(r"\s*\((?![a-zäöü]+/)[^()]*\)", "", title)
    if title.count("/") == 1 and " " in title.split("/")[1]:
        # "Geprüfter Manager/Geprüfte Managerin - Elektro": both forms are written out.
        left, right = (part.strip() for part in title.split("/"))
        if " " in left and right[:1].isupper() and left[:4] == right[:4]:
            tail = re.search(r" (?:-|in|für|der|Fachrichtung) .*$", right)
            missing = tail is not None and not left.endswith(tail[0])
            return TitleForms(left + (tail[0] if tail and missing else ""), right)
    pairs = [_word_forms(word) for word in title.split()]
    masculine = " ".join(pair[0] for pair in pairs)
    feminine = " ".join(pair[1] for pair in pairs)
    return TitleForms(masculine, feminine if feminine != masculine else "")


def _word_forms(word: str) -> tuple[str, str]:
    """Return the masculine and feminine form of a word; both are equal if it has only one."""
    if match := FORMS_IN_BRACKETS.match(word):
        stem, end = match["stem"], match["end"]
        return stem + match["a"] + end, stem + match["b"] + end
    comma = "," if word.endswith(",") else ""
    match = FEMININE_SUFFIX.match(word.rstrip(","))
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
        return stem + comma, _replace_ending(stem, rest) + comma
    return stem + comma, rest + comma


def _replace_ending(stem: str, ending: str) -> str:
    """Replace the end of a word: "Aalräucherer" with "räucherin" is "Aalräucherin"."""
    plain, wanted = (word.casefold().translate(UMLAUTS) for word in (stem, ending))
    for length in range(min(4, len(ending)), 1, -1):
        at = plain.rfind(wanted[:length])
        if at >= 0:
            return stem[:at] + (ending if at else ending.capitalize())
    return stem  # "Kinderdorfmutter/-vater": the words share no letters, so it keeps one form.


def combined_form(forms: TitleForms, mark: str) -> str:
    """Write both forms as one, such as "Maler/in"; empty if impossible, as for "Koch"."""
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


def write_title(forms: TitleForms, rng: random.Random) -> str:
    """Write a title as ads do: one form with "(m/w/d)", a mark before "in", or both forms."""
    both = len(forms.feminine.split()) == len(forms.masculine.split())
    draw = rng.random()
    if not forms.feminine or draw < 0.42:
        name = forms.feminine if forms.feminine and rng.random() < 0.12 else forms.masculine
        return f"{name} {rng.choice(GENDER_MARKS)}" if rng.random() < 0.7 else name
    if draw < 0.75 and both:
        mark = rng.choices(("/", "/-", ":", "*", "_", "·"), (30, 30, 25, 10, 2, 1))[0]
        if name := combined_form(forms, mark):
            return f"{name} {rng.choice(GENDER_MARKS)}" if rng.random() < 0.15 else name
    if draw < 0.92:
        pair = [forms.masculine, forms.feminine]
        if rng.random() < 0.4:
            pair.reverse()
        return rng.choice((" / ", "/", " oder ", " bzw. ", " / ")).join(pair)
    return rng.choice((forms.masculine, forms.feminine))
