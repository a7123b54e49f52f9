"""Ray Serve: one replica that batches with `@serve.batch`."""

import asyncio
import os

import ray
from ray import serve
from starlette.requests import Request

from tests.measurements.peers.servers.two_heads import BATCH, PORT, TwoHeads


@serve.deployment(max_ongoing_requests=64)  # the default of 5 would keep batches small
class Classifier:
    """Computes in a thread, so that the next batch can form meanwhile."""

    def __init__(self) -> None:
        self._model = TwoHeads()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.005)
    async def classify(self, texts: list[str]) -> list[dict[str, dict[str, object]]]:
        """Classify a batch."""
        return await asyncio.to_thread(self._model, texts)

    async def __call__(self, request: Request) -> dict[str, dict[str, object]]:
        """Classify one ad."""
        return await self.classify((await request.json())["text"])


if __name__ == "__main__":
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _temp_dir=os.environ["PEER_SCRATCH"],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Classifier.bind(), blocking=True)
