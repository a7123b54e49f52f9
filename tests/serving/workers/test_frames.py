import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import EngineError, FatalEngineError, NotReadyError, OverloadedError
from app.core.types import EncodedAd
from app.serving.scheduling.lanes import Lane
from app.serving.workers.frames import (
    REQUESTS,
    SubmittedRequest,
    decode_cancellation,
    decode_failure,
    decode_requests,
    decode_results,
    encode_cancellation,
    encode_failure,
    encode_requests,
    encode_results,
)

numbers = st.integers(min_value=0, max_value=2**64 - 1)
ids = st.lists(st.integers(min_value=0, max_value=2**31 - 1), min_size=1, max_size=40)
ads = st.lists(ids, min_size=1, max_size=4).map(
    lambda windows: EncodedAd(tuple(np.array(window, dtype=np.int32) for window in windows))
)
request_ids = st.from_regex(r"[A-Za-z0-9._:-]{0,128}", fullmatch=True)
requests = st.builds(
    SubmittedRequest,
    numbers,
    st.sampled_from(Lane),
    request_ids,
    st.lists(ads, min_size=1, max_size=5),
)


def comparable(request: SubmittedRequest) -> tuple:
    windows = [[w.tolist() for w in encoded.windows] for encoded in request.encoded]
    return request.number, request.lane, request.request_id, windows


@settings(deadline=None)
@given(st.lists(requests, min_size=1, max_size=8))
def test_decoded_requests_equal_the_encoded_ones(sent):
    frames = encode_requests(sent)
    assert frames[0] == REQUESTS
    assert all(isinstance(frame, bytes) for frame in frames)
    received = list(decode_requests(frames))
    assert [comparable(one) for one in received] == [comparable(one) for one in sent]
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
def test_decoded_results_equal_the_encoded_ones_bit_by_bit(sent):
    results = [one[:3] for one in sent]
    # Two heads: one with two labels, one with one.
    probabilities = [
        np.array(head, dtype=np.float32) for one in sent for head in (one[3][:2], one[3][2:])
    ]
    received = list(decode_results(encode_results(results, probabilities)))
    assert [(one.number, one.ad, one.batch_started) for one in received] == results
    assert [one.probabilities.tolist() for one in received] == [one[3] for one in sent]


@settings(deadline=None)
@given(st.lists(numbers))
def test_decoded_cancellations_equal_the_encoded_ones(sent):
    assert decode_cancellation(encode_cancellation(sent)) == sent


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
def test_a_decoded_error_keeps_class_sentence_reason_and_retry_time(error):
    number, received = decode_failure(encode_failure(2**40, error))
    assert number == 2**40
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert vars(received) == vars(error)
