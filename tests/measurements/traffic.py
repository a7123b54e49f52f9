"""Random mixed requests: single ads, batches, invalid requests, clients that disconnect."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.bench.http_client import encode_json

JSON = {"content-type": "application/json"}
# A busy service may refuse a valid request or miss its deadline.
VALID = frozenset({200, 429})
DEADLINE = frozenset({200, 429, 504})


@dataclass(frozen=True, slots=True)
class TrafficRequest:
    """One request to send, and the statuses that may answer it."""

    path: str
    content: bytes
    expected: frozenset[int]
    headers: dict[str, str] = field(default_factory=dict)
    leave_after: float | None = None
    """Seconds after which the client closes the connection without waiting."""


class Traffic:
    """Draws random requests, the same ones for the same seed.

    Args:
        ads: in the form of a request.
        max_body_bytes: the server's limit, which one of the invalid requests exceeds.
        seed: of the random numbers.
    """

    KINDS = (("single", 80), ("batch", 4), ("huge", 1), ("deadline", 5), ("leaving", 5), ("bad", 5))
    """The kinds of requests with their percentages."""
    VALID_SHARE = 0.95
    """The share of valid requests."""

    def __init__(self, ads: Sequence[dict[str, str]], max_body_bytes: int, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311  a load, no secret
        self._ads = ads
        self._too_large = b'{"text": "' + b"a" * max_body_bytes + b'"}'
        self._names, self._weights = zip(*self.KINDS, strict=True)

    def draw(self) -> TrafficRequest:
        """Return a request of any kind."""
        (kind,) = self._random.choices(self._names, self._weights)
        request: TrafficRequest = getattr(self, f"_{kind}")()
        return request

    def draw_valid(self) -> TrafficRequest:
        """Return a valid request whose client waits for the answer."""
        valid = self.KINDS[:3]
        (kind,) = self._random.choices([name for name, _ in valid], [share for _, share in valid])
        request: TrafficRequest = getattr(self, f"_{kind}")()
        return request

    def pause(self, rate: float) -> float:
        """Return the random seconds to the next request at a mean rate of `rate` a second."""
        return self._random.expovariate(rate)

    def _single(self) -> TrafficRequest:
        return TrafficRequest("/classify", encode_json(self._ad()), VALID, JSON)

    def _batch(self) -> TrafficRequest:
        ads = [self._ad() for _ in range(self._random.randint(2, 12))]
        return TrafficRequest("/classify/batch", encode_json({"ads": ads}), VALID, JSON)

    def _huge(self) -> TrafficRequest:
        # A mebibyte of one word, or of one ad repeated.
        text = self._random.choice(["x", self._ad()["text"]])
        return TrafficRequest(
            "/classify", encode_json({"text": text * (2**20 // max(1, len(text)))}), VALID, JSON
        )

    def _deadline(self) -> TrafficRequest:
        headers = {**JSON, "x-request-timeout-ms": str(self._random.choice([1, 20, 200, 2000]))}
        return TrafficRequest("/classify", encode_json(self._ad()), DEADLINE, headers)

    def _leaving(self) -> TrafficRequest:
        # These statuses are possible if the answer comes before the client leaves.
        leave_after = self._random.uniform(0, 0.3)
        return TrafficRequest(
            "/classify", encode_json(self._ad()), VALID, JSON, leave_after=leave_after
        )

    def _bad(self) -> TrafficRequest:
        content, path, status = self._random.choice(
            [
                (b'{"text": ', "/classify", 400),
                (b'{"text": "\xff\xfe"}', "/classify", 400),
                (encode_json({"text": 1}), "/classify", 422),
                (encode_json({**self._ad(), "colour": "red"}), "/classify", 422),
                (encode_json({"ads": []}), "/classify/batch", 422),
                (encode_json(self._ad()), f"/nowhere/{self._random.random()}", 404),
                (encode_json(self._ad()), "/model", 405),
                (self._too_large, "/classify", 413),
            ]
        )
        return TrafficRequest(path, content, frozenset({status}), JSON)

    def _ad(self) -> dict[str, str]:
        return self._random.choice(self._ads)
