import pytest

from app.core.head_labels import Head
from app.serving.api.jobposting.stated_values import (
    MAX_DEPTH,
    LabelMatcher,
    StatedValue,
    free_texts,
    stated_values,
)

CATEGORIES = Head(
    labels=("management", "office", "nursing", "it"),
    names={"de": ("Führung", "Büro", "Pflege", "IT"), "en": ("Management", "Office", "Care", "IT")},
    codes={
        "kldb": (("711", "712"), ("714",), ("813", "821"), ("43",)),
        "isco": ((), (), ("2221",), ("251",)),
        "house": (("A-1",), ("7",), (), ()),
    },
)
LEVELS = Head(
    labels=("none", "training", "bachelor"),
    ordered=True,
    codes={
        "credential": (
            ("no requirements", "high school"),
            ("professional certificate",),
            ("bachelor degree",),
        ),
        "dqr": (("1", "2"), ("3", "4"), ("5", "6")),
        "eqf": (("1", "2"), ("3", "4"), ("5", "6")),
    },
)


def labels(head: Head, value: object) -> set[str]:
    matcher = LabelMatcher(head)
    return {head.labels[index] for one in stated_values(value) for index in matcher.labels_of(one)}


def code(value: object, code_set: object) -> dict[str, object]:
    return {"@type": "CategoryCode", "codeValue": value, "inCodeSet": code_set}


KLDB = {"@type": "CategoryCodeSet", "name": "Klassifikation der Berufe 2010"}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("nursing", {"nursing"}),
        (" PFLEGE ", {"nursing"}),
        ("Pflegekraft", set()),
        (["Office", "it"], {"office", "it"}),
        (code("81302", KLDB), {"nursing"}),
        (code(81302, "KldB"), {"nursing"}),
        (code("81302", [{"url": "https://beispiel.de/kldb2010"}]), {"nursing"}),
        (code("71402", KLDB), {"office"}),
        (code("43", KLDB), {"it"}),
        (code("71", KLDB), {"management", "office"}),
        (code("99", KLDB), set()),
        (code("81302", None), set()),
        (code("81302", "SOC"), set()),
        ("81302", set()),
        ("KldB 2010: 81302 Pflege", {"nursing"}),
        ("B 43412-100 (KldB)", {"it"}),
        ("ISCO-08 2221", {"nursing"}),
        (code("2512", "ISCO-08"), {"it"}),
        (code("7", "house"), {"office"}),
        (code("7", "housekeeping"), set()),
        ({"@type": "DefinedTerm", "termCode": "813", "inDefinedTermSet": KLDB}, {"nursing"}),
        ({"@value": "Pflege", "@language": "de"}, {"nursing"}),
        ({"name": ["Pflege"]}, {"nursing"}),
        (None, set()),
        (3, set()),
        ({"codeValue": {}, "inCodeSet": 3, "name": None}, set()),
    ],
)
def test_categories_match_by_name_and_by_code(value, meant):
    assert labels(CATEGORIES, value) == meant


def credential(**fields: object) -> dict[str, object]:
    return {"@type": "EducationalOccupationalCredential", **fields}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("no requirements", {"none"}),
        (credential(credentialCategory="high school"), {"none"}),
        (credential(credentialCategory="Bachelor's Degree"), {"bachelor"}),
        (credential(credentialCategory="bachelor-degree"), {"bachelor"}),
        (credential(credentialCategory="postgraduate degree"), set()),
        (credential(credentialCategory={"@type": "DefinedTerm", "name": "bachelor degree"}),
         {"bachelor"}),
        (credential(educationalLevel="DQR 4"), {"training"}),
        (credential(educationalLevel="EQR-Niveau 6"), {"bachelor"}),
        (credential(educationalLevel={"name": "4", "inDefinedTermSet": "https://dqr.de"}),
         {"training"}),
        (credential(educationalLevel="4"), set()),
        ("Abgeschlossenes Studium", set()),
    ],
)  # fmt: skip
def test_levels_match_by_credential_and_by_framework(value, meant):
    assert labels(LEVELS, value) == meant


def test_a_head_without_codes_matches_by_labels_only():
    assert labels(Head(labels=("a", "b")), ["b", "KldB 813", "no requirements"]) == {"b"}


def test_free_texts_leave_out_codes_addresses_and_credentials():
    value = [
        "Abitur",
        {"name": "Lehre", "description": "drei Jahre", "credentialCategory": "high school"},
        credential(credentialCategory="Meisterbrief"),
        code("81302", KLDB),
        "https://beispiel.de",
        "No Requirements",
        {"@value": "Englisch"},
    ]
    assert list(free_texts(value)) == ["Abitur", "Lehre", "drei Jahre", "Meisterbrief", "Englisch"]


def test_values_nested_too_deep_are_ignored():
    value: object = "Abitur"
    for _ in range(MAX_DEPTH):
        value = [value]
    assert [one.text for one in stated_values(value)] == ["Abitur"]
    assert list(stated_values([value])) == []


def test_a_value_keeps_only_the_beginning_of_its_scheme():
    """Sixty thousand names beside one long classification would be gigabytes else."""
    value = {"inCodeSet": "x" * 10**6, "name": ["Koch"] * 1000}
    assert sum(len(one.scheme) for one in stated_values(value)) < 10**6


def test_a_number_in_a_schemes_name_is_no_code():
    matcher = LabelMatcher(CATEGORIES)
    assert matcher.labels_of(StatedValue("KldB 2010", "KldB 2010")) == set()
    assert matcher.labels_of(StatedValue("2010", "KldB 2010", is_code=True)) == set()
