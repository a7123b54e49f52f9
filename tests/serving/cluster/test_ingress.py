"""The ingress replica's metrics; `tests/acceptance/test_cluster.py` has a real cluster."""

import asyncio
import warnings

import pytest

from app.core.errors import NotReadyError

with warnings.catch_warnings():
    # Ray gives warnings of its own libraries at import.
    warnings.simplefilter("ignore")
    from app.serving.cluster.ingress import metrics_of_replicas


class FakeDeployment:
    """A deployment whose replicas return these results of `exposition`."""

    def __init__(self, *results):
        self.results = results

    def broadcast(self, method):
        assert method == "exposition"
        return self

    async def results_async(self, *, timeout_s, return_exceptions):
        assert timeout_s > 0
        if isinstance(self.results[0], TimeoutError):
            raise self.results[0]
        assert return_exceptions
        return list(self.results)


def test_metrics_leave_out_a_replica_that_died():
    found = asyncio.run(
        metrics_of_replicas(FakeDeployment(("one", "a 1"), RuntimeError("died"), ("two", "a 2")))
    )
    assert found == [("one", "a 1"), ("two", "a 2")]


def test_metrics_fail_if_a_replica_does_not_answer():
    with pytest.raises(NotReadyError, match="Not all replicas"):
        asyncio.run(metrics_of_replicas(FakeDeployment(TimeoutError())))
