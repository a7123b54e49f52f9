import asyncio
import json
import re
import threading

import pytest
from jsonschema import Draft202012Validator

from app.core.errors import CheckpointError, EngineError, FatalEngineError
from app.serving.scheduling.lanes import Lane
from tests.support.server_process import App

KEY = "a-key-of-good-length"
AD = {"text": "Koch für die Küche im Restaurant"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return App(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


def assert_problem(response, status, title):
    document = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert document.keys() == {"type", "title", "status", "detail", "request_id"}
    assert (document["status"], document["title"]) == (status, title)
    assert document["request_id"] == response.headers["x-request-id"]
    return document["detail"]


def test_classify_answers_with_both_heads(client, checkpoint):
    body = client.post("/classify", json={**AD, "id": "a1", "top_k": 2}).json()
    assert body["id"] == "a1"
    for name in ("job_category", "min_education"):
        head = body[name]
        assert len(head["top"]) == 2
        assert head["top"][0] == {"label": head["label"], "probability": head["probability"]}
        assert head["label"] in checkpoint.heads[name].labels
        assert head["top"][0]["probability"] >= head["top"][1]["probability"]
    assert (body["windows"], body["truncated"]) == (1, False)
    assert body["tokens"] > 5
    assert body["model"] == {"name": "tiny", "revision": checkpoint.revision}


def test_top_k_above_the_labels_gives_them_all_and_they_sum_to_one(client):
    top = client.post("/classify", json={**AD, "top_k": 1000}).json()["job_category"]["top"]
    assert len(top) == 3
    assert sum(one["probability"] for one in top) == pytest.approx(1, abs=1e-5)


def test_a_batch_answers_like_single_requests_in_order(client):
    texts = ["Koch", "Python im Team " * 40, "Pflegefachkraft Station", "Studium mit Master"]
    singles = [client.post("/classify", json={"text": text}).json() for text in texts]
    batch = client.post("/classify/batch", json={"ads": [{"text": text} for text in texts]}).json()
    for single, one in zip(singles, batch["results"], strict=True):
        for head in ("job_category", "min_education"):
            assert one[head]["label"] == single[head]["label"]
            assert one[head]["probability"] == pytest.approx(single[head]["probability"], abs=1e-5)
        assert one["tokens"] == single["tokens"]


def test_a_long_ad_is_read_in_windows_and_a_cut_is_told(client):
    body = client.post("/classify", json={"text": "Koch für die Küche " * 150}).json()
    assert (body["windows"], body["truncated"]) == (4, True)


def test_the_title_counts(client):
    plain = client.post("/classify", json=AD).json()
    titled = client.post("/classify", json={**AD, "title": "Entwickler für Software"}).json()
    assert titled["tokens"] > plain["tokens"]
    assert titled["job_category"]["top"] != plain["job_category"]["top"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"text": ', "line 1 column 10"),
        (b'{"text": "a", "top_k": NaN}', "number"),
        ('{"text": "a"}'.encode("utf-16"), "UTF-8"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b'{"text": ' + b"[" * 995, "deep"),
        (b"", "line 1 column 1"),
    ],
)
def test_what_is_not_json_gets_400_that_says_why(client, content, word):
    response = client.post(
        "/classify", content=content, headers={"content-type": "application/json"}
    )
    assert word in assert_problem(response, 400, "Malformed body")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.text"),
        ({"text": " \n"}, "body.text"),
        ({"text": "\x85\ufeff\u2003"}, "body.text"),
        ({"text": 3}, "body.text"),
        ({"text": "a", "topk": 3}, "body.topk"),
        ({"text": "a", "top_k": "3"}, "body.top_k"),
        ({"text": "a", "top_k": 0}, "body.top_k"),
        ({"text": "a", "top_k": True}, "body.top_k"),
        ({"text": "a", "title": ["b"]}, "body.title"),
        ({"text": "a", "id": 7}, "body.id"),
        ([], "body"),
    ],
)
def test_an_invalid_body_gets_422_that_names_the_field(client, body, field):
    detail = assert_problem(client.post("/classify", json=body), 422, "Invalid request")
    assert detail.startswith(f"{field}: ")


def test_a_lone_surrogate_gets_422(client):
    response = client.post(
        "/classify", content=rb'{"text": "\ud800"}', headers={"content-type": "application/json"}
    )
    assert_problem(response, 422, "Invalid request")


def test_a_bad_ad_in_a_batch_is_named_by_its_place(client):
    response = client.post("/classify/batch", json={"ads": [AD, {"text": ""}]})
    assert assert_problem(response, 422, "Invalid request").startswith("body.ads.1.text: ")


