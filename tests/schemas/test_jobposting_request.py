import pytest
from pydantic import ValidationError

from app.schemas.jobposting_request import EXAMPLE_POSTING, JobPosting, JobPostingDocument, texts_of

KOCH = {"@type": "JobPosting", "title": "Koch"}
ARZT = {"@type": "JobPosting", "title": "Arzt"}
PAGE = {"@type": "WebPage", "name": "Stellen"}


def titles(document: object) -> list[str]:
    return [one.title for one in JobPostingDocument.model_validate(document).postings()]


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (KOCH, ["Koch"]),
        ([KOCH, ARZT], ["Koch", "Arzt"]),
        ([PAGE, KOCH, 3, None, "x", [ARZT]], ["Koch"]),
        ({"@context": "https://schema.org", "@graph": [PAGE, KOCH, ARZT]}, ["Koch", "Arzt"]),
        ([{"@graph": [KOCH]}, ARZT, {"@graph": [PAGE, ARZT]}], ["Koch", "Arzt", "Arzt"]),
        ({**KOCH, "@graph": [ARZT]}, ["Arzt"]),
    ],
)
def test_postings_are_found_in_order_wherever_json_ld_has_them(document, found):
    assert titles(document) == found


@pytest.mark.parametrize(
    "kind",
    [
        "JobPosting",
        "http://schema.org/JobPosting",
        "https://schema.org/JobPosting",
        "schema:JobPosting",
        ["JobPosting"],
        ["Thing", 3, "schema:JobPosting"],
    ],
)
def test_a_posting_may_write_its_type_in_several_ways(kind):
    assert titles({**KOCH, "@type": kind}) == ["Koch"]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "send a JobPosting"),
        ("x", "send a JobPosting"),
        (None, "send a JobPosting"),
        ({"title": "Koch"}, "send a JobPosting"),
        ({**KOCH, "@type": "JobPostings"}, "send a JobPosting"),
        ({**KOCH, "@type": ["https://schema.org/JobPosting/x"]}, "send a JobPosting"),
        ([], "no JobPosting in the list"),
        ([PAGE], "no JobPosting in the list"),
        ({"@graph": []}, "no JobPosting in the @graph"),
        ({"@graph": [PAGE, {"@graph": [KOCH]}]}, "no JobPosting in the @graph"),
        ({"@graph": KOCH}, "valid list"),
        ([KOCH, {"@graph": [PAGE]}], "no JobPosting in the @graph"),
        ({"@type": "JobPosting"}, "needs text in its title or its description"),
        ({"@type": "JobPosting", "title": " \u00a0", "description": None}, "needs text"),
        ({"@type": "JobPosting", "title": 3, "description": {"name": "x"}}, "needs text"),
        ([KOCH, {"@type": "JobPosting", "skills": "Kochen"}], "needs text"),
        ({**KOCH, "top_k": 0}, "greater than or equal to 1"),
        ({**KOCH, "top_k": "3"}, "valid integer"),
        ({"@graph": [KOCH], "top_k": 1001}, "less than or equal to 1000"),
    ],
)
def test_what_holds_no_readable_posting_is_refused(document, problem):
    with pytest.raises(ValidationError, match=problem):
        JobPostingDocument.model_validate(document)


def test_a_postings_own_top_k_goes_before_its_graphs():
    graph = {"@graph": [KOCH, {**ARZT, "top_k": 5}], "top_k": 2}
    document = JobPostingDocument.model_validate([KOCH, graph])
    assert [one.top_k for one in document.postings()] == [3, 2, 5]


def test_texts_may_be_tagged_or_in_a_list():
    assert texts_of("Koch") == ["Koch"]
    assert texts_of({"@value": "Koch", "@language": "de"}) == ["Koch"]
    assert texts_of(["Koch", {"@value": "Cuisinier"}, " ", 3, None, {"@value": 3}, ["x"]]) == [
        "Koch",
        "Cuisinier",
    ]
    assert texts_of("a\ud800") == texts_of({"name": "Koch"}) == texts_of(None) == []


@pytest.mark.parametrize(
    ("fields", "known_as"),
    [
        ({}, None),
        ({"identifier": "a1"}, "a1"),
        ({"identifier": {"@type": "PropertyValue", "value": "a1"}, "@id": "b"}, "a1"),
        ({"identifier": {"value": 3}, "@id": "https://beispiel.de/1"}, "https://beispiel.de/1"),
        ({"identifier": "x" * 201}, None),
        ({"identifier": "\ud800", "@id": " "}, None),
    ],
)
def test_a_posting_is_answered_under_its_identifier(fields, known_as):
    assert JobPosting.model_validate({**KOCH, **fields}).id == known_as


def test_any_property_is_kept_as_it_was_sent():
    posting = JobPosting.model_validate(EXAMPLE_POSTING)
    assert posting.value("hiringOrganization") == EXAMPLE_POSTING["hiringOrganization"]
    assert posting.value("skills") is None
