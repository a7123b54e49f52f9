"""Merges the metrics of a cluster's replicas into one text, with a label `replica`."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

INGRESS_METRICS = (
    "doppelkopf_requests",
    "doppelkopf_request_seconds",
    "doppelkopf_stream_lines",
    "doppelkopf_rejected",
    "process_",
)
"""Prefixes of the metrics that ingress replicas record; engine replicas record all others."""


class MergedMetrics(Collector):
    """The metrics of several replicas, each series labelled with its replica.

    They are not summed: when a replica ends, the sum would fall by its counters, which Prometheus
    would interpret as a restart of all replicas.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def add(self, replica: str, text: str, prefixes: tuple[str, ...] = ("",)) -> None:
        """Add the metrics of one replica.

        Args:
            replica: its name.
            text: its metrics in Prometheus' text format.
            prefixes: only metrics whose names start with one of them are added.
        """
        for added in text_string_to_metric_families(text):
            if not added.name.startswith(prefixes):
                continue
            family = self._families.setdefault(
                added.name, Metric(added.name, added.documentation, added.type)
            )
            for sample in added.samples:
                labels = {**sample.labels, "replica": replica}
                family.add_sample(sample.name, labels, sample.value)

    def collect(self) -> Iterator[Metric]:
        """Yield the merged metrics, for the registry."""
        yield from self._families.values()

    def text(self) -> bytes:
        """Return the merged metrics in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
