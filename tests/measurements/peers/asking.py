"""Ads as a contender is asked for them."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tokenizers import Tokenizer

from app.bench.http_client import ConnectionPool, HttpReply, classify_request
from app.bench.load_generator import (
    UNANSWERED,
    LoadGenerator,
    LoadPlan,
    PreparedRequest,
    RequestSamples,
    SendRequest,
)
from app.core.types import Ad
from app.model.checkpoint import Checkpoint
from app.model.checkpoint_verification import TOKENIZER
from tests.measurements.peers.contender import Contender


@dataclass(frozen=True)
class Questions:
    """Ads in a contender's own words: for each the bytes of its calls, ready to be sent."""

    contender: Contender
    calls: Sequence[Sequence[bytes]]

    @property
    def requests(self) -> list[PreparedRequest]:
        """What a load sends: an ad's number in place of its calls."""
        return [PreparedRequest(str(number).encode()) for number in range(len(self.calls))]


def questions(contender: Contender, address: str, ads: Sequence[Ad], separator: str) -> Questions:
    """Word ads for a contender at an address.

    Args:
        contender: who is asked.
        address: where.
        ads: which.
        separator: the token that stands between title and text.
    """
    host = urlsplit(address).netloc
    return Questions(
        contender,
        [
            [
                classify_request(call.body(ad, joined(ad, separator)), call.path, host)
                for call in contender.calls
            ]
            for ad in ads
        ],
    )


def separator(checkpoint: Checkpoint) -> str:
    """Return the token that stands between a title and a text."""
    tokenizer = Tokenizer.from_file(str(checkpoint.path / TOKENIZER))
    return str(tokenizer.id_to_token(checkpoint.special.sep))


def joined(ad: Ad, separator: str) -> str:
    """Return title and text as one: its tokens are those that Doppelkopf reads for the two."""
    return separator.join(part.strip() for part in (ad.title, ad.text) if part)


class Asking:
    """Sends all calls of an ad at once; a client that leaves after `patience` seconds."""

    def __init__(self, send: SendRequest, asked: Questions, patience: float | None = None) -> None:
        self._send, self._asked, self._patience = send, asked, patience

    async def send(self, number: bytes, intended: float) -> HttpReply:
        """Send an ad by its number; return the reply that came last, or one that failed."""
        try:
            async with asyncio.timeout(self._left(intended)):
                replies = await self._replies(int(number), intended)
        except TimeoutError:
            now = time.perf_counter()
            return HttpReply(UNANSWERED, {}, now - intended, now)
        return max(replies, key=lambda reply: (reply.status != 200, reply.ended))

    async def labels(self, number: int) -> dict[str, str] | None:
        """Return both heads' best labels for an ad; None where it has no answer."""
        replies = await self._replies(number, time.perf_counter())
        if any(reply.status != 200 for reply in replies):
            return None
        try:
            return {
                head: label
                for call, reply in zip(self._asked.contender.calls, replies, strict=True)
                for head, label in call.labels(json.loads(reply.body)).items()
            }
        except (ValueError, LookupError, TypeError):  # an answer of another form
            return None

    async def _replies(self, number: int, intended: float) -> list[HttpReply]:
        calls = self._asked.calls[number]
        return await asyncio.gather(*(self._send(call, intended) for call in calls))

    def _left(self, intended: float) -> float | None:
        if self._patience is None:
            return None
        return intended + self._patience - time.perf_counter()


def load(
    plan: LoadPlan, asked: Questions, patience: float | None = None
) -> tuple[RequestSamples, float]:
    """Send a load of ads; return what became of them, and for how many seconds they were sent."""

    async def main() -> tuple[RequestSamples, float]:
        links = ConnectionPool(plan.address)
        try:
            return await LoadGenerator(plan, Asking(links.send, asked, patience).send).run(
                lambda: False
            )
        finally:
            links.close()

    return asyncio.run(main())
