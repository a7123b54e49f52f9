"""A stream's lines that were sent, or will be, and have no answer yet."""

from collections import deque

from pydantic import TypeAdapter

from app.client.encoding import AdLike, encoded, fields_of, parsed
from app.client.errors import BusyError, ForeignAnswerError, UnreachableError
from app.schemas.model import Limits
from app.schemas.ndjson import NDJSON
from app.schemas.stream import StreamAnswer, StreamError

LINE: TypeAdapter[StreamAnswer | StreamError] = TypeAdapter(StreamAnswer | StreamError)


class Pending:
    """At most as many as the service lets into its house at once, so neither side ever waits.

    Most HTTP libraries, httpx among them, and most proxies send a whole request before they read
    anything of its answer. So a stream is sent in parts of this size, each a request that goes on
    counting where the one before ended; and one that broke off is sent from there on.
    """

    def __init__(self, limits: Limits, top_k: int, first_line: int) -> None:
        """Begin.

        Args:
            limits: the service's.
            top_k: for each line that does not say so itself.
            first_line: number of the first line.
        """
        self._limits, self._top_k, self.next_line = limits, top_k, first_line
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._held = b""

    def __len__(self) -> int:
        return len(self._lines)

    def offer(self, ad: AdLike) -> bool:
        """Put an ad behind the others; return False once the part is to be sent."""
        line = encoded({"top_k": self._top_k, **fields_of(ad)}) + b"\n"
        if self._lines and self._size + len(line) > self._limits.max_body_bytes:
            self._held = line
            return False
        self._add(line)
        return len(self._lines) < self._limits.max_batch_ads

    def begin_part(self) -> None:
        """Begin the next part, all of the last one being answered."""
        if self._held:
            self._add(self._held)
            self._held = b""

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)

    def headers(self) -> dict[str, str]:
        """Return the headers of the request with what is left."""
        return {"Content-Type": NDJSON, "X-First-Line": str(self.next_line)}

    def content(self) -> bytes:
        """Return its body."""
        return b"".join(self._lines)

    def take(self, content: bytes) -> StreamAnswer | StreamError:
        """Take a line of the answer: its ad waits no more.

        Raises:
            BusyError: the service ends the stream here; the rest is to be sent again.
            ForeignAnswerError: it is not the line that is due.
        """
        answer = parsed(content, LINE)
        if not self._lines or answer.line != self.next_line:
            raise ForeignAnswerError(f"Line {answer.line} was answered, not {self.next_line}.")
        if isinstance(answer, StreamError) and answer.resume:
            raise BusyError(answer.error)
        self.next_line += 1
        self._size -= len(self._lines.popleft())
        return answer

    def require_none(self) -> None:
        """Return if all is answered, as it has to be behind the end of an answer.

        Raises:
            UnreachableError: it ended before.
        """
        if self._lines:
            raise UnreachableError(f"The answer ended before line {self.next_line}.")
