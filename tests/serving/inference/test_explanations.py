import asyncio
import json
import threading

import httpx
import pytest

from app.model.checkpoint import open_checkpoint
from app.serving.scheduling.lanes import Lane
from tests.support.application import InProcessApp
from tests.support.held_engine import HeldEngine
from tests.support.problems import assert_problem
from tests.support.server_process import running_server

TEXT = """Wir kochen im Restaurant. Die Küche hat Speisen und Menüs!

Profil
- abgeschlossene Ausbildung im Beruf
- Schichtdienst für Patienten
"""
SENTENCES = [
    "Wir kochen im Restaurant.",
    "Die Küche hat Speisen und Menüs!",
    "Profil",
    "- abgeschlossene Ausbildung im Beruf",
    "- Schichtdienst für Patienten",
]
AD = {"text": TEXT, "title": "Koch", "top_k": 1000}
HEADS = ("job_category", "min_education")


@pytest.fixture(scope="module")
def client(sensitive_folder):
    with InProcessApp(open_checkpoint(sensitive_folder)).client() as client:
        yield client


def explained(client, **ad):
    response = client.post("/classify", json={**ad, "explain": True})
    assert response.status_code == 200, response.text
    return response.json()


def probability(answer, head, label):
    return next(one["probability"] for one in answer[head]["top"] if one["label"] == label)


def test_a_weight_is_the_probability_lost_without_the_sentence(client):
    plain = client.post("/classify", json=AD).json()
    answer = explained(client, **AD)
    explanation = answer.pop("explanation")
    assert answer == plain
    assert [TEXT[one["start"] : one["end"]] for one in explanation["sentences"]] == SENTENCES
    shortened = [{**AD, "text": TEXT.replace(sentence, "")} for sentence in SENTENCES]
    shortened.append({name: value for name, value in AD.items() if name != "title"})
    without = [client.post("/classify", json=ad).json() for ad in shortened]
    weights = [*explanation["sentences"], explanation["title"]]
    for head in HEADS:
        label = plain[head]["label"]
        expected = [plain[head]["probability"] - probability(one, head, label) for one in without]
        assert [one[head] for one in weights] == pytest.approx(expected, abs=1e-5)
    assert len({one["job_category"] for one in weights}) == len(weights)
    assert explanation["title"]["text"] is None


def test_without_explain_there_is_no_explanation(client):
    assert "explanation" not in client.post("/classify", json=AD).json()
    assert "explanation" not in client.post("/classify", json={**AD, "explain": False}).json()


def test_without_a_title_there_is_no_title_weight(client):
    assert explained(client, text=TEXT)["explanation"]["title"] is None


def test_offsets_are_code_points_of_the_sent_text(client):
    text = "\n 👩‍🍳 Koch. Küche."
    explanation = explained(client, text=text, title=" Koch ")["explanation"]
    assert explanation["text"] is explanation["title"]["text"] is None
    parts = [text[one["start"] : one["end"]] for one in explanation["sentences"]]
    assert parts == ["👩‍🍳 Koch.", "Küche."]


@pytest.mark.parametrize("form", ["html", "auto"])
def test_an_explanation_of_html_contains_the_plain_text(client, form):
    markup = "<h2>K&ouml;che</h2><ul><li>Koch. Team<li>Speisen</ul>"
    ad = {"text": markup, "title": "<b>Koch</b>", "format": form}
    explanation = explained(client, **ad)["explanation"]
    assert explanation["title"]["text"] == "Koch"
    assert explanation["text"] == "Köche\nKoch. Team\nSpeisen"
    parts = [explanation["text"][one["start"] : one["end"]] for one in explanation["sentences"]]
    assert parts == ["Köche", "Koch.", "Team", "Speisen"]


def test_an_ad_of_one_sentence_and_one_without_words(client):
    """The only sentence has a weight; without words there are no sentences."""
    (only,) = explained(client, text="Koch")["explanation"]["sentences"]
    assert (only["start"], only["end"]) == (0, 4)
    assert explained(client, text="???")["explanation"]["sentences"] == []


