"""A `Batcher` that sends ads to engine processes over ZeroMQ."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import accumulate, count, pairwise

import zmq

from app.core.errors import FatalEngineError, NotReadyError, ServiceError
from app.core.types import EncodedAd, Labels, Scores
from app.serving.request_trace import BATCH, QUEUE, Trace, current
from app.serving.scheduling.admission import DRAINING, LOST, REPLACED, AdmissionController, Ticket
from app.serving.workers.frames import (
    FAIL_QUEUED,
    RESULTS,
    AdResult,
    SubmittedRequest,
    decode_failure,
    decode_results,
    encode_cancellation,
    encode_requests,
)
from app.serving.workers.zmq_channel import ZmqChannel


class PendingRequest:
    """A request that waits for the scores of its ads."""

    __slots__ = ("encoded", "future", "remaining", "scores", "ticket", "trace")

    def __init__(self, encoded: Sequence[EncodedAd], ticket: Ticket) -> None:
        self.encoded, self.ticket = encoded, ticket
        self.future: asyncio.Future[list[Scores]] = asyncio.get_running_loop().create_future()
        self.scores: list[Scores | None] = [None] * len(encoded)
        self.remaining = len(encoded)
        self.trace: Trace = current()


class EngineConnection:
    """The connection to one engine process.

    Requests and cancellations of one turn of the event loop go out together, at its end.
    """

    def __init__(self, socket: zmq.Socket[bytes], batcher: "RemoteBatcher") -> None:
        self._channel = ZmqChannel(socket, batcher.on_message)
        self._submitted: list[SubmittedRequest] = []
        self._cancelled: list[int] = []

    def submit(self, request: SubmittedRequest) -> None:
        """Send a request."""
        self._flush_soon()
        self._submitted.append(request)

    def cancel(self, number: int) -> None:
        """Take a request out of the engine's queue."""
        self._flush_soon()
        self._cancelled.append(number)

    def fail_queued(self) -> None:
        """Let the engine fail all requests of this front end that are in no batch yet."""
        self._flush()
        self._channel.send([FAIL_QUEUED])

    def close(self) -> None:
        """Close the socket; what has not been sent is dropped."""
        self._channel.close()
        self._submitted, self._cancelled = [], []

    def _flush_soon(self) -> None:
        if not self._submitted and not self._cancelled:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._submitted:
            self._channel.send(encode_requests(self._submitted))
        # After the requests, because one of them may already be cancelled.
        if self._cancelled:
            self._channel.send(encode_cancellation(self._cancelled))
        self._submitted, self._cancelled = [], []


class RemoteBatcher:
    """Sends admitted ads to the engine they were admitted for, and returns their scores.

    Every request is settled: by success, failure, cancellation or shutdown. A deadline is a
    cancellation by the caller.
    """

    def __init__(
        self,
        admission: AdmissionController,
        sockets: Sequence[zmq.Socket[bytes]],
        labels: Mapping[str, Labels],
    ) -> None:
        """Set the batcher up; `start` begins to read.

        Args:
            admission: admission control, which all batchers of this process share.
            sockets: a connected DEALER socket for each engine that `admission` knows.
            labels: of each head, in the order in which the engine processes send them.
        """
        self.admission, self._sockets = admission, sockets
        bounds = pairwise(accumulate((len(names) for names in labels.values()), initial=0))
        self._columns = {head: slice(*both) for head, both in zip(labels, bounds, strict=True)}
        self._engines: list[EngineConnection] = []
        self._pending: dict[int, PendingRequest] = {}
        self._numbers = count(1)
        self._closed_with: ServiceError | None = None

    def start(self) -> None:
        """Begin to read results; call it once, inside the event loop."""
        self._engines = [EngineConnection(socket, self) for socket in self._sockets]

    async def classify(self, encoded: Sequence[EncodedAd], ticket: Ticket) -> list[Scores]:
        """Send the ads of an admitted request and return their scores in order.

        Cancelling the call takes its ads out of the engine's queue.

        Raises:
            EngineError: one of the ads failed.
            OverloadedError: the engine became so slow that they waited too long after admission.
            NotReadyError: the service was shut down before they were answered.
        """
        if self._closed_with:
            raise type(self._closed_with)(str(self._closed_with))
        ticket.correct(sum(item.tokens for item in encoded))
        number, request = next(self._numbers), PendingRequest(encoded, ticket)
        engine = self._engines[ticket.load.number]
        self._pending[number] = request
        request_id = request.trace.request_id
        engine.submit(SubmittedRequest(number, ticket.lane, request_id, encoded))
        try:
            return await request.future
        finally:
            if self._pending.pop(number, None):
                engine.cancel(number)

    async def drain(self, grace_seconds: float) -> None:
        """Admit nothing more, and finish what was admitted.

        Ads that are in no batch after the grace period get a `NotReadyError`.
        """
        refusal = self.admission.close(DRAINING)
        try:
            async with asyncio.timeout(grace_seconds):
                await self.admission.emptied()
        except TimeoutError:
            for engine in self._engines:
                engine.fail_queued()
            waiting = [request.future for request in self._pending.values()]
            await asyncio.gather(*waiting, return_exceptions=True)
        self._close(self._closed_with or refusal)

    async def retire(self) -> None:
        """Close the connections once no request waits; admission stays open for the successor."""
        self._close(self._closed_with or NotReadyError(REPLACED))

    def fail_all(self, error: FatalEngineError) -> None:
        """Fail all requests and admit no more: an engine is lost, and the service has to end."""
        self._closed_with = error
        self.admission.close(LOST)
        pending, self._pending = self._pending, {}
        for request in pending.values():
            self._fail(request, FatalEngineError(str(error)))

    def on_message(self, frames: list[bytes]) -> None:
        """Handle a message of an engine process: results, or one request's failure."""
        if frames[0] == RESULTS:
            for result in decode_results(frames):
                self._store(result)
            return
        number, error = decode_failure(frames)
        if request := self._pending.pop(number, None):
            self._fail(request, error)

    def _close(self, reason: ServiceError) -> None:
        self._closed_with = reason
        for engine in self._engines:
            engine.close()

    def _store(self, result: AdResult) -> None:
        request = self._pending.get(result.number)
        if request is None:  # its caller has left
            return
        if request.trace.stage == QUEUE:
            request.trace.enter(BATCH, result.batch_started)
        probabilities = result.probabilities
        request.scores[result.ad] = Scores(
            {head: probabilities[columns] for head, columns in self._columns.items()}
        )
        request.ticket.change(-1, -request.encoded[result.ad].tokens)
        request.remaining -= 1
        if not request.remaining:
            del self._pending[result.number]
            if not request.future.done():
                request.future.set_result([one for one in request.scores if one is not None])

    def _fail(self, request: PendingRequest, error: ServiceError) -> None:
        if not request.future.done():
            request.future.set_exception(error)
