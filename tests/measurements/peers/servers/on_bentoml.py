"""BentoML: one worker process with adaptive batching."""

import bentoml

from tests.measurements.peers.servers.two_heads import BATCH, TwoHeads


@bentoml.service(workers=1, traffic={"timeout": 60})
class Classifier:
    """Takes a list of texts, which the framework batches with those of other requests."""

    def __init__(self) -> None:
        self._model = TwoHeads()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=60_000)
    def classify(self, texts: list[str]) -> list[dict]:
        """Classify a batch."""
        return self._model(texts)