def test_many_sentences_are_joined_to_32_variants(client):
    """The variant without the title is one of them."""
    text = "Koch.\n" * 38
    spans = explained(client, text=text)["explanation"]["sentences"]
    assert len(spans) == 32
    assert len(explained(client, text=text, title="Koch")["explanation"]["sentences"]) == 31
    assert (spans[0]["start"], spans[-1]["end"]) == (0, len(text) - 1)


def test_sentences_are_joined_until_all_variants_fit_the_tokens(checkpoint):
    app = InProcessApp(checkpoint, settings={"explain_tokens": 300})
    with app.client() as client:
        answer = explained(client, text="Koch.\n" * 30)
        read = app.metric("batch_tokens_sum") - answer["tokens"]
    assert len(answer["explanation"]["sentences"]) == 300 // answer["tokens"] > 1
    assert read <= 300


def test_a_cut_ad_is_explained_as_far_as_it_was_read(client):
    read = "Koch für die Küche.\n" * 60
    answer = explained(client, text=read + "Software mit Python.\n" * 300)
    sentences = answer["explanation"]["sentences"]
    assert (answer["windows"], answer["truncated"]) == (4, True)
    # A word is a token here: 4 windows of 62 that share 7 hold 227.
    assert sentences[-1]["end"] < len(read)


def test_variants_are_not_counted_as_ads(checkpoint):
    app = InProcessApp(checkpoint)
    with app.client() as client:
        answer = explained(client, **AD)
    assert app.metric("confidence_count", head="job_category") == 1
    assert app.metric("explanations_total") == 1
    assert app.metric("explanation_variants_total") == len(answer["explanation"]["sentences"]) + 1
    assert app.metric("batch_ads_sum") == 1 + len(answer["explanation"]["sentences"]) + 1
    assert app.metric("queued_ads") == 0


def test_an_explanation_has_its_own_stage_and_logs_one_ad(client, caplog):
    with caplog.at_level("INFO", logger="app.access"):
        response = client.post("/classify", json={**AD, "explain": True})
    stages = [part.split(";")[0].strip() for part in response.headers["server-timing"].split(",")]
    assert stages == ["tokenize", "queue", "batch", "explain", "total"]
    (record,) = caplog.records
    assert (record.fields["ads"], record.fields["tokens"]) == (1, response.json()["tokens"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/classify/batch", {"ads": [{"text": "Koch", "explain": True}]}),
        ("/classify/batch", {"ads": [{"text": "Koch"}], "explain": True}),
        ("/classify/jobposting", {"@type": "JobPosting", "title": "Koch", "explain": True}),
        (
            "/classify/jobposting",
            {"@graph": [{"@type": "JobPosting", "title": "Koch"}], "explain": True},
        ),
    ],
)
def test_other_routes_refuse_explain(client, path, body):
    detail = assert_problem(client.post(path, json=body), 422, "Invalid request")
    assert "explain: only POST /classify explains, one ad at a time" in detail


def test_explanations_can_be_switched_off(checkpoint):
    """A request is then refused with one sentence, and `GET /model` shows it."""
    with InProcessApp(checkpoint, settings={"explain_concurrency": 0}).client() as client:
        response = client.post("/classify", json={**AD, "explain": True})
        assert "does not explain" in assert_problem(response, 422, "Invalid request")
        assert client.get("/model").json()["limits"]["explain"] is False
        assert client.post("/classify", json=AD).status_code == 200


@pytest.fixture
def held(checkpoint):
    app = InProcessApp(checkpoint, settings={"explain_concurrency": 1}, rate=1000)
    app.run = HeldEngine(app.run)
    with app.client() as client:
        yield app, client
        app.run.go.set()


