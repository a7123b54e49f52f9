"""Buffers the lines of a stream that have no answer yet."""

from collections import deque

from pydantic import TypeAdapter

from app.client.encoding import AdLike, ad_fields, parse_answer, to_json
from app.client.errors import BusyError, ForeignAnswerError, UnreachableError
from app.schemas.model import Limits
from app.schemas.ndjson import NDJSON
from app.schemas.stream import StreamAnswer, StreamError

LINE_ANSWER: TypeAdapter[StreamAnswer | StreamError] = TypeAdapter(StreamAnswer | StreamError)


class StreamBuffer:
    """One part of a stream: the lines of one request, each kept until it is answered.

    Most HTTP libraries, httpx among them, and most proxies send a whole request before they read
    its response. So a stream is sent in parts, each a request of at most as many ads and bytes as
    the service admits at once, whose line numbers continue those of the previous part. After a
    failure the lines without an answer are sent again.

    Args:
        limits: of the service.
        top_k: labels for each head, for ads without a `top_k` of their own.
        first_line: number of the first line.
    """

    def __init__(self, limits: Limits, top_k: int, first_line: int) -> None:
        self._limits, self._top_k, self.next_line = limits, top_k, first_line
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._next_part = b""

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, ad: AdLike) -> bool:
        """Append an ad; return False when the part is full and has to be sent."""
        line = to_json({"top_k": self._top_k, **ad_fields(ad)}) + b"\n"
        if self._lines and self._size + len(line) > self._limits.max_body_bytes:
            self._next_part = line
            return False
        self._append(line)
        return len(self._lines) < self._limits.max_batch_ads

    def start_part(self) -> None:
        """Start the next part; all lines of the last one have to be answered."""
        if self._next_part:
            self._append(self._next_part)
            self._next_part = b""

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)

    def headers(self) -> dict[str, str]:
        """Return the headers of the request that sends the unanswered lines."""
        return {"Content-Type": NDJSON, "X-First-Line": str(self.next_line)}

    def content(self) -> bytes:
        """Return the body of that request."""
        return b"".join(self._lines)

    def take(self, content: bytes) -> StreamAnswer | StreamError:
        """Parse the next line of the response, and drop the line it answers.

        Raises:
            BusyError: the service ends the stream; the remaining lines have to be sent again.
            ForeignAnswerError: it is not the answer to the next line.
        """
        answer = parse_answer(content, LINE_ANSWER)
        if not self._lines or answer.line != self.next_line:
            raise ForeignAnswerError(f"Line {answer.line} was answered, not {self.next_line}.")
        if isinstance(answer, StreamError) and answer.resume:
            raise BusyError(answer.error)
        self.next_line += 1
        self._size -= len(self._lines.popleft())
        return answer

    def check_all_answered(self) -> None:
        """Check, at the end of a response, that it has answered all lines.

        Raises:
            UnreachableError: it ended early.
        """
        if self._lines:
            raise UnreachableError(f"The answer ended before line {self.next_line}.")
