"""One contender's turn: answers checked, closed loops, a storm, and the next ad after it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.bench.http_client import LOST, ConnectionPool
from app.bench.load_generator import HELD_BACK, UNANSWERED, LoadPlan, RequestSamples
from tests.measurements.peers.asking import Asking, Questions, load
from tests.measurements.peers.serving import ServerError
from tests.measurements.peers.standing import Closed, Storm

OVERLOAD = 3.0
"""A storm offers this multiple of what the contender itself reached in the closed loops."""

USEFUL_SECONDS = 5.0
"""For so long after its ad was meant to be sent is an answer of use; then the client leaves."""

RETRY_SECONDS = 0.1
NEXT_AD_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""For so long are answers waited for that are due when a closed loop ends."""

OUTCOMES = {LOST: "lost", UNANSWERED: "left", HELD_BACK: "held back"}


def first_answer(
    address: str, asked: Questions, within: float, check: Callable[[], None] = lambda: None
) -> float | None:
    """Send the first ad until it is answered; return the time of the clock, or None.

    Args:
        address: where the server is, or will be.
        asked: the ads.
        within: seconds after which it is given up.
        check: called before each try; may raise.
    """

    async def main() -> float | None:
        links = ConnectionPool(address)
        asking = Asking(links.send, asked)
        try:
            async with asyncio.timeout(within):
                while True:
                    check()
                    reply = await asking.send(b"0", time.perf_counter())
                    if reply.status == 200:
                        return reply.ended
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            return None
        finally:
            links.close()

    return asyncio.run(main())


def check_answers(address: str, asked: Questions, expected: Sequence[Mapping[str, str]]) -> None:
    """See that all ads are answered with the labels that the checkpoint has for them.

    Raises:
        ServerError: one is not.
    """

    async def main() -> list[dict[str, str] | None]:
        links = ConnectionPool(address)
        try:
            asking = Asking(links.send, asked)
            return [await asking.labels(number) for number in range(len(expected))]
        finally:
            links.close()

    answers = asyncio.run(main())
    wrong = sum(found != labels for found, labels in zip(answers, expected, strict=True))
    if wrong:
        raise ServerError(f"{wrong} of {len(expected)} ads are not answered with our labels.")


def closed_loop(
    address: str, asked: Questions, connections: int, seconds: float, seed: int
) -> Closed:
    """Let a few clients ask for `seconds`, each for its next ad once it has an answer.

    Raises:
        ServerError: not one ad is answered.
    """
    plan = LoadPlan(
        address, asked.requests, connections=connections, warm_up=0.0, duration=seconds, seed=seed,
        patience=ANSWER_SECONDS,
    )  # fmt: skip
    shots, _ = load(plan, asked)
    return closed(shots, asked.contender.refusals)


def closed(shots: RequestSamples, refusals: frozenset[int]) -> Closed:
    """Return a closed loop's figures: all answers, by the time until the last of them.

    Some servers answer large batches at once, or work on everything in turns and answer nobody for
    long: counted in a window of time, their rate would depend on where it ends.

    Raises:
        ServerError: there is no answer.
    """
    answered = shots[shots["status"] == 200]
    found = outcomes(shots, refusals)
    if not len(answered):
        raise ServerError(f"No ad is answered in a closed loop: {found}.")
    last = float((answered["intended"] + answered["seconds"]).max())
    return Closed(len(answered) / last, float(np.median(answered["seconds"])) * 1000, found)


def storm(
    address: str, asked: Questions, greeting: Questions, rate: float, seconds: float, seed: int
) -> Storm:
    """Offer `rate` ads a second whatever comes back, from clients that leave; then one ad more.

    There is no warm-up: what a server answers before its queue has grown counts for it.
    """
    plan = LoadPlan(address, asked.requests, rate=rate, warm_up=0.0, duration=seconds, seed=seed)
    shots, _ = load(plan, asked, patience=USEFUL_SECONDS)
    begin = time.perf_counter()
    answered = first_answer(address, greeting, NEXT_AD_SECONDS)
    found = outcomes(shots, asked.contender.refusals)
    return Storm(
        offered=len(shots) / seconds,
        useful=useful(shots, seconds),
        outcomes=found,
        next_ad_seconds=None if answered is None else answered - begin,
    )


def useful(shots: RequestSamples, seconds: float) -> float:
    """Return the answers of use, a second, that came before the storm's end.

    What comes after it is what was queued: a short storm would show more than a server can do.
    """
    in_time = shots["seconds"] <= USEFUL_SECONDS
    before_the_end = shots["intended"] + shots["seconds"] <= seconds
    return float(((shots["status"] == 200) & in_time & before_the_end).sum()) / seconds


def outcomes(shots: RequestSamples, refusals: frozenset[int]) -> dict[str, int]:
    """Count what became of ads: useful, late, refused, left, lost, held back, or the status."""
    names = []
    for status, seconds in zip(shots["status"].tolist(), shots["seconds"].tolist(), strict=True):
        if status == 200:
            names.append("useful" if seconds <= USEFUL_SECONDS else "late")
        elif status in refusals:
            names.append("refused")
        else:
            names.append(OUTCOMES.get(status, str(status)))
    return dict(Counter(names).most_common())
