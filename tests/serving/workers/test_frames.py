import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import EngineError, FatalEngineError, NotReadyError, OverloadedError
from app.core.types import Encoded
from app.serving.scheduling.lanes import Lane
from app.serving.workers import frames as framing

numbers = st.integers(min_value=0, max_value=2**64 - 1)
ids = st.lists(st.integers(min_value=0, max_value=2**31 - 1), min_size=1, max_size=40)
ads = st.lists(ids, min_size=1, max_size=4).map(
    lambda windows: Encoded(tuple(np.array(window, dtype=np.int32) for window in windows))
)
request_ids = st.from_regex(r"[A-Za-z0-9._:-]{0,128}", fullmatch=True)
requests = st.builds(
    framing.Submission,
    numbers,
    st.sampled_from(Lane),
    request_ids,
    st.lists(ads, min_size=1, max_size=5),
)


def plain(submission: framing.Submission) -> tuple:
    windows = [[w.tolist() for w in encoded.windows] for encoded in submission.encoded]
    return submission.number, submission.lane, submission.request_id, windows


@settings(deadline=None)
@given(st.lists(requests, min_size=1, max_size=8))
def test_requests_come_back_as_they_were_sent(sent):
    frames = framing.submit(sent)
    assert frames[0] == framing.SUBMIT
    assert all(isinstance(frame, bytes) for frame in frames)
    received = list(framing.submissions(frames))
    assert [plain(one) for one in received] == [plain(one) for one in sent]
    assert all(w.dtype == np.int32 for one in received for e in one.encoded for w in e.windows)


rows = st.lists(
    st.floats(min_value=0, max_value=1, width=32, allow_nan=False), min_size=3, max_size=3
)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(numbers, st.integers(0, 2**32 - 1), st.floats(0, 1e9), rows),
        min_size=1,
        max_size=20,
    )
)
def test_results_come_back_bit_by_bit(sent):
    found = [one[:3] for one in sent]
    # Two heads, of two labels and of one.
    parts = [np.array(part, dtype=np.float32) for one in sent for part in (one[3][:2], one[3][2:])]
    received = list(framing.results(framing.send_results(found, parts)))
    assert [(one.number, one.ad, one.begun) for one in received] == found
    assert [one.row.tolist() for one in received] == [one[3] for one in sent]


@settings(deadline=None)
@given(st.lists(numbers))
def test_cancelled_numbers_come_back(sent):
    assert framing.cancelled(framing.cancel(sent)) == sent


@pytest.mark.parametrize(
    "error",
    [
        EngineError("Der Text passt nicht."),
        FatalEngineError("The device failed."),
        NotReadyError("The service is shutting down."),
        OverloadedError("Too much work is waiting; try again in 7 s.", 7, "queue_late"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_keeps_its_kind_its_sentence_and_what_it_says_of_time(error):
    number, received = framing.failure(framing.fail(2**40, error))
    assert number == 2**40
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert vars(received) == vars(error)
