"""The service under load: its address, the requests to it, and a first request as a check."""

import asyncio
import json
import random
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from app.bench.http_client import LOST, ConnectionPool, HttpReply, classify_request
from app.bench.load_generator import PreparedRequest
from app.core.errors import StartupError
from app.core.types import Ad


class LoadTarget:
    """A service under load.

    Args:
        url: its address, without `/classify`.
        api_key: to send with each request.

    Raises:
        StartupError: the address or the key is malformed.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        if api_key and not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise StartupError("DOPPELKOPF_API_KEY holds characters that a key cannot have.")
        self.url, self._key, self._parts = url, api_key, _parts(url)

    def requests(self, ads: Sequence[Ad], batch: int | None, seed: int) -> list[PreparedRequest]:
        """Return a request per ad; or requests of `batch` ads each, in an order fixed by `seed`."""
        bodies = [
            {"text": ad.text, **({} if ad.title is None else {"title": ad.title})} for ad in ads
        ]
        if batch is None:
            return [PreparedRequest(self._request(body, "/classify")) for body in bodies]
        rng = random.Random(seed)  # noqa: S311  a load, no secret
        rng.shuffle(bodies)
        # The last batch is filled up with the first ads, so that all have one size.
        rounds = range(0, len(bodies), batch)
        return [
            PreparedRequest(self._request({"ads": part}, "/classify/batch"), batch)
            for part in ([bodies[(at + i) % len(bodies)] for i in range(batch)] for at in rounds)
        ]

    def try_once(self, request: PreparedRequest) -> None:
        """Send one request, so that a wrong address or key ends the program before the load.

        Raises:
            StartupError: there is no answer, or its status is neither 200 nor 429.
        """

        async def main() -> HttpReply:
            connections = ConnectionPool(self.url)
            try:
                return await connections.send(request.content)
            finally:
                connections.close()

        reply = asyncio.run(main())
        if reply.status == LOST:
            raise StartupError(f"Nothing answers at {self.url}; is the service running?")
        if reply.status == 401:
            raise StartupError(
                "The service wants an API key; give it in the variable DOPPELKOPF_API_KEY."
            )
        if reply.status not in (200, 429):
            raise StartupError(
                f"{self.url} answers the first request with {reply.status}{_detail(reply.body)}."
            )

    def _request(self, body: object, path: str) -> bytes:
        path = self._parts.path.rstrip("/") + path
        return classify_request(body, path, self._parts.netloc, self._key)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good or parts.username or parts.query or parts.fragment or not url.isascii():
        raise StartupError(f"The address has to be like http://localhost:8000, not '{url}'.")
    return parts


def _detail(body: bytes) -> str:
    """Return `: ` and the `detail` of a problem document, without its full stop, or nothing."""
    try:
        return ": " + str(json.loads(body)["detail"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return ""
