"""Errors as problem documents (RFC 9457)."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """An error as RFC 9457 writes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:doppelkopf:problem:too-many-requests",
                    "title": "Too many requests",
                    "status": 429,
                    "detail": "Too much work is waiting; try again in 2 s.",
                    "request_id": "5f0c4e3b9a7d4f21",
                }
            ]
        }
    )

    type: str = Field(description="identifies the kind of problem")
    title: str = Field(description="names the kind of problem")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what happened this time, and what to do")
    request_id: str = Field(description="as in the header X-Request-Id")

    @classmethod
    def of(cls, status: int, title: str, detail: str, request_id: str) -> dict[str, Any]:
        """Return a problem document as a plain dict; its `type` is derived from the title."""
        kind = f"urn:doppelkopf:problem:{title.lower().replace(' ', '-')}"
        return cls(
            type=kind, title=title, status=status, detail=detail, request_id=request_id
        ).model_dump()
