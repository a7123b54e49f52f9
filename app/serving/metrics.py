"""Every Prometheus metric and every bucket, on an injected registry.

Where several processes serve together, each writes its values to files in one folder, and the
process that is scraped merges them: the library's multiprocess mode. It is on if the environment
variable `PROMETHEUS_MULTIPROC_DIR` is set before the library is imported.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.core.types import Labels, Prediction

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

REJECTIONS = ("queue_full", "queue_slow", "queue_late", "explain_busy")
LINE_STATUSES = ("200", "400", "413", "422", "500")
FAILURES = ("batch", "ad", "fatal")
MODEL_INFO = "doppelkopf_model_info"
SWAPS = ("ok", "unchanged", "refused")

MergeMode = Literal["livesum", "livemax", "livemin", "livemostrecent"]

# Otherwise each counter has a second series with its time of creation.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one service; each outcome is recorded in one place.

    Args:
        registry: where they are registered; a new one by default.
        status: the file of `Supervision` where several processes serve together; None where
            this process serves alone.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, status: Path | None = None
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._supervision = None if status is None else Supervision(status)
        self._sampled: list[tuple[Gauge, Callable[[], float]]] = []
        self._model: tuple[str, ...] = ()
        self._declare_requests()
        self._declare_batches()
        self._declare_admission()
        self._declare_predictions()
        self._declare_model()
        # Memory, CPU seconds, open files and start time of each process.
        if self._supervision:
            self.registry.register(self._supervision)
        else:
            ProcessCollector(registry=self.registry)
        for counter, values in (
            (self.rejected, REJECTIONS),
            (self.stream_lines, LINE_STATUSES),
            (self.engine_failures, FAILURES),
            (self.swaps, SWAPS),
        ):
            for value in values:
                counter.labels(value)

    def _declare_requests(self) -> None:
        self.requests = self._counter("doppelkopf_requests", "Requests answered", "route", "status")
        self.request_seconds = self._histogram(
            "doppelkopf_request_seconds",
            "Seconds from a request's first byte to its answer's last",
            SECONDS,
            "route",
        )
        self.stream_lines = self._counter(
            "doppelkopf_stream_lines",
            "Lines of streams answered, by the status each would have as a request",
            "status",
        )
        self.tokenize_seconds = self._histogram(
            "doppelkopf_tokenize_seconds", "Seconds of tokenizing one request's ads", SECONDS
        )

    def _declare_batches(self) -> None:
        self.queue_seconds = self._histogram(
            "doppelkopf_queue_seconds", "Seconds an ad waited for its batch to start", SECONDS
        )
        self.batch_seconds = self._histogram(
            "doppelkopf_batch_seconds", "Seconds of one batch in the engine", SECONDS
        )
        self.batch_ads = self._histogram("doppelkopf_batch_ads", "Ads of one batch", ADS)
        self.batch_tokens = self._histogram(
            "doppelkopf_batch_tokens", "Tokens of one batch", TOKENS
        )
        self.max_batch_tokens = self._gauge(
            "doppelkopf_max_batch_tokens",
            "The setting in force: tokens of the largest batch",
            "livemax",
        )
        self.engine_failures = self._counter(
            "doppelkopf_engine_failures",
            "Failures of the engine: a whole batch, one ad of a batch, or the device",
            "kind",
        )

    def _declare_admission(self) -> None:
        self.queued_ads = self._gauge(
            "doppelkopf_queued_ads", "Ads admitted and not yet answered", "livesum"
        )
        self.queued_tokens = self._gauge(
            "doppelkopf_queued_tokens",
            "Tokens admitted and not yet answered, estimated until tokenized",
            "livesum",
        )
        self.queued_seconds = self._gauge(
            "doppelkopf_queued_seconds",
            "Seconds that the engine needs for the queued tokens, at its measured rate",
            "livemostrecent",
        )
        self.max_queue_seconds = self._gauge(
            "doppelkopf_max_queue_seconds",
            "The setting: queued seconds above which requests are refused",
            "livemax",
        )
        self.ready = self._gauge(
            "doppelkopf_ready", "1 while ads are classified, else 0", "livemin"
        )
        self.rejected = self._counter("doppelkopf_rejected", "Requests refused with 429", "reason")

    def _declare_predictions(self) -> None:
        self.predictions = self._counter(
            "doppelkopf_predictions", "Ads by predicted label", "head", "label"
        )
        self.confidence = self._histogram(
            "doppelkopf_confidence", "Probability of the predicted label", SHARES, "head"
        )
        self.truncated = self._counter(
            "doppelkopf_truncated", "Ads cut because they are longer than their windows"
        )
        self.explanations = self._counter(
            "doppelkopf_explanations", "Ads whose answers were explained"
        )
        self.explanation_variants = self._counter(
            "doppelkopf_explanation_variants",
            "Explained ads without one of their parts; batches count these variants as ads",
        )

    def _declare_model(self) -> None:
        self.model_info = self._gauge(
            MODEL_INFO,
            "The served checkpoint; always 1",
            "livemax",
            "name",
            "revision",
            "device",
            "dtype",
        )
        self.swaps = self._counter(
            "doppelkopf_swaps", "Attempts to replace the served checkpoint, by result", "result"
        )
        self.last_swap = self._gauge(
            "doppelkopf_last_swap_timestamp_seconds",
            "When the served checkpoint was last replaced, Unix time; 0: not since the start",
            "livemax",
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, merge: MergeMode, *labels: str) -> Gauge:
        """Make a gauge; `merge` is the library's mode for merging the values of processes."""
        return Gauge(name, text, labels, multiprocess_mode=merge, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def expect_routes(self, routes: Iterable[tuple[str, Iterable[int]]]) -> None:
        """Create the series of every documented pair of route and status, at 0."""
        for route, statuses in routes:
            self.request_seconds.labels(route)
            for status in statuses:
                self.requests.labels(route, str(status))

    def expect_labels(self, labels: Mapping[str, Labels]) -> None:
        """Create the series of every label of every head, at 0."""
        for head, names in labels.items():
            self.confidence.labels(head)
            for name in names:
                self.predictions.labels(head, name)

    def set_model(self, name: str, revision: str, device: str, dtype: str) -> None:
        """Set `doppelkopf_model_info` to the served checkpoint, and remove the previous one."""
        labels = (name, revision, device, dtype)
        if self._model and self._model != labels:
            if self._supervision:
                # The library cannot remove it from the files; `_MergedProcesses` leaves it out.
                self.model_info.labels(*self._model).set(0)
            else:
                self.model_info.remove(*self._model)
        self._model = labels
        self.model_info.labels(*labels).set(1)

    def count_swap(self, result: str) -> None:
        """Count an attempt to replace the served checkpoint; `result` is one of `SWAPS`."""
        self.swaps.labels(result).inc()
        if result == "ok":
            self.last_swap.set_to_current_time()

    def sample(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Set a gauge to what `value` returns at the time of each scrape."""
        if self._supervision:
            self._sampled.append((gauge, value))
        else:
            gauge.set_function(value)

    def record_prediction(self, prediction: Prediction) -> None:
        """Count one answered ad."""
        for head, top in prediction.heads.items():
            self.predictions.labels(head, top[0].label).inc()
            self.confidence.labels(head).observe(top[0].probability)
        if prediction.truncated:
            self.truncated.inc()

    def exposition(self) -> bytes:
        """Return the metrics of all processes that serve together, in Prometheus' text format."""
        if not self._supervision:
            return generate_latest(self.registry)
        for gauge, value in self._sampled:
            gauge.set(value())
        scraped = CollectorRegistry()
        scraped.register(_MergedProcesses(None, os.environ[MULTIPROCESS_FOLDER]))  # type: ignore[no-untyped-call]
        scraped.register(self._supervision)
        return generate_latest(scraped)


class _MergedProcesses(MultiProcessCollector, Collector):
    """The metrics of all processes, without the models that are no longer served."""

    def collect(self) -> Iterator[Metric]:
        """Read and merge the files of all processes."""
        for family in super().collect():  # type: ignore[no-untyped-call]
            if family.name == MODEL_INFO:
                family.samples = [sample for sample in family.samples if sample.value]
            yield family


class Supervision(Collector):
    """Metrics of the processes that serve together: memory and CPU of each, and restarts.

    Args:
        file: JSON that the supervisor writes: `processes`, a process id by name, and `restarts`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def collect(self) -> Iterator[Metric]:
        """Read the file, and from the system the library's process metrics of each process."""
        status = json.loads(self._file.read_text(encoding="ascii"))
        yield CounterMetricFamily(
            "doppelkopf_worker_restarts",
            "Front ends that ended and were replaced",
            value=status["restarts"],
        )
        families: dict[str, Metric] = {}
        for name, process_id in status["processes"].items():
            for found in ProcessCollector(pid=partial(int, process_id), registry=None).collect():
                family = families.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    family.add_sample(sample.name, {"process": name}, sample.value)
        yield from families.values()
