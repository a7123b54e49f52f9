"""Every Prometheus metric and every bucket, on an injected registry."""

from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from app.records import Labels, Prediction

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

REJECTIONS = ("queue_full", "queue_slow", "queue_late")
LINE_STATUSES = ("200", "400", "413", "422", "500")
FAILURES = ("batch", "ad", "fatal")

# A second series for each counter, of no use to anyone who scrapes.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one service; each outcome is recorded in one place."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
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
            "doppelkopf_queued_ads", "Ads admitted and not yet answered", registry=registry
        )
        self.queued_tokens = Gauge(
            "doppelkopf_queued_tokens",
            "Tokens admitted and not yet answered, estimated until tokenized",
            registry=registry,
        )
        self.queued_seconds = Gauge(
            "doppelkopf_queued_seconds",
            "Seconds that the engine needs for what is queued, at the rate it shows",
            registry=registry,
        )
        self.max_queue_seconds = Gauge(
            "doppelkopf_max_queue_seconds",
            "The setting: queued seconds above which requests are refused",
            registry=registry,
        )
        self.max_batch_tokens = Gauge(
            "doppelkopf_max_batch_tokens",
            "The setting in force: tokens of the largest batch",
            registry=registry,
        )
        self.ready = Gauge(
            "doppelkopf_ready", "1 while ads are classified, else 0", registry=registry
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
        self.model_info = Gauge(
            "doppelkopf_model_info",
            "The served checkpoint; always 1",
            ["name", "revision", "device", "dtype"],
            registry=registry,
        )
        self.engine_failures = Counter(
            "doppelkopf_engine_failures",
            "Failures of the engine: a whole batch, one ad of a batch, or the device",
            ["kind"],
            registry=registry,
        )
        ProcessCollector(registry=registry)  # memory, CPU seconds, open files, start
        for reason in REJECTIONS:
            self.rejected.labels(reason)
        for status in LINE_STATUSES:
            self.stream_lines.labels(status)
        for kind in FAILURES:
            self.engine_failures.labels(kind)

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

    def record_prediction(self, prediction: Prediction) -> None:
        """Count one answered ad."""
        for head, top in prediction.heads.items():
            self.predictions.labels(head, top[0].label).inc()
            self.confidence.labels(head).observe(top[0].probability)
        if prediction.truncated:
            self.truncated.inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
