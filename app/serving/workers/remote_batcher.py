"""The engine processes as a front end sees them: the batcher's part, played from afar."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import accumulate, count, pairwise

import zmq

from app.core.errors import FatalEngineError, NotReadyError, ServiceError
from app.core.types import Encoded, Labels, Scores
from app.serving.request_trace import BATCH, QUEUE, Trace, current
from app.serving.scheduling.admission import DRAINING, LOST, REPLACED, AdmissionController, Ticket
from app.serving.workers import frames as framing
from app.serving.workers.zmq_channel import Channel


class PendingRequest:
    """A request that waits for its scores."""

    __slots__ = ("admission", "encoded", "future", "left", "scores", "trace")

    def __init__(self, encoded: Sequence[Encoded], admission: Ticket) -> None:
        self.encoded, self.admission = encoded, admission
        self.future: asyncio.Future[list[Scores]] = asyncio.get_running_loop().create_future()
        self.scores: list[Scores | None] = [None] * len(encoded)
        self.left = len(encoded)
        self.trace: Trace = current()


class EngineConnection:
    """One engine process, and what goes to it at the end of this turn of the event loop."""

    def __init__(self, socket: zmq.Socket[bytes], remote: "RemoteBatcher") -> None:
        self._channel = Channel(socket, remote.receive)
        self._submissions: list[framing.Submission] = []
        self._cancelled: list[int] = []

    def submit(self, submission: framing.Submission) -> None:
        """Send a request."""
        self._flush_soon()
        self._submissions.append(submission)

    def cancel(self, number: int) -> None:
        """Let a request be dropped."""
        self._flush_soon()
        self._cancelled.append(number)

    def give_up(self) -> None:
        """Let everything be dropped that has not begun."""
        self._flush()
        self._channel.send([framing.GIVE_UP])

    def close(self) -> None:
        """Send and take nothing more."""
        self._channel.close()
        self._submissions, self._cancelled = [], []

    def _flush_soon(self) -> None:
        if not self._submissions and not self._cancelled:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._submissions:
            self._channel.send(framing.submit(self._submissions))
        # Behind the requests: among them may be one that is cancelled already.
        if self._cancelled:
            self._channel.send(framing.cancel(self._cancelled))
        self._submissions, self._cancelled = [], []


class RemoteBatcher:
    """Sends admitted ads to the engine that they were admitted for, and settles what comes back.

    Every request is settled: by success, failure, cancellation or shutdown. A deadline is a
    cancellation by the caller.
    """

    def __init__(
        self,
        house: AdmissionController,
        sockets: Sequence[zmq.Socket[bytes]],
        labels: Mapping[str, Labels],
    ) -> None:
        """Take the house, a connected DEALER socket for each of its accounts, and the heads."""
        self.house, self._sockets = house, sockets
        bounds = pairwise(accumulate((len(names) for names in labels.values()), initial=0))
        self._columns = {head: slice(*both) for head, both in zip(labels, bounds, strict=True)}
        self._engines: list[EngineConnection] = []
        self._orders: dict[int, PendingRequest] = {}
        self._numbers = count(1)
        self._end: ServiceError | None = None

    def start(self) -> None:
        """Begin to listen; call it once, inside the event loop."""
        self._engines = [EngineConnection(socket, self) for socket in self._sockets]

    async def classify(self, encoded: Sequence[Encoded], admission: Ticket) -> list[Scores]:
        """Send the ads of an admitted request and return their scores in order.

        Cancelling the call takes its ads out of the engine's queue.

        Raises:
            EngineError: one of the ads failed.
            OverloadedError: the engine became so slow that they waited too long after all.
            NotReadyError: the service was shut down before they were answered.
        """
        if self._end:
            raise type(self._end)(str(self._end))
        admission.correct(sum(item.tokens for item in encoded))
        number, order = next(self._numbers), PendingRequest(encoded, admission)
        engine = self._engines[admission.account.number]
        self._orders[number] = order
        engine.submit(framing.Submission(number, admission.lane, order.trace.request_id, encoded))
        try:
            return await order.future
        finally:
            if self._orders.pop(number, None):
                engine.cancel(number)

    async def drain(self, grace_seconds: float) -> None:
        """Admit nothing more, and finish what was admitted.

        What no engine has begun after the grace period gets a `NotReadyError`.
        """
        refusal = self.house.close(DRAINING)
        try:
            async with asyncio.timeout(grace_seconds):
                await self.house.emptied()
        except TimeoutError:
            for engine in self._engines:
                engine.give_up()
            waiting = [order.future for order in self._orders.values()]
            await asyncio.gather(*waiting, return_exceptions=True)
        self._end = self._end or refusal
        for engine in self._engines:
            engine.close()

    async def retire(self) -> None:
        """Send and take nothing more, once nobody waits; the house stays open to others."""
        self._end = self._end or NotReadyError(REPLACED)
        for engine in self._engines:
            engine.close()

    def lose(self, error: FatalEngineError) -> None:
        """Settle everyone: an engine is lost, and the service has to end."""
        self._end = error
        self.house.close(LOST)
        orders, self._orders = self._orders, {}
        for order in orders.values():
            self._fail(order, FatalEngineError(str(error)))

    def receive(self, frames: list[bytes]) -> None:
        """Take a message of an engine."""
        if frames[0] == framing.RESULTS:
            for result in framing.results(frames):
                self._take(result)
            return
        number, error = framing.failure(frames)
        if order := self._orders.pop(number, None):
            self._fail(order, error)

    def _take(self, result: framing.Result) -> None:
        order = self._orders.get(result.number)
        if order is None:  # its caller has left meanwhile
            return
        if order.trace.stage == QUEUE:
            order.trace.enter(BATCH, result.begun)
        row = result.row
        order.scores[result.ad] = Scores(
            {head: row[columns] for head, columns in self._columns.items()}
        )
        order.admission.change(-1, -order.encoded[result.ad].tokens)
        order.left -= 1
        if not order.left:
            del self._orders[result.number]
            if not order.future.done():
                order.future.set_result([one for one in order.scores if one is not None])

    def _fail(self, order: PendingRequest, error: ServiceError) -> None:
        if not order.future.done():
            order.future.set_exception(error)
