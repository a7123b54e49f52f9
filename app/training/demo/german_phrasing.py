"""Variation of German text: task phrases, gendered forms, Swiss spelling, layout and noise."""

import random
import re
from collections.abc import Sequence

# Prefixes that move to the end of the sentence: "ausliefern", "Sie liefern Ware aus".
PREFIXES = "durch|zusammen|bereit|sicher|fest|ein|aus|auf|ab|an|vor|nach|mit|her|um|zu|weiter|bei"
SEPARABLE = re.compile(rf"^(?P<prefix>{PREFIXES})(?P<verb>[a-zäöüß]{{4,}}(?:en|ern|eln))$")
NOT_SEPARABLE = re.compile(r"^(?:antworten|anderen|arbeiten|achten|ermitteln|bearbeiten|beiten)")
SEVERAL_CLAUSES = re.compile(r",|[a-zäöüß]{3,}en und$|(?:^| )(?:bzw|oder|und)$")
VERB = re.compile(r"^[a-zäöüß]{4,}(?:en|ern|eln)$")
NOUNS = {
    "beraten": "Beratung", "betreuen": "Betreuung", "planen": "Planung", "erstellen": "Erstellung",
    "durchführen": "Durchführung", "bearbeiten": "Bearbeitung", "entwickeln": "Entwicklung",
    "überwachen": "Überwachung", "leiten": "Leitung", "führen": "Führung", "prüfen": "Prüfung",
    "kontrollieren": "Kontrolle", "pflegen": "Pflege", "warten": "Wartung", "montieren": "Montage",
    "bedienen": "Bedienung", "organisieren": "Organisation", "koordinieren": "Koordination",
    "vorbereiten": "Vorbereitung", "analysieren": "Analyse", "dokumentieren": "Dokumentation",
    "reinigen": "Reinigung", "reparieren": "Reparatur", "einrichten": "Einrichtung",
    "herstellen": "Herstellung", "ausarbeiten": "Ausarbeitung", "unterstützen": "Unterstützung",
    "verkaufen": "Verkauf", "steuern": "Steuerung", "optimieren": "Optimierung",
    "gestalten": "Gestaltung", "auswerten": "Auswertung", "verwalten": "Verwaltung",
    "berechnen": "Berechnung", "sicherstellen": "Sicherstellung", "umsetzen": "Umsetzung",
    "untersuchen": "Untersuchung", "behandeln": "Behandlung", "installieren": "Installation",
    "bestellen": "Bestellung", "verpacken": "Verpackung", "lagern": "Lagerung",
    "vermitteln": "Vermittlung", "schulen": "Schulung", "anleiten": "Anleitung",
    "ausbilden": "Ausbildung", "zubereiten": "Zubereitung", "abwickeln": "Abwicklung",
}  # fmt: skip
"""Nouns of verbs: "Kunden beraten", "Beratung von Kunden"."""
BULLETS = ("- ", "• ", "* ", "– ", "· ", "", "", "")


def swiss(text: str) -> str:
    """Return a text in Swiss spelling, which has no "ß"."""
    return text.replace("ß", "ss")


def task_line(phrase: str, style: str) -> str:
    """Return a task phrase of the dictionary ("Kunden beraten") in a style.

    Args:
        phrase: ends in an infinitive; phrases of another shape keep their words.
        style: sie ("Sie beraten Kunden"), du, noun ("Beratung von Kunden"), zu or plain.
    """
    phrase = re.sub(r",? z\. ?B\. .*?(?=,? [a-zäöüß]+en$)", "", phrase)
    head, _, verb = phrase.rpartition(" ")
    simple = (
        bool(head)
        and bool(VERB.match(verb))
        and not SEVERAL_CLAUSES.search(head)
        and len(head) < 90
    )
    if simple and style in ("sie", "du"):
        match = None if NOT_SEPARABLE.match(verb) else SEPARABLE.match(verb)
        if style == "du":
            return f"Du wirst {head} {verb}"
        if match:
            return f"Sie {match['verb']} {head} {match['prefix']}"
        return f"Sie {verb} {head}"
    if simple and style == "noun" and verb in NOUNS:
        return f"{NOUNS[verb]} von {head}"
    if simple and style == "zu" and not SEPARABLE.match(verb):
        return f"{head} zu {verb}"
    return phrase[:1].upper() + phrase[1:]


def gendered(text: str, rng: random.Random) -> str:
    """Replace pairs such as "Kunden und Kundinnen" by one random style for the whole text."""
    form = rng.choice(("same", "same", "colon", "turned", "masculine"))
    if form == "same":
        return text
    pattern = re.compile(r"\b([A-ZÄÖÜ]\w+)(?: und |/)((?:[A-ZÄÖÜ]\w+)?innen)\b")
    replacement = {
        "colon": lambda m: (
            re.sub(r"(?:en|er|e)?$", "", m[1], count=1) + ":innen"
            if len(m[2]) == 5
            else m[2][:-5] + ":innen"
        ),
        "turned": lambda m: f"{m[2]} und {m[1]}" if len(m[2]) > 5 else m[0],
        "masculine": lambda m: m[1],
    }[form]
    return pattern.sub(replacement, text)


def bulleted(items: Sequence[str], rng: random.Random) -> str:
    """Return items as a list, with or without bullets, or as a paragraph."""
    if rng.random() < 0.2:
        return " ".join(item.rstrip(".") + "." for item in items)
    bullet = rng.choice(BULLETS)
    end = rng.choice(("", "", "", ".", ";"))
    return "\n".join(f"{bullet}{item.rstrip('.')}{end}" for item in items)


def with_noise(text: str, rng: random.Random) -> str:
    """Sometimes remove line breaks, put spaces around punctuation, or swap two characters."""
    draw = rng.random()
    if draw < 0.12:
        text = " ".join(text.split())
    elif draw < 0.16:
        text = re.sub(r"\s*([,.;:()/|])\s*", r" \1 ", text)
    elif draw < 0.20:
        text = text.replace("\n", "\n\n")
    if rng.random() < 0.05 and len(text) > 40:
        at = rng.randrange(10, len(text) - 10)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text.strip()
