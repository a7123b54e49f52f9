"""API keys, checked before a request's body is read."""

import hmac
from collections.abc import Callable, Iterable
from hashlib import sha256

from fastapi import Request
from fastapi.security import HTTPBearer
from pydantic import SecretStr

from app.core.errors import UnauthorizedError

BEARER = HTTPBearer(auto_error=False, description="an API key, where the server has any")


class ApiKeys:
    """The accepted keys. It keeps only their digests, so that no traceback can show a key.

    Args:
        keys: what clients may send; if there are none, every request is accepted.
        same: compares two digests in constant time.
    """

    def __init__(
        self,
        keys: Iterable[SecretStr],
        same: Callable[[bytes, bytes], bool] = hmac.compare_digest,
    ) -> None:
        self._digests = [_digest(key.get_secret_value()) for key in keys]
        self._same = same

    async def require(self, request: Request) -> None:
        """Return if a request has one of the keys, or if there are none.

        Raises:
            UnauthorizedError: the key is missing or wrong.
        """
        given = await BEARER(request)
        if self._digests and not self.accept(given.credentials if given else ""):
            raise UnauthorizedError("Send an API key as 'Authorization: Bearer <key>'.")

    def accept(self, sent: str) -> bool:
        """Return whether `sent` is one of the keys, in a time that reveals nothing about them."""
        # All digests have the same length, and all of them are compared, even after a match.
        digest = _digest(sent)
        matches = [self._same(digest, one) for one in self._digests]
        return any(matches)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
