"""Requests for ads in the form that a contender takes."""

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
class AdRequests:
    """The HTTP requests of each ad to a contender, as bytes."""

    contender: Contender
    calls: Sequence[Sequence[bytes]]

    @property
    def requests(self) -> list[PreparedRequest]:
        """The requests of a load: an ad's number stands for its calls."""
        return [PreparedRequest(str(number).encode()) for number in range(len(self.calls))]


def ad_requests(
    contender: Contender, address: str, ads: Sequence[Ad], separator: str
) -> AdRequests:
    """Make the requests of ads to a contender.

    Args:
        contender: the server and its form of requests.
        address: of the server.
        ads: one or more.
        separator: the token between title and text.
    """
    host = urlsplit(address).netloc
    return AdRequests(
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
    """Return the checkpoint's token between title and text."""
    tokenizer = Tokenizer.from_file(str(checkpoint.path / TOKENIZER))
    return str(tokenizer.id_to_token(checkpoint.special.sep))


def joined(ad: Ad, separator: str) -> str:
    """Join title and text, so that a contender reads the same tokens as Doppelkopf."""
    return separator.join(part.strip() for part in (ad.title, ad.text) if part)


class AdSender:
    """Sends all calls of an ad at once, and disconnects after `leave_after` seconds."""

    def __init__(
        self, send: SendRequest, ads: AdRequests, leave_after: float | None = None
    ) -> None:
        self._send, self._ads, self._leave_after = send, ads, leave_after

    async def send(self, number: bytes, intended: float) -> HttpReply:
        """Send an ad by its number; return a failed reply, or else the last one."""
        try:
            async with asyncio.timeout(self._left(intended)):
                replies = await self._replies(int(number), intended)
        except TimeoutError:
            now = time.perf_counter()
            return HttpReply(UNANSWERED, {}, now - intended, now)
        return max(replies, key=lambda reply: (reply.status != 200, reply.ended))

    async def labels(self, number: int) -> dict[str, str] | None:
        """Return both heads' best labels for an ad; None if a call fails or cannot be parsed."""
        replies = await self._replies(number, time.perf_counter())
        if any(reply.status != 200 for reply in replies):
            return None
        try:
            return {
                head: label
                for call, reply in zip(self._ads.contender.calls, replies, strict=True)
                for head, label in call.labels(json.loads(reply.body)).items()
            }
        except (ValueError, LookupError, TypeError):  # not the expected form
            return None

    async def _replies(self, number: int, intended: float) -> list[HttpReply]:
        calls = self._ads.calls[number]
        return await asyncio.gather(*(self._send(call, intended) for call in calls))

    def _left(self, intended: float) -> float | None:
        if self._leave_after is None:
            return None
        return intended + self._leave_after - time.perf_counter()


def load(
    plan: LoadPlan, ads: AdRequests, leave_after: float | None = None
) -> tuple[RequestSamples, float]:
    """Send a load of ads; return a row for each, and the seconds of sending."""

    async def main() -> tuple[RequestSamples, float]:
        links = ConnectionPool(plan.address)
        try:
            return await LoadGenerator(plan, AdSender(links.send, ads, leave_after).send).run(
                lambda: False
            )
        finally:
            links.close()

    return asyncio.run(main())
