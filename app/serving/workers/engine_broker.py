"""The ROUTER side: queues the requests of all front ends in one batcher and sends results back."""

import asyncio
import time
from collections.abc import Callable, Iterable

import zmq

from app.core.errors import EngineError, FatalEngineError, NotReadyError, ServiceError
from app.core.types import FloatArray, Scores
from app.serving.request_trace import Trace
from app.serving.scheduling.admission import DRAINING
from app.serving.scheduling.lanes import QueuedAd
from app.serving.scheduling.micro_batcher import MicroBatcher
from app.serving.workers.frames import (
    CANCEL,
    REQUESTS,
    SubmittedRequest,
    decode_cancellation,
    decode_requests,
    encode_failure,
    encode_results,
)
from app.serving.workers.zmq_channel import ZmqChannel


class EngineRequest:
    """A front end's request of which some ads have no result yet."""

    __slots__ = ("number", "remaining", "sender", "settled", "trace")

    def __init__(self, sender: bytes, number: int, ads: int, request_id: str) -> None:
        self.sender, self.number, self.remaining = sender, number, ads
        self.trace = Trace(request_id)
        self.settled = False
        """Whether the request was answered, failed or cancelled: nothing more is sent for it."""


class ResultSlot:
    """Takes one ad's result from the batcher and sends it to the front end; a `ResultSink`."""

    __slots__ = ("_ad", "_broker", "_done", "request")

    def __init__(self, broker: "EngineBroker", request: EngineRequest, ad: int) -> None:
        self._broker, self.request, self._ad, self._done = broker, request, ad, False

    def done(self) -> bool:
        """Return whether the ad has a result or needs none any more."""
        return self._done or self.request.settled

    def set_result(self, scores: Scores) -> None:
        """Send the ad's scores."""
        self._done = True
        self._broker.send_scores(self.request, self._ad, scores)

    def set_exception(self, error: Exception) -> None:
        """Fail the ad's whole request."""
        self._broker.send_failure(self.request, error)


class EngineBroker:
    """Queues what front ends submit, and sends each front end all results of a batch at once.

    `sender` is a front end's ZeroMQ identity.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        batcher: MicroBatcher,
        heads: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start to take requests inside the running event loop.

        Args:
            socket: a bound ROUTER socket.
            batcher: already started.
            heads: the heads' names in the order in which their probabilities are sent.
            clock: seconds, the same clock as the batcher's.
        """
        self._batcher, self._heads, self._clock = batcher, tuple(heads), clock
        self._channel = ZmqChannel(socket, self._on_message)
        self._requests: dict[bytes, dict[int, EngineRequest]] = {}
        self._gone: set[bytes] = set()
        self._unsent_results: dict[bytes, list[tuple[int, int, float]]] = {}
        self._unsent_probabilities: dict[bytes, list[FloatArray]] = {}

    def drop_front_end(self, sender: bytes) -> None:
        """Drop the queued work of a front end that has ended."""
        # Its last messages may still arrive.
        self._gone.add(sender)
        for request in self._requests.pop(sender, {}).values():
            request.settled = True

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def send_scores(self, request: EngineRequest, ad: int, scores: Scores) -> None:
        """Send an ad's scores, in one message with the others of the same batch."""
        if not self._unsent_results:
            asyncio.get_running_loop().call_soon(self._flush)
        result = (request.number, ad, request.trace.entered)
        self._unsent_results.setdefault(request.sender, []).append(result)
        probabilities = (scores.probabilities[head] for head in self._heads)
        self._unsent_probabilities.setdefault(request.sender, []).extend(probabilities)
        request.remaining -= 1
        if not request.remaining:
            self._settle(request)

    def send_failure(self, request: EngineRequest, error: Exception) -> None:
        """Send a request's error; the batcher drops the ads that are left of it."""
        self._settle(request)
        known = error if isinstance(error, ServiceError) else EngineError(str(error))
        self._channel.send([request.sender, *encode_failure(request.number, known)])

    def _on_message(self, frames: list[bytes]) -> None:
        sender, kind = frames[:2]
        if sender in self._gone:
            return
        if kind == REQUESTS:
            for submitted in decode_requests(frames[1:]):
                self._queue(sender, submitted)
        elif kind == CANCEL:
            requests = self._requests.get(sender, {})
            for number in decode_cancellation(frames[1:]):
                if request := requests.get(number):
                    self._settle(request)
        else:
            self._fail_queued(sender)

    def _queue(self, sender: bytes, submitted: SubmittedRequest) -> None:
        ads = submitted.encoded
        request = EngineRequest(sender, submitted.number, len(ads), submitted.request_id)
        now = self._clock()
        entries = [
            QueuedAd(encoded, ResultSlot(self, request, ad), now, request.trace)
            for ad, encoded in enumerate(ads)
        ]
        self._requests.setdefault(sender, {})[request.number] = request
        try:
            self._batcher.add(entries, submitted.lane)
        except FatalEngineError as error:
            self.send_failure(request, error)

    def _fail_queued(self, sender: bytes) -> None:
        """Fail a front end's requests that wait for a batch: its grace period is over."""
        for entry in self._batcher.waiting():
            slot = entry.future
            if isinstance(slot, ResultSlot) and slot.request.sender == sender and not slot.done():
                self.send_failure(slot.request, NotReadyError(DRAINING))

    def _settle(self, request: EngineRequest) -> None:
        request.settled = True
        self._requests.get(request.sender, {}).pop(request.number, None)

    def _flush(self) -> None:
        for sender, results in self._unsent_results.items():
            probabilities = self._unsent_probabilities[sender]
            self._channel.send([sender, *encode_results(results, probabilities)])
        self._unsent_results, self._unsent_probabilities = {}, {}