@pytest.mark.parametrize("count", [0, 9])
def test_a_batch_has_at_least_one_ad_and_at_most_what_the_server_allows(client, count):
    response = client.post("/classify/batch", json={"ads": [AD] * count})
    assert "body.ads" in assert_problem(response, 422, "Invalid request")


@pytest.mark.parametrize("value", ["0", "-1", "soon", "99999999"])
def test_a_malformed_timeout_gets_422(client, value):
    response = client.post("/classify", json=AD, headers={"X-Request-Timeout-Ms": value})
    assert "X-Request-Timeout-Ms" in assert_problem(response, 422, "Invalid request")


def test_a_body_above_the_limit_gets_413_announced_or_not(client):
    large = json.dumps({"text": "a" * 5000}).encode()
    headers = {"content-type": "application/json"}
    announced = client.post("/classify", content=large, headers=headers)
    assert "4096" in assert_problem(announced, 413, "Body too large")
    chunks = (large[start : start + 1000] for start in range(0, len(large), 1000))
    streamed = client.post("/classify", content=chunks, headers=headers)
    assert_problem(streamed, 413, "Body too large")


def test_an_unknown_path_and_method_are_problems_too(client):
    assert_problem(client.get("/nowhere"), 404, "Not Found")
    assert_problem(client.get("/classify"), 405, "Method Not Allowed")


