import pytest

from tests.support.application import InProcessApp

AD = {"text": "Koch für die Küche im Restaurant"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


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


def test_metrics_exist_at_zero_from_the_start(checkpoint):
    app = InProcessApp(checkpoint)
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
