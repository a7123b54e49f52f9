"""Checks of problem documents."""

import httpx


def assert_problem(response: httpx.Response, status: int, title: str) -> str:
    """Check that a response is a problem document with this status and title; return its detail."""
    document = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert document.keys() == {"type", "title", "status", "detail", "request_id"}
    assert (document["status"], document["title"]) == (status, title)
    assert document["request_id"] == response.headers["x-request-id"]
    return str(document["detail"])
