"""The real application in the test's process, on the tiny checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.testclient import TestClient

from app.core.served_model import ServedModel
from app.engine.engine import Engine
from app.model.checkpoint import Checkpoint
from app.serving.api.application import create_app
from app.serving.api.state import state_of
from app.serving.inference.service import Service
from app.serving.metrics import Metrics
from app.serving.scheduling.micro_batcher import MicroBatcher, RunBatch
from app.serving.settings import Settings, load_settings


def served_model(checkpoint: Checkpoint) -> ServedModel:
    """Describe a checkpoint as a service does that serves it in float32 on the CPU."""
    return ServedModel(
        name=checkpoint.name,
        revision=checkpoint.revision,
        device="cpu",
        dtype="float32",
        heads=checkpoint.heads,
        parameters=checkpoint.parameters,
        max_length=checkpoint.config.max_length,
        max_windows=4,
    )


class InProcessApp:
    """The ASGI application with its own service, metrics and engine.

    Args:
        run: replaces the engine's pass; the default is a real engine on the checkpoint.
        settings: values that differ from the defaults; the environment is not read.
        rate: tokens a second that admission control counts on.
        load_error: what loading the checkpoint raises, instead of a service.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        run: RunBatch | None = None,
        settings: dict[str, object] | None = None,
        rate: float = 1e6,
        load_error: Exception | None = None,
    ) -> None:
        self.settings: Settings = load_settings(settings or {}, environment={})
        self.metrics = Metrics()
        self.failures: list[Exception] = []
        self.run = run or Engine(checkpoint, "cpu").run
        self._checkpoint, self._rate, self._load_error = checkpoint, rate, load_error
        self.app = create_app(self.settings, self._load, self.metrics, self.failures.append)

    async def _load(self) -> Service:
        if self._load_error:
            raise self._load_error
        batcher = MicroBatcher(
            # Looked up at each pass, so that a test can replace it.
            lambda batch: self.run(batch),
            max_batch_tokens=self.settings.max_batch_tokens or 2048,
            max_queued_ads=self.settings.max_queued_ads,
            max_queue_seconds=self.settings.max_queue_seconds,
            tokens_per_second=self._rate,
            metrics=self.metrics,
        )
        tokenizer = self._checkpoint.tokenizer(self.settings.max_windows)
        return Service(served_model(self._checkpoint), tokenizer, batcher, self.metrics)

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        """Start the application and wait until loading has ended; yields a client of it."""
        with TestClient(self.app, raise_server_exceptions=False) as client:
            client.portal.call(self._loaded)
            yield client

    async def _loaded(self) -> None:
        await state_of(self.app).loading_ended()

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric, named without its prefix; None if it has no such sample."""
        return self.metrics.registry.get_sample_value(f"doppelkopf_{name}", labels)
