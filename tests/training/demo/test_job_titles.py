import random

import pytest

from app.training.demo.job_titles import TitleForms, combined_form, parse_title, write_title


@pytest.mark.parametrize(
    ("title", "forms"),
    [
        ("Aalräucherer/-räucherin", ("Aalräucherer", "Aalräucherin")),
        ("Abgeordnete/r", ("Abgeordneter", "Abgeordnete")),
        ("Beamt(er/in) - Zoll (mittl. Dienst)", ("Beamter - Zoll", "Beamtin - Zoll")),
        ("Industriekaufmann/-frau", ("Industriekaufmann", "Industriekauffrau")),
        ("Technische/r Leiter/in", ("Technischer Leiter", "Technische Leiterin")),
        ("Koch/Köchin", ("Koch", "Köchin")),
        ("Lotse/-lotsin", ("Lotse", "Lotsin")),
        ("Abbeizer/in (Dekapierer/in)", ("Abbeizer", "Abbeizerin")),
        ("Leiter für Leder/Leiterin für Leder", ("Leiter für Leder", "Leiterin für Leder")),
        ("Assistenzarzt/-ärztin", ("Assistenzarzt", "Assistenzärztin")),
        ("Kinderdorfmutter/-vater", ("Kinderdorfmutter", "")),
        ("Fachkraft", ("Fachkraft", "")),
    ],
)
def test_a_dictionary_title_is_parsed_into_two_forms(title, forms):
    assert parse_title(title) == TitleForms(*forms)


@pytest.mark.parametrize(
    ("masculine", "feminine", "combined"),
    [
        ("Maler", "Malerin", "Maler/in"),
        ("Technischer Leiter", "Technische Leiterin", "Technische/r Leiter/in"),
        ("Lotse", "Lotsin", "Lots/in"),
        ("Koch", "Köchin", ""),
    ],
)
def test_both_forms_are_combined_if_the_feminine_adds_in(masculine, feminine, combined):
    assert combined_form(TitleForms(masculine, feminine), "/") == combined


def test_a_title_is_written_in_several_styles():
    forms = TitleForms("Maler", "Malerin")
    written = {write_title(forms, random.Random(seed)) for seed in range(300)}  # noqa: S311
    assert {"Maler", "Malerin", "Maler (m/w/d)", "Maler/in", "Maler:in"} <= written
    assert any(title in written for title in ("Maler oder Malerin", "Malerin oder Maler"))
