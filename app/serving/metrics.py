"""Every Prometheus metric and every bucket, on an injected registry.

Where several processes serve together, each writes into files of a folder and whichever is asked
adds them up: the library's multiprocess mode, which `PROMETHEUS_MULTIPROC_DIR` switches on before
it is imported.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

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

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

REJECTIONS = ("queue_full", "queue_slow", "queue_late", "explain_busy")
LINE_STATUSES = ("200", "400", "413", "422", "500")
FAILURES = ("batch", "ad", "fatal")
MODEL_INFO = "doppelkopf_model_info"
SWAPS = ("ok", "unchanged", "refused")

# A second series for each counter, of no use to anyone who scrapes.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one service; each outcome is recorded in one place."""

    def __init__(
        self, registry: CollectorRegistry | None = None, status: Path | None = None
    ) -> None:
        """Declare them all.

        Args:
            registry: where; a new one by default.
            status: tells of the processes that serve together, see `Supervision`; by default
                this one serves alone.
        """
        self.registry = registry = registry or CollectorRegistry()
        self._supervision = None if status is None else Supervision(status)
        self._followers: list[tuple[Gauge, Callable[[], float]]] = []
        self._model: tuple[str, ...] = ()
        self.requests = Counter(
            "doppelkopf_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "doppelkopf_request_seconds",
            "Seconds from a request's first byte to its answer's last",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.tokenize_seconds = self._histogram(
            "doppelkopf_tokenize_seconds", "Seconds of tokenizing one request's ads", SECONDS
        )
        self.queue_seconds = self._histogram(
            "doppelkopf_queue_seconds", "Seconds an ad waited for its batch to begin", SECONDS
        )
        self.batch_seconds = self._histogram(
            "doppelkopf_batch_seconds", "Seconds of one batch in the engine", SECONDS
        )
        self.batch_ads = self._histogram("doppelkopf_batch_ads", "Ads of one batch", ADS)
        self.batch_tokens = self._histogram(
            "doppelkopf_batch_tokens", "Tokens of one batch", TOKENS
        )
        self.queued_ads = Gauge(
            "doppelkopf_queued_ads",
            "Ads admitted and not yet answered",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.queued_tokens = Gauge(
            "doppelkopf_queued_tokens",
            "Tokens admitted and not yet answered, estimated until tokenized",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.queued_seconds = Gauge(
            "doppelkopf_queued_seconds",
            "Seconds that the engine needs for what is queued, at the rate it shows",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.max_queue_seconds = Gauge(
            "doppelkopf_max_queue_seconds",
            "The setting: queued seconds above which requests are refused",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.max_batch_tokens = Gauge(
            "doppelkopf_max_batch_tokens",
            "The setting in force: tokens of the largest batch",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.ready = Gauge(
            "doppelkopf_ready",
            "1 while ads are classified, else 0",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.rejected = Counter(
            "doppelkopf_rejected", "Requests refused with 429", ["reason"], registry=registry
        )
        self.stream_lines = Counter(
            "doppelkopf_stream_lines",
            "Lines of streams answered, by the status each would have as a request",
            ["status"],
            registry=registry,
        )
        self.predictions = Counter(
            "doppelkopf_predictions", "Ads by predicted label", ["head", "label"], registry=registry
        )
        self.confidence = Histogram(
            "doppelkopf_confidence",
            "Probability of the predicted label",
            ["head"],
            buckets=SHARES,
            registry=registry,
        )
        self.truncated = Counter(
            "doppelkopf_truncated", "Ads that were longer than their windows", registry=registry
        )
        self.explanations = Counter(
            "doppelkopf_explanations", "Ads whose answers were explained", registry=registry
        )
        self.explanation_variants = Counter(
            "doppelkopf_explanation_variants",
            "Readings of explained ads without a part; batches count them as ads",
            registry=registry,
        )
        self.model_info = Gauge(
            MODEL_INFO,
            "The served checkpoint; always 1",
            ["name", "revision", "device", "dtype"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.swaps = Counter(
            "doppelkopf_swaps",
            "Times that a running service was told to serve another checkpoint",
            ["result"],
            registry=registry,
        )
        self.last_swap = Gauge(
            "doppelkopf_last_swap_timestamp_seconds",
            "When the served checkpoint was last replaced, Unix time; 0: not since the start",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.engine_failures = Counter(
            "doppelkopf_engine_failures",
            "Failures of the engine: a whole batch, one ad of a batch, or the device",
            ["kind"],
            registry=registry,
        )
        # Memory, CPU seconds, open files, start.
        if self._supervision:
            registry.register(self._supervision)
        else:
            ProcessCollector(registry=registry)
        for reason in REJECTIONS:
            self.rejected.labels(reason)
        for line_status in LINE_STATUSES:
            self.stream_lines.labels(line_status)
        for kind in FAILURES:
            self.engine_failures.labels(kind)
        for result in SWAPS:
            self.swaps.labels(result)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def expect_routes(self, routes: Iterable[tuple[str, Iterable[int]]]) -> None:
        """Let every documented pair of route and status exist at 0."""
        for route, statuses in routes:
            self.request_seconds.labels(route)
            for status in statuses:
                self.requests.labels(route, str(status))

    def expect_labels(self, labels: Mapping[str, Labels]) -> None:
        """Let every label of every head exist at 0."""
        for head, names in labels.items():
            self.confidence.labels(head)
            for name in names:
                self.predictions.labels(head, name)

    def tell_model(self, *labels: str) -> None:
        """Tell what is served, as `doppelkopf_model_info` has it, and no longer what was."""
        if self._model and self._model != labels:
            if self._supervision:
                # The library cannot remove a series of several processes; see `_Shown`.
                self.model_info.labels(*self._model).set(0)
            else:
                self.model_info.remove(*self._model)
        self._model = labels
        self.model_info.labels(*labels).set(1)

    def count_swap(self, result: str) -> None:
        """Count how an attempt to replace the served checkpoint ended, one of `SWAPS`."""
        self.swaps.labels(result).inc()
        if result == "ok":
            self.last_swap.set_to_current_time()

    def follow(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Let a gauge show what `value` returns at the time of a scrape."""
        if self._supervision:
            self._followers.append((gauge, value))
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
        """Return all metrics in Prometheus' text format, of all processes that serve together."""
        if not self._supervision:
            return generate_latest(self.registry)
        for gauge, value in self._followers:
            gauge.set(value())
        scraped = CollectorRegistry()
        scraped.register(_Shown(None, os.environ[FOLDER]))  # type: ignore[no-untyped-call]
        scraped.register(self._supervision)
        return generate_latest(scraped)


class _Shown(MultiProcessCollector, Collector):
    """All processes' metrics, less the models that are served no longer."""

    def collect(self) -> Iterator[Metric]:
        """Read the files."""
        for family in super().collect():  # type: ignore[no-untyped-call]
            if family.name == MODEL_INFO:
                family.samples = [sample for sample in family.samples if sample.value]
            yield family


class Supervision(Collector):
    """What is known of the processes that serve together: how each does, how many were replaced."""

    def __init__(self, file: Path) -> None:
        """Take the file that the supervisor writes, JSON: `processes` by name, and `restarts`."""
        self._file = file

    def collect(self) -> Iterator[Metric]:
        """Read the file, and what the system tells of each process: the library's own metrics."""
        status = json.loads(self._file.read_text(encoding="ascii"))
        yield CounterMetricFamily(
            "doppelkopf_worker_restarts",
            "Front ends that ended and were replaced",
            value=status["restarts"],
        )
        families: dict[str, Metric] = {}
        for name, number in status["processes"].items():
            for found in ProcessCollector(pid=partial(int, number), registry=None).collect():
                family = families.setdefault(
                    found.name, Metric(found.name, found.documentation, found.type)
                )
                for sample in found.samples:
                    family.add_sample(sample.name, {"process": name}, sample.value)
        yield from families.values()
