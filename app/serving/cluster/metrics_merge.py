"""The metrics of all replicas of a cluster as one text, each series with its replica's name."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

OF_INGRESS = (
    "doppelkopf_requests",
    "doppelkopf_request_seconds",
    "doppelkopf_stream_lines",
    "doppelkopf_rejected",
    "process_",
)
"""How the families begin that an ingress knows of; of all others, engines do."""


class MergedMetrics(Collector):
    """Texts in Prometheus' format, put together.

    They are not added up: a replica that goes would take its counters out of the sum, which
    Prometheus would take for a restart of all.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def add(self, replica: str, text: str, only: tuple[str, ...] = ("",)) -> None:
        """Add what one replica tells.

        Args:
            replica: its name.
            text: in Prometheus' format.
            only: how the names of the families begin that are taken.
        """
        for found in text_string_to_metric_families(text):
            if not found.name.startswith(only):
                continue
            family = self._families.setdefault(
                found.name, Metric(found.name, found.documentation, found.type)
            )
            for sample in found.samples:
                labels = {**sample.labels, "replica": replica}
                family.add_sample(sample.name, labels, sample.value)

    def collect(self) -> Iterator[Metric]:
        """Give all families."""
        yield from self._families.values()

    def text(self) -> bytes:
        """Return all of it in Prometheus' format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