def test_too_many_explanations_get_429_others_are_answered(held):
    app, client = held
    answers = []
    first = threading.Thread(target=lambda: answers.append(explained(client, **AD)))
    first.start()
    assert app.run.began.acquire(timeout=10)
    refused = client.post("/classify", json={**AD, "explain": True})
    assert "leave `explain` out" in assert_problem(refused, 429, "Too many requests")
    assert refused.headers["retry-after"] == "9"  # 8192 tokens at 1000 a second
    assert app.metric("rejected_total", reason="explain_busy") == 1
    app.run.go.set()
    assert client.post("/classify", json=AD).status_code == 200
    first.join(10)
    assert answers
    explained(client, **AD)


class SteppedEngine:
    """Runs one batch, then waits for the test before each next one."""

    def __init__(self, run):
        self.go, self.began, self.batches = threading.Semaphore(1), threading.Semaphore(0), []
        self._run = run

    def __call__(self, batch):
        self.batches.append(len(batch))
        self.began.release()
        assert self.go.acquire(timeout=20)
        return self._run(batch)


@pytest.fixture
def paused(checkpoint):
    """An application whose engine stops before the variants, which are two batches."""
    app = InProcessApp(checkpoint, settings={"explain_concurrency": 1, "max_batch_tokens": 100})
    app.run = SteppedEngine(app.run)
    with app.client() as client:
        yield app, client
        app.run.go.release(100)


def test_a_deadline_includes_the_variants_and_drops_the_rest(paused):
    app, client = paused
    late = client.post(
        "/classify", json={**AD, "explain": True}, headers={"X-Request-Timeout-Ms": "1000"}
    )
    assert_problem(late, 504, "Deadline exceeded")
    assert len(app.run.batches) == 2
    assert app.metric("queued_ads") == 0
    app.run.go.release(100)
    assert client.post("/classify", json=AD).status_code == 200
    assert len(app.run.batches) == 3  # the other variants never ran


def test_a_client_that_leaves_cancels_its_variants(paused):
    app, client = paused

    async def leave():
        gone = asyncio.Event()
        body = json.dumps({**AD, "explain": True}).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/classify",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "app": app.app,
        }
        call = asyncio.create_task(app.app(scope, receive, send))
        while len(app.run.batches) < 2:  # noqa: ASYNC110  what a thread does cannot be awaited
            await asyncio.sleep(0)
        gone.set()
        await call

    client.portal.call(leave)
    assert app.metric("requests_total", route="/classify", status="499") == 1
    assert app.metric("queued_ads") == 0
    app.run.go.release(100)
    explained(client, **AD)


class CallNotingApp(InProcessApp):
    """Notes how many ads its service is called with, and in which lane."""

    async def _load(self):
        self.service, self.calls = await super()._load(), []
        return self

    async def classify(self, ads, *, lane, **options):
        self.calls.append((len(ads), lane))
        return await self.service.classify(ads, lane=lane, **options)

    async def score_variants(self, ads, lane):
        self.calls.append((len(ads), lane))
        return await self.service.score_variants(ads, lane)

    def __getattr__(self, name):
        return getattr(self.service, name)


def test_the_ad_is_interactive_and_its_variants_are_bulk(checkpoint):
    app = CallNotingApp(checkpoint)
    with app.client() as client:
        explained(client, **AD)
    assert app.calls == [(1, Lane.INTERACTIVE), (len(SENTENCES) + 1, Lane.BULK)]


@pytest.mark.server
def test_several_front_ends_explain_as_one_process_does(sensitive_folder, tmp_path, client):
    with running_server(sensitive_folder, tmp_path / "log", workers="2") as address:
        answer = httpx.post(f"{address}/classify", json={**AD, "explain": True}, timeout=60).json()
    expected = explained(client, **AD)
    assert answer["job_category"]["label"] == expected["job_category"]["label"]
    for one, other in zip(
        answer["explanation"]["sentences"], expected["explanation"]["sentences"], strict=True
    ):
        assert one == pytest.approx(other, abs=1e-4)
