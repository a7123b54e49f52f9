"""The phases of a measurement: check of answers, closed loops, overload, and one ad after it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.bench.http_client import LOST, ConnectionPool
from app.bench.load_generator import HELD_BACK, UNANSWERED, LoadPlan, RequestSamples
from tests.measurements.peers.ad_requests import AdRequests, AdSender, load
from tests.measurements.peers.peer_server import ServerError
from tests.measurements.peers.results import ClosedLoopFigures, OverloadFigures

OVERLOAD = 3.0
"""The rate of the overload, as a multiple of the contender's best rate in the closed loops."""

USEFUL_SECONDS = 5.0
"""Seconds from the intended sending after which an answer is useless and the client leaves."""

RETRY_SECONDS = 0.1
NEXT_AD_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""Seconds to wait for outstanding answers at the end of a closed loop."""

OUTCOMES = {LOST: "lost", UNANSWERED: "left", HELD_BACK: "held back"}


def wait_for_answer(
    address: str, ads: AdRequests, within: float, check: Callable[[], None] = lambda: None
) -> float | None:
    """Send the first ad repeatedly until it is answered.

    Args:
        address: of the server, which may still be starting.
        ads: of which the first is sent.
        within: seconds until it gives up.
        check: called before each try; may raise.

    Returns:
        The time of the answer by `time.perf_counter`, or None.
    """

    async def main() -> float | None:
        links = ConnectionPool(address)
        sender = AdSender(links.send, ads)
        try:
            async with asyncio.timeout(within):
                while True:
                    check()
                    reply = await sender.send(b"0", time.perf_counter())
                    if reply.status == 200:
                        return reply.ended
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            return None
        finally:
            links.close()

    return asyncio.run(main())


def check_labels(address: str, ads: AdRequests, expected: Sequence[Mapping[str, str]]) -> None:
    """Check that all ads are answered with the labels of the checkpoint.

    Raises:
        ServerError: an answer is missing or different.
    """

    async def main() -> list[dict[str, str] | None]:
        links = ConnectionPool(address)
        try:
            sender = AdSender(links.send, ads)
            return [await sender.labels(number) for number in range(len(expected))]
        finally:
            links.close()

    answers = asyncio.run(main())
    wrong = sum(found != labels for found, labels in zip(answers, expected, strict=True))
    if wrong:
        raise ServerError(f"{wrong} of {len(expected)} ads are not answered with our labels.")


def run_closed_loop(
    address: str, ads: AdRequests, connections: int, seconds: float, seed: int
) -> ClosedLoopFigures:
    """Send ads over some connections for `seconds`, each after the answer to the one before.

    Raises:
        ServerError: no ad is answered.
    """
    plan = LoadPlan(
        address, ads.requests, connections=connections, warm_up=0.0, duration=seconds, seed=seed,
        patience=ANSWER_SECONDS,
    )  # fmt: skip
    shots, _ = load(plan, ads)
    return closed_loop_figures(shots, ads.contender.refusals)


def closed_loop_figures(shots: RequestSamples, refusals: frozenset[int]) -> ClosedLoopFigures:
    """Return a closed loop's figures; the rate is all answers over the time of the last one.

    Some servers answer in large groups. Their rate in a fixed span would depend on where it ends.

    Raises:
        ServerError: no ad is answered.
    """
    answered = shots[shots["status"] == 200]
    found = outcomes(shots, refusals)
    if not len(answered):
        raise ServerError(f"No ad is answered in a closed loop: {found}.")
    last = float((answered["intended"] + answered["seconds"]).max())
    return ClosedLoopFigures(
        len(answered) / last, float(np.median(answered["seconds"])) * 1000, found
    )


def run_overload(
    address: str, ads: AdRequests, short_ad: AdRequests, rate: float, seconds: float, seed: int
) -> OverloadFigures:
    """Send `rate` ads a second in an open loop, whose clients leave; then wait for one more ad.

    There is no warm-up, so answers from before the queue has grown count too.
    """
    plan = LoadPlan(address, ads.requests, rate=rate, warm_up=0.0, duration=seconds, seed=seed)
    shots, _ = load(plan, ads, leave_after=USEFUL_SECONDS)
    begin = time.perf_counter()
    answered = wait_for_answer(address, short_ad, NEXT_AD_SECONDS)
    found = outcomes(shots, ads.contender.refusals)
    return OverloadFigures(
        offered=len(shots) / seconds,
        useful=useful(shots, seconds),
        outcomes=found,
        next_ad_seconds=None if answered is None else answered - begin,
    )


def useful(shots: RequestSamples, seconds: float) -> float:
    """Return the useful answers a second until the end of the overload.

    Later answers come from the queue: with them, a short overload would show more than the server's
    capacity.
    """
    in_time = shots["seconds"] <= USEFUL_SECONDS
    before_the_end = shots["intended"] + shots["seconds"] <= seconds
    return float(((shots["status"] == 200) & in_time & before_the_end).sum()) / seconds


def outcomes(shots: RequestSamples, refusals: frozenset[int]) -> dict[str, int]:
    """Count ads by outcome: useful, late, refused, left, lost, held back, or the status."""
    names = []
    for status, seconds in zip(shots["status"].tolist(), shots["seconds"].tolist(), strict=True):
        if status == 200:
            names.append("useful" if seconds <= USEFUL_SECONDS else "late")
        elif status in refusals:
            names.append("refused")
        else:
            names.append(OUTCOMES.get(status, str(status)))
    return dict(Counter(names).most_common())
