import pytest

from app.core.head_labels import Head
from app.core.types import Ad, LabelProbability, ModelIdentity, Prediction
from app.schemas.jobposting_request import JobPosting
from app.serving.api.jobposting.enrichment import MAX_STATED_CHARACTERS, JobPostingEnricher, ad_of
from tests.conftest import HEADS

MODEL = ModelIdentity("tiny", "12345678")


def posting(**fields: object) -> JobPosting:
    return JobPosting.model_validate({"@type": "JobPosting", "title": "Koch", **fields})


def predicted(category: str, education: str, heads: dict[str, Head] = HEADS) -> Prediction:
    best = {"job_category": category, "min_education": education}
    return Prediction(
        MODEL,
        {
            name: tuple(
                LabelProbability(label, 0.8 if label == best[name] else 0.1)
                for label in sorted(head.labels, key=lambda label: label != best[name])
            )
            for name, head in heads.items()
        },
        tokens=9,
        windows=1,
        truncated=False,
    )


def answered(
    one: JobPosting, category: str, education: str, heads: dict[str, Head] = HEADS
) -> dict[str, object]:
    answer = JobPostingEnricher(heads).answer(one, predicted(category, education, heads))
    return answer.model_dump(by_alias=True, mode="json")


def test_only_properties_about_the_job_are_read():
    one = posting(
        title={"@value": "Koch", "@language": "de"},
        description=["<p>Sie kochen.</p>", {"@value": "Abends."}],
        responsibilities="Menüs",
        qualifications=[{"@type": "EducationalOccupationalCredential", "name": "Kochlehre"}],
        educationRequirements=["bachelor degree", "Lehre"],
        experienceRequirements={"description": "zwei Jahre", "monthsOfExperience": 24},
        skills=["Saucen", {"@type": "DefinedTerm", "name": "Fisch", "termCode": "f1"}],
        jobBenefits="Essen",
        incentiveCompensation="Bonus",
        workHours="abends",
        industry="Gesundheitswesen",
        occupationalCategory="KldB 29302",
        hiringOrganization={"name": "Klinikum Lindenau"},
        employmentType="FULL_TIME",
    )
    more = ("Menüs", "Kochlehre", "Lehre", "zwei Jahre", "Saucen\nFisch", "Essen", "Bonus")
    assert ad_of(one) == Ad("<p>Sie kochen.</p>\nAbends.", "Koch", "auto", (*more, "abends"))


def test_a_posting_without_description_is_read_by_other_texts():
    assert ad_of(posting()) == Ad("Koch", None, "auto")
    assert ad_of(posting(skills="Saucen")) == Ad("Saucen", "Koch", "auto")
    bare = JobPosting.model_validate({"@type": "JobPosting", "description": "Koch"})
    assert ad_of(bare) == Ad("Koch", None, "auto")


def test_the_patch_has_codes_and_a_credential():
    patch = answered(posting(), "nursing", "vocational")["patch"]
    code_set = patch["occupationalCategory"][0]["inCodeSet"]
    assert (code_set["@type"], code_set["name"]) == ("CategoryCodeSet", "KldB 2010")
    assert code_set["url"].startswith("https://")
    assert patch == {
        "occupationalCategory": [
            {"@type": "CategoryCode", "codeValue": code, "name": "Pflege", "inCodeSet": code_set}
            for code in ("813", "821")
        ],
        "educationRequirements": {
            "@type": "EducationalOccupationalCredential",
            "credentialCategory": "professional certificate",
            "name": "vocational",
        },
    }


def test_no_requirements_is_patched_in_as_a_text():
    patch = answered(posting(), "cooking", "none")["patch"]
    assert patch["educationRequirements"] == "no requirements"


def test_a_label_without_codes_is_patched_in_by_its_name():
    assert answered(posting(), "software", "master")["patch"]["educationRequirements"] == "master"
    bare = {
        "job_category": Head(labels=("a", "b"), names={"en": ("Care", "Cooking")}),
        "min_education": Head(labels=("c", "d")),
    }
    patch = answered(posting(), "b", "c", bare)["patch"]
    assert patch == {"occupationalCategory": "Cooking", "educationRequirements": "c"}


def test_a_foreign_classification_is_called_by_its_key():
    heads = HEADS | {"job_category": Head(labels=("a", "b"), codes={"house": (("1",), ())})}
    patch = answered(posting(), "a", "none", heads)["patch"]
    assert patch["occupationalCategory"][0]["inCodeSet"] == {
        "@type": "CategoryCodeSet",
        "name": "house",
    }


@pytest.mark.parametrize("value", ["Koch", ["x"], {"codeValue": "1"}, 0, False, "\ud800"])
@pytest.mark.parametrize("name", ["occupationalCategory", "educationRequirements"])
def test_a_property_with_a_value_is_never_patched(name, value):
    patch = answered(posting(**{name: value}), "nursing", "none")["patch"]
    assert len(patch) == 1
    assert name not in patch


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_an_empty_property_is_patched(value):
    one = posting(occupationalCategory=value, educationRequirements=value)
    assert len(answered(one, "nursing", "none")["patch"]) == 2


@pytest.mark.parametrize(
    ("category", "label", "agrees"),
    [
        ("Pflege", "nursing", True),
        ("cooking", "cooking", False),
        ("KldB 81302", "nursing", True),
        ("KldB 8", "nursing", True),
        (["Küche", "Pflege"], None, True),
        (["Küche", "Software"], None, False),
        ("Stationsdienst", None, None),
    ],
)
def test_a_stated_category_is_mapped_and_compared(category, label, agrees):
    stated = answered(posting(occupationalCategory=category), "nursing", "none")["stated"]
    assert (stated["job_category"]["label"], stated["job_category"]["agrees"]) == (label, agrees)
    assert stated["job_category"]["text"]


@pytest.mark.parametrize(
    ("education", "label", "agrees"),
    [
        ("professional certificate", "vocational", True),
        ("DQR 7", "master", False),
        (["DQR 7", "professional certificate"], "vocational", True),
        (["no requirements", "DQR 3"], "none", False),
        ("etwas anderes", None, None),
    ],
)
def test_of_several_stated_levels_the_lowest_counts(education, label, agrees):
    one = posting(educationRequirements=education)
    stated = answered(one, "nursing", "vocational")["stated"]["min_education"]
    assert (stated["label"], stated["agrees"]) == (label, agrees)


def test_a_silent_posting_states_nothing():
    nothing = {"text": None, "label": None, "agrees": None}
    assert answered(posting(), "nursing", "none")["stated"] == {
        "job_category": nothing,
        "min_education": nothing,
    }


def test_stated_texts_are_shortened_and_encodable():
    one = posting(occupationalCategory=["Koch", "Koch", "\ud800" + "x" * 1000])
    text = answered(one, "nursing", "none")["stated"]["job_category"]["text"]
    assert text.startswith("Koch; ?xx")
    assert len(text) == MAX_STATED_CHARACTERS


def test_each_posting_gets_as_many_labels_as_it_asked_for():
    answer = answered(posting(top_k=2, identifier="a1"), "nursing", "none")
    assert answer["id"] == "a1"
    assert [len(answer[head]["top"]) for head in HEADS] == [2, 2]
