import pytest

from app.serving.scheduling.lanes import Lane
from tests.support.application import InProcessApp
from tests.support.problems import assert_problem


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


POSTING = {
    "@context": "https://schema.org/",
    "@type": "JobPosting",
    "@id": "https://beispiel.de/1",
    "title": "Koch",
    "description": "<p>Koch f&uuml;r die Küche</p>",
    "hiringOrganization": {"@type": "Organization", "name": "Restaurant"},
}


def test_a_posting_is_answered_as_its_text_with_a_patch(client, checkpoint):
    (answer,) = client.post("/classify/jobposting", json=POSTING).json()["results"]
    ad = {"title": "Koch", "text": "Koch für die Küche", "id": POSTING["@id"]}
    expected = client.post("/classify", json=ad).json()
    assert {name: answer[name] for name in expected} == expected
    assert answer.keys() - expected.keys() == {"patch", "stated"}
    category = answer["patch"]["occupationalCategory"]
    codes = checkpoint.heads["job_category"]
    index = codes.labels.index(expected["job_category"]["label"])
    assert [one["codeValue"] for one in category] == [
        code for own in codes.codes_of(index).values() for code in own
    ]
    patched = {**POSTING, **answer["patch"]}
    (again,) = client.post("/classify/jobposting", json=patched).json()["results"]
    assert again["patch"] == {}
    assert again["stated"]["job_category"]["agrees"] is True


def test_a_document_s_postings_are_answered_in_order(client):
    graph = {"@graph": [{"@type": "WebPage"}, POSTING, {**POSTING, "@id": "b", "top_k": 2}]}
    response = client.post("/classify/jobposting", json={**graph, "top_k": 1})
    results = response.json()["results"]
    assert [one["id"] for one in results] == [POSTING["@id"], "b"]
    assert [len(one["job_category"]["top"]) for one in results] == [1, 2]
    assert client.post("/classify/jobposting", json=[POSTING] * 8).status_code == 200


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"text": "Koch"}, "body: send a JobPosting"),
        ([{"@type": "WebPage"}], "body.list: there is no JobPosting"),
        ({"@type": "JobPosting", "skills": "Kochen"}, "body.posting: a JobPosting needs text"),
        ([POSTING, {**POSTING, "top_k": 0}], "body.list.1.posting.top_k: "),
        ([{"@graph": [POSTING] * 5}, *[POSTING] * 4], "body: 9 postings are more than 8"),
        ({**POSTING, "description": "<p hidden>Koch</p>"}, "ad 1 of the request shows no text"),
    ],
)
def test_an_invalid_posting_is_refused_and_named(client, body, place):
    response = client.post("/classify/jobposting", json=body)
    assert place in assert_problem(response, 422, "Invalid request")


class RecordingApp(InProcessApp):
    """Records the calls of the service."""

    async def _load(self):
        self.service, self.calls = await super()._load(), []
        return self

    def classify(self, ads, *, lane, top_k, timeout_seconds):
        self.calls.append((len(ads), lane, top_k, timeout_seconds))
        return self.service.classify(ads, lane=lane, top_k=top_k, timeout_seconds=timeout_seconds)

    def __getattr__(self, name):
        return getattr(self.service, name)


def test_one_posting_is_interactive_and_several_are_bulk(checkpoint):
    app = RecordingApp(checkpoint)
    several = {"@graph": [POSTING, {**POSTING, "top_k": 2}], "top_k": 1}
    with app.client() as client:
        client.post("/classify/jobposting", json=POSTING)
        client.post("/classify/jobposting", json=[POSTING, {"@type": "WebPage"}])
        headers = {"X-Request-Timeout-Ms": "60000"}
        client.post("/classify/jobposting", json=several, headers=headers)
    alone = (1, Lane.INTERACTIVE, 3, None)
    assert app.calls == [alone, alone, (2, Lane.BULK, 2, 60.0)]
