"""The engine process's desk: requests of all front ends go to one batcher, and back."""

import asyncio
import time
from collections.abc import Callable, Iterable

import zmq

from app.core.errors import EngineError, FatalEngineError, NotReadyError, ServiceError
from app.core.types import FloatArray, Scores
from app.serving.request_trace import Trace
from app.serving.scheduling.admission import DRAINING
from app.serving.scheduling.lanes import Entry
from app.serving.scheduling.micro_batcher import MicroBatcher
from app.serving.workers import frames as framing
from app.serving.workers.zmq_channel import Channel


class EngineRequest:
    """A request of a front end, while one of its ads has no outcome yet."""

    __slots__ = ("left", "number", "sender", "settled", "trace")

    def __init__(self, sender: bytes, number: int, ads: int, request_id: str) -> None:
        self.sender, self.number, self.left = sender, number, ads
        self.trace = Trace(request_id)
        self.settled = False
        """Nobody waits for it any more: answered, failed or withdrawn."""


class ResultSlot:
    """One ad of an order; what the batcher tells of it goes to the order's front end."""

    __slots__ = ("_ad", "_broker", "_done", "order")

    def __init__(self, broker: "Broker", order: EngineRequest, ad: int) -> None:
        self._broker, self.order, self._ad, self._done = broker, order, ad, False

    def done(self) -> bool:
        """Tell whether it is known, or nobody wants it any more."""
        return self._done or self.order.settled

    def set_result(self, scores: Scores) -> None:
        """Answer the ad."""
        self._done = True
        self._broker.answer(self.order, self._ad, scores)

    def set_exception(self, error: Exception) -> None:
        """Fail the ad, and with it the order."""
        self._broker.fail(self.order, error)


class Broker:
    """Queues what front ends submit, and sends each all results of a batch at once."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        batcher: MicroBatcher,
        heads: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a bound ROUTER socket, the batcher with its clock, and the order of the heads."""
        self._batcher, self._heads, self._clock = batcher, tuple(heads), clock
        self._channel = Channel(socket, self._receive)
        self._orders: dict[bytes, dict[int, EngineRequest]] = {}
        self._gone: set[bytes] = set()
        self._found: dict[bytes, list[tuple[int, int, float]]] = {}
        self._rows: dict[bytes, list[FloatArray]] = {}

    def forget(self, sender: bytes) -> None:
        """Drop the work of a front end that is no more."""
        # Messages of its last moment may still come.
        self._gone.add(sender)
        for order in self._orders.pop(sender, {}).values():
            order.settled = True

    def close(self) -> None:
        """Take nothing more."""
        self._channel.close()

    def answer(self, order: EngineRequest, ad: int, scores: Scores) -> None:
        """Send an ad's scores, with those of the same batch."""
        if not self._found:
            asyncio.get_running_loop().call_soon(self._flush)
        found = (order.number, ad, order.trace.entered)
        self._found.setdefault(order.sender, []).append(found)
        rows = (scores.probabilities[head] for head in self._heads)
        self._rows.setdefault(order.sender, []).extend(rows)
        order.left -= 1
        if not order.left:
            self._settle(order)

    def fail(self, order: EngineRequest, error: Exception) -> None:
        """Send why an order failed; the rest of it is dropped."""
        self._settle(order)
        known = error if isinstance(error, ServiceError) else EngineError(str(error))
        self._channel.send([order.sender, *framing.fail(order.number, known)])

    def _receive(self, frames: list[bytes]) -> None:
        sender, kind = frames[:2]
        if sender in self._gone:
            return
        if kind == framing.SUBMIT:
            for submission in framing.submissions(frames[1:]):
                self._queue(sender, submission)
        elif kind == framing.CANCEL:
            orders = self._orders.get(sender, {})
            for number in framing.cancelled(frames[1:]):
                if order := orders.get(number):
                    self._settle(order)
        else:
            self._give_up(sender)

    def _queue(self, sender: bytes, submission: framing.Submission) -> None:
        ads = submission.encoded
        order = EngineRequest(sender, submission.number, len(ads), submission.request_id)
        now = self._clock()
        entries = [
            Entry(encoded, ResultSlot(self, order, ad), now, order.trace)
            for ad, encoded in enumerate(ads)
        ]
        self._orders.setdefault(sender, {})[order.number] = order
        try:
            self._batcher.add(entries, submission.lane)
        except FatalEngineError as error:
            self.fail(order, error)

    def _give_up(self, sender: bytes) -> None:
        """Fail what a front end waits for and no batch holds: it has no more time."""
        for entry in self._batcher.waiting():
            slot = entry.future
            if isinstance(slot, ResultSlot) and slot.order.sender == sender and not slot.done():
                self.fail(slot.order, NotReadyError(DRAINING))

    def _settle(self, order: EngineRequest) -> None:
        order.settled = True
        self._orders.get(order.sender, {}).pop(order.number, None)

    def _flush(self) -> None:
        for sender, found in self._found.items():
            self._channel.send([sender, *framing.send_results(found, self._rows[sender])])
        self._found, self._rows = {}, {}