def test_a_request_id_is_kept_when_well_formed_and_made_otherwise(client):
    kept = client.get("/health/live", headers={"X-Request-Id": "job-7:a.b_c"})
    assert kept.headers["x-request-id"] == "job-7:a.b_c"
    for bad in ("", "a b", "x" * 200, "a\u00e4".encode()):
        made = client.get("/health/live", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert len(made) == 32


def test_html_is_answered_as_its_text_on_every_route(client):
    plain = {"text": "Koch für die Küche", "title": "Koch & Kellner"}
    html = {"text": "<p>Koch f&uuml;r</p><ul><li>die Küche</ul>", "title": "Koch &amp; Kellner"}
    expected = client.post("/classify", json=plain).json()
    for form in ("html", "auto"):
        assert client.post("/classify", json={**html, "format": form}).json() == expected
    ads = [{**html, "format": "html"}, plain, html]
    batch = client.post("/classify/batch", json={"ads": ads}).json()["results"]
    assert [one["tokens"] for one in batch[:2]] == [expected["tokens"]] * 2
    assert batch[2]["tokens"] > expected["tokens"]
    as_text = client.post("/classify", json={**plain, "format": "text"}).json()
    assert as_text == expected


def test_html_without_text_and_an_unknown_format_are_refused(client):
    empty = {"text": "<script>Koch</script>", "format": "html"}
    detail = assert_problem(client.post("/classify", json=empty), 422, "Invalid request")
    assert "ad 1 of the request shows no text" in detail
    ads = [AD, {**AD, "format": "auto"}, empty]
    detail = assert_problem(
        client.post("/classify/batch", json={"ads": ads}), 422, "Invalid request"
    )
    assert "ad 3 of the request" in detail
    wrong = client.post("/classify", json={**AD, "format": "markdown"})
    assert "body.format" in assert_problem(wrong, 422, "Invalid request")


POSTING = {
    "@context": "https://schema.org/",
    "@type": "JobPosting",
    "@id": "https://beispiel.de/1",
    "title": "Koch",
    "description": "<p>Koch f&uuml;r die Küche</p>",
    "hiringOrganization": {"@type": "Organization", "name": "Restaurant"},
}


def test_a_posting_is_answered_like_its_text_and_with_a_patch(client, checkpoint):
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
def test_what_is_no_readable_posting_is_named(client, body, place):
    response = client.post("/classify/jobposting", json=body)
    assert place in assert_problem(response, 422, "Invalid request")


class Noting(App):
    """Notes what the service is asked for."""

    async def _load(self):
        self.service, self.asked = await super()._load(), []
        return self

    def classify(self, ads, *, lane, top_k, timeout_seconds):
        self.asked.append((len(ads), lane, top_k, timeout_seconds))
        return self.service.classify(ads, lane=lane, top_k=top_k, timeout_seconds=timeout_seconds)

    def __getattr__(self, name):
        return getattr(self.service, name)


def test_one_posting_is_interactive_and_several_are_bulk(checkpoint):
    app = Noting(checkpoint)
    several = {"@graph": [POSTING, {**POSTING, "top_k": 2}], "top_k": 1}
    with app.client() as client:
        client.post("/classify/jobposting", json=POSTING)
        client.post("/classify/jobposting", json=[POSTING, {"@type": "WebPage"}])
        headers = {"X-Request-Timeout-Ms": "60000"}
        client.post("/classify/jobposting", json=several, headers=headers)
    alone = (1, Lane.INTERACTIVE, 3, None)
    assert app.asked == [alone, alone, (2, Lane.BULK, 2, 60.0)]


def test_model_tells_labels_names_and_limits(client, checkpoint):
    body = client.get("/model").json()
    assert (body["name"], body["revision"]) == ("tiny", checkpoint.revision)
    assert body["heads"]["job_category"]["labels"][0] == {
        "label": "nursing",
        "names": {"de": "Pflege"},
        "codes": {"kldb": ["813", "821"]},
    }
    assert body["heads"]["min_education"]["ordered"] is True
    assert body["limits"] == {
        "max_length": 64,
        "max_windows": 4,
        "max_batch_ads": 8,
        "explain": True,
        "max_body_bytes": 4096,
    }


def test_requests_are_counted_once_by_route_and_status(checkpoint):
    app = App(checkpoint)
    with app.client() as client:
        client.post("/classify", json=AD)
        client.post("/classify/batch", json={"ads": [AD, AD]})
        client.post("/classify", json={})
        for path in ("/a", "/b", "/c?d=e"):
            client.get(path)
        assert app.value("requests_total", route="/classify", status="200") == 1
        assert app.value("requests_total", route="/classify", status="422") == 1
        assert app.value("requests_total", route="/classify/batch", status="200") == 1
        assert app.value("requests_total", route="unmatched", status="404") == 3
        assert app.value("request_seconds_count", route="/classify") == 2
        assert app.value("batch_ads_sum") == 3
        predicted = sum(
            app.value("predictions_total", head="job_category", label=label)
            for label in checkpoint.heads["job_category"].labels
        )
        assert predicted == app.value("confidence_count", head="job_category") == 3


def test_metrics_exist_at_zero_from_the_start(checkpoint):
    app = App(checkpoint)
    with app.client() as client:
        text = client.get("/metrics").text
    for line in (
        'doppelkopf_requests_total{route="/classify",status="429"} 0.0',
        'doppelkopf_requests_total{route="/classify",status="499"} 0.0',
        'doppelkopf_request_seconds_count{route="/classify/batch"} 0.0',
        'doppelkopf_predictions_total{head="min_education",label="master"} 0.0',
        'doppelkopf_rejected_total{reason="queue_full"} 0.0',
        'doppelkopf_engine_failures_total{kind="fatal"} 0.0',
        "doppelkopf_truncated_total 0.0",
        "doppelkopf_queued_ads 0.0",
    ):
        assert line in text.splitlines()
    assert 'doppelkopf_model_info{device="cpu",dtype="float32",name="tiny"' in text
    assert "_created" not in text


def test_keys_guard_the_work_and_never_the_probes(checkpoint):
    app = App(checkpoint, settings={"api_keys": f"{KEY},another-key-of-length"})
    with app.client() as client:
        detail = assert_problem(client.post("/classify", json=AD), 401, "Unauthorized")
        assert "Bearer" in detail
        wrong = {"Authorization": "Bearer wrong-key-of-length"}
        response = client.post("/classify", json=AD, headers=wrong)
        assert_problem(response, 401, "Unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
        assert KEY not in response.text
        for key in (KEY, "another-key-of-length"):
            right = {"Authorization": f"Bearer {key}"}
            assert client.post("/classify", json=AD, headers=right).status_code == 200
            assert client.get("/model", headers=right).status_code == 200
        assert_problem(client.get("/model"), 401, "Unauthorized")
        for path in ("/health", "/health/live", "/health/ready"):
            assert client.get(path).status_code == 200


def test_while_loading_it_lives_and_is_not_ready(checkpoint):
    app = App(checkpoint, load_error=CheckpointError("no weights"))
    with app.client() as client:
        assert client.get("/health/live").status_code == 200
        for method, path in (("get", "/health"), ("get", "/health/ready"), ("get", "/model")):
            assert_problem(client.request(method, path), 503, "Not ready")
        assert_problem(client.post("/classify", json=AD), 503, "Not ready")
        assert [str(error) for error in app.failures] == ["no weights"]


def test_an_engine_failure_is_a_500_that_tells_nothing(checkpoint):
    def run(batch):
        raise RuntimeError("the inside")

    app = App(checkpoint, run=run)
    with app.client() as client:
        response = client.post("/classify", json=AD)
        assert_problem(response, 500, "Inference failed")
        assert "inside" not in response.text
        assert client.get("/health/ready").status_code == 200


def test_one_ad_that_does_not_fit_fails_its_request_only(checkpoint):
    app = App(checkpoint, run=lambda batch: [EngineError("too large")] * len(batch))
    with app.client() as client:
        assert assert_problem(client.post("/classify", json=AD), 500, "Inference failed")


def test_a_lost_device_turns_ready_off(checkpoint):
    def run(batch):
        raise FatalEngineError("The device failed; the service has to restart.")

    app = App(checkpoint, run=run)
    with app.client() as client:
        assert_problem(client.post("/classify", json=AD), 500, "Inference failed")
        assert_problem(client.get("/health/ready"), 503, "Not ready")
        assert_problem(client.post("/classify", json=AD), 503, "Not ready")
        assert client.get("/health/live").status_code == 200


class Held:
    """An engine that holds every batch until it is let go."""

    def __init__(self, run):
        self.go, self.began, self._run, self.batches = (
            threading.Event(),
            threading.Semaphore(0),
            run,
            [],
        )

    def __call__(self, batch):
        self.batches.append(len(batch))
        self.began.release()
        assert self.go.wait(20)
        return self._run(batch)


@pytest.fixture
def held(checkpoint):
    app = App(checkpoint, settings={"max_queued_ads": 3, "max_batch_ads": 3})
    app.run = Held(app.run)
    with app.client() as client:
        yield app, client
        app.run.go.set()


def test_a_passed_deadline_gets_504_and_its_work_is_dropped(held):
    app, client = held
    first = threading.Thread(target=client.post, args=("/classify",), kwargs={"json": AD})
    first.start()
    assert app.run.began.acquire(timeout=10)
    late = client.post("/classify", json=AD, headers={"X-Request-Timeout-Ms": "30"})
    assert_problem(late, 504, "Deadline exceeded")
    assert app.value("queued_ads") == 1
    app.run.go.set()
    first.join(10)
    assert app.run.batches == [1]


def test_a_full_house_gets_429_with_retry_after(held):
    app, client = held
    first = threading.Thread(
        target=client.post, args=("/classify/batch",), kwargs={"json": {"ads": [AD] * 3}}
    )
    first.start()
    assert app.run.began.acquire(timeout=10)
    refused = client.post("/classify", json=AD)
    assert_problem(refused, 429, "Too many requests")
    assert int(refused.headers["retry-after"]) >= 1
    assert app.value("rejected_total", reason="queue_full") == 1
    app.run.go.set()
    first.join(10)
    assert client.post("/classify", json=AD).status_code == 200


def test_a_client_that_leaves_frees_its_place_and_its_work_never_runs(held):
    app, client = held
    first = threading.Thread(target=client.post, args=("/classify",), kwargs={"json": AD})
    first.start()
    assert app.run.began.acquire(timeout=10)

    async def leave() -> None:
        """Send a whole request and then the news that the caller is gone."""
        gone = asyncio.Event()
        messages = [{"type": "http.request", "body": json.dumps(AD).encode(), "more_body": False}]

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
        while app.value("queued_ads") < 2:  # noqa: ASYNC110  a gauge cannot be awaited
            await asyncio.sleep(0)
        gone.set()
        await call

    client.portal.call(leave)
    assert app.value("queued_ads") == 1
    assert app.value("requests_total", route="/classify", status="499") == 1
    app.run.go.set()
    first.join(10)
    assert app.run.batches == [1]


def test_the_openapi_document_is_valid_and_describes_every_error(client):
    document = client.get("/openapi.json").json()
    Draft202012Validator.check_schema(document["components"]["schemas"]["Problem"])
    responses = document["paths"]["/classify"]["post"]["responses"]
    assert set(responses) == {
        *("200", "400", "401", "408", "413", "415", "422", "429", "500", "503", "504")
    }
    for status, response in responses.items():
        if status != "200":
            assert list(response["content"]) == ["application/problem+json"]
    names = document["components"]["schemas"]
    assert {"ClassifyRequest", "ClassifyResponse", "BatchRequest", "Problem"} <= set(names)
    assert "HTTPValidationError" not in names


def test_examples_in_the_document_are_real(client):
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            Draft202012Validator({**schema, "components": document["components"]}).validate(example)
            if name == "ClassifyRequest":
                assert client.post("/classify", json=example).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/docs", "/docs/swagger-ui-bundle.js"])
def test_what_a_browser_opens_forbids_everything_from_outside(client, path):
    headers = client.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    # Neither inline nor evaluated, nor from anywhere else; the documentation's one by its digest.
    assert re.fullmatch(r"'self'( 'sha256-[\w+/]{43}=')?", policy["script-src"])
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "geolocation=()" in headers["permissions-policy"]
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_no_answer_is_sniffed_for_another_type(client):
    for path in ("/model", "/metrics", "/nowhere", "/openapi.json"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff", path


def test_the_documentation_page_loads_nothing_from_outside(client):
    page = client.get("/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    for address in [*addresses, "openapi.json"]:
        assert client.get(f"/{address}").status_code == 200, address
