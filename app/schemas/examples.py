"""Example bodies and answers for the OpenAPI document."""

from pydantic import JsonValue

EXAMPLE_AD: dict[str, JsonValue] = {
    "id": "a1",
    "title": "Pflegefachkraft (m/w/d)",
    "text": "Wir suchen eine Pflegefachkraft für unsere Station. Sie haben eine abgeschlossene "
    "dreijährige Ausbildung in der Pflege und arbeiten gern im Team.",
}
EXAMPLE_ANSWER: dict[str, JsonValue] = {
    "id": "a1",
    "job_category": {
        "label": "nursing_emergency",
        "probability": 0.93,
        "top": [{"label": "nursing_emergency", "probability": 0.93}],
    },
    "min_education": {
        "label": "vocational",
        "probability": 0.81,
        "top": [{"label": "vocational", "probability": 0.81}],
    },
    "tokens": 44,
    "windows": 1,
    "truncated": False,
    "model": {"name": "demo", "revision": "3f2a9c1e"},
}
EXAMPLE_MODEL: dict[str, JsonValue] = {
    "name": "demo",
    "revision": "3f2a9c1e",
    "device": "cpu",
    "dtype": "float32",
    "parameters": 20224934,
    "heads": {
        "job_category": {
            "labels": [
                {
                    "label": "nursing_emergency",
                    "names": {"de": "Pflege, Rettungsdienst", "en": "Nursing, emergency services"},
                    "codes": {"kldb": ["813"]},
                }
            ],
            "ordered": False,
        },
        "min_education": {
            "labels": [
                {
                    "label": "vocational",
                    "names": {"de": "Ausbildung", "en": "Vocational training"},
                    "codes": {"credential": ["professional certificate"]},
                }
            ],
            "ordered": True,
        },
    },
    "limits": {
        "max_length": 512,
        "max_windows": 4,
        "max_batch_ads": 256,
        "explain": True,
        "max_body_bytes": 8388608,
    },
}
EXAMPLE_LINE_PROBLEM: dict[str, JsonValue] = {
    "type": "urn:doppelkopf:problem:invalid-request",
    "title": "Invalid request",
    "status": 422,
    "detail": "line.text: Field required.",
    "request_id": "5f0c4e3b9a7d4f21",
}
EXPLAINED_ANSWER: dict[str, JsonValue] = {
    **EXAMPLE_ANSWER,
    "explanation": {
        "text": None,
        "title": {"job_category": 0.21, "min_education": 0.01},
        "sentences": [
            {"start": 0, "end": 51, "job_category": 0.04, "min_education": -0.02},
            {"start": 52, "end": 145, "job_category": 0.01, "min_education": 0.36},
        ],
    },
}
