import random

import pytest

from app.training.demo.german_phrasing import bulleted, gendered, swiss, task_line, with_noise


def test_a_task_phrase_has_several_styles():
    assert task_line("Kunden beraten", "sie") == "Sie beraten Kunden"
    assert task_line("Ware ausliefern", "sie") == "Sie liefern Ware aus"
    assert task_line("Kunden beraten", "noun") == "Beratung von Kunden"
    assert task_line("Kunden beraten", "plain") == "Kunden beraten"


def test_swiss_spelling_has_no_sharp_s():
    assert swiss("große Straße") == "grosse Strasse"


def variants(change):
    return {change(random.Random(seed)) for seed in range(200)}  # noqa: S311


def test_a_text_has_one_style_of_gendered_forms():
    text = "Kunden und Kundinnen, Gäste"
    assert variants(lambda rng: gendered(text, rng)) == {
        text,
        "Kund:innen, Gäste",
        "Kundinnen und Kunden, Gäste",
        "Kunden, Gäste",
    }


def test_items_are_bulleted_or_a_paragraph():
    written = variants(lambda rng: bulleted(["Kochen", "Putzen."], rng))
    assert "Kochen. Putzen." in written
    assert "- Kochen\n- Putzen" in written


@pytest.mark.parametrize(
    "text", ["Kurz, aber gut", "Ein langer Satz, der genug Zeichen hat.\nEnde"]
)
def test_noise_keeps_the_characters_of_a_text(text):
    for noisy in variants(lambda rng: with_noise(text, rng)):
        assert sorted("".join(noisy.split())) == sorted("".join(text.split()))
