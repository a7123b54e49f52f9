"""Requests as a service meets them: real ads, batches, mistakes, clients that leave."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.bench.http_client import encode_json

JSON = {"content-type": "application/json"}
# A busy or slow service may refuse a good request, or miss its deadline.
GOOD = frozenset({200, 429})
DEADLINE = frozenset({200, 429, 504})


@dataclass(frozen=True, slots=True)
class Shot:
    """One request to send, and the statuses that may answer it."""

    path: str
    content: bytes
    expected: frozenset[int]
    headers: dict[str, str] = field(default_factory=dict)
    leave_after: float | None = None
    """Seconds after which the client closes the connection without waiting."""


class Traffic:
    """Draws requests. The same seed draws the same ones."""

    KINDS = (("single", 80), ("batch", 4), ("huge", 1), ("deadline", 5), ("leaving", 5), ("bad", 5))
    """Kinds of requests and how many of a hundred they are."""
    WORKING = 0.95
    """The share that asks for work: all but the bad."""

    def __init__(self, ads: Sequence[dict[str, str]], max_body_bytes: int, seed: int = 1) -> None:
        """Take ads as they are sent, and the size of a body that is refused."""
        self._random = random.Random(seed)  # noqa: S311  a load, no secret
        self._ads = ads
        self._too_large = b'{"text": "' + b"a" * max_body_bytes + b'"}'
        self._names, self._weights = zip(*self.KINDS, strict=True)

    def draw(self) -> Shot:
        """Return a request of any kind."""
        (kind,) = self._random.choices(self._names, self._weights)
        shot: Shot = getattr(self, f"_{kind}")()
        return shot

    def draw_good(self) -> Shot:
        """Return a request that asks for work and waits for it."""
        good = self.KINDS[:3]
        (kind,) = self._random.choices([name for name, _ in good], [share for _, share in good])
        shot: Shot = getattr(self, f"_{kind}")()
        return shot

    def pause(self, rate: float) -> float:
        """Return the seconds to the next of requests that come at random, `rate` a second."""
        return self._random.expovariate(rate)

    def _single(self) -> Shot:
        return Shot("/classify", encode_json(self._ad()), GOOD, JSON)

    def _batch(self) -> Shot:
        ads = [self._ad() for _ in range(self._random.randint(2, 12))]
        return Shot("/classify/batch", encode_json({"ads": ads}), GOOD, JSON)

    def _huge(self) -> Shot:
        # A megabyte: one word, or an ad over and over.
        text = self._random.choice(["x", self._ad()["text"]])
        return Shot(
            "/classify", encode_json({"text": text * (2**20 // max(1, len(text)))}), GOOD, JSON
        )

    def _deadline(self) -> Shot:
        headers = {**JSON, "x-request-timeout-ms": str(self._random.choice([1, 20, 200, 2000]))}
        return Shot("/classify", encode_json(self._ad()), DEADLINE, headers)

    def _leaving(self) -> Shot:
        # The statuses are of those whose answer was faster than their patience.
        patience = self._random.uniform(0, 0.3)
        return Shot("/classify", encode_json(self._ad()), GOOD, JSON, leave_after=patience)

    def _bad(self) -> Shot:
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
        return Shot(path, content, frozenset({status}), JSON)

    def _ad(self) -> dict[str, str]:
        return self._random.choice(self._ads)
