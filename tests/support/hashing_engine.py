"""An engine without a model, for runs of many rows: its answers are a hash of the token ids.

They depend on the whole batch, so two runs agree only if they cut the same batches. In a cluster,
each engine appends the id of its node to the file `engines` next to its checkpoint.

    python -m tests.support.hashing_engine ADDRESS CHECKPOINT DATA OUT ROWS

runs a backfill with it, ROWS rows a partition, and prints counts and seconds as JSON.
"""

import json
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray

from app.bulk.backfill import EngineSpec, backfill, scan_input
from app.bulk.input_scan import fingerprint
from app.bulk.output_partitions import PartitionFolder
from app.bulk.ray_pool import EnginePool, ray_connection
from app.bulk.storage import StoragePath
from app.core.head_labels import HEADS
from app.core.types import EncodedAd, Scores
from app.data.labelled_ads import ColumnNames
from app.model.checkpoint import Checkpoint, open_checkpoint


class HashingEngine:
    """Has the interface of `Engine`."""

    batch_tokens = 1024

    def __init__(self, checkpoint: Checkpoint, *_: str) -> None:
        self.widths = {head: len(checkpoint.heads[head].labels) for head in HEADS}
        if ray.is_initialized():
            with checkpoint.path.with_name("engines").open("a") as file:
                file.write(ray.get_runtime_context().get_node_id() + "\n")

    def warm_up(self, batch: Sequence[EncodedAd]) -> None:
        self.run(batch)

    def run(self, batch: Sequence[EncodedAd]) -> list[Scores]:
        ads = [np.concatenate(encoded.windows).tobytes() for encoded in batch]
        batch_hash = zlib.crc32(b"".join(ads))
        return [self._scores(zlib.crc32(one, batch_hash)) for one in ads]

    def _scores(self, seed: int) -> Scores:
        random = np.random.default_rng(seed)
        return Scores(
            {
                head: random.dirichlet(np.ones(width)).astype(np.float32)
                for head, width in self.widths.items()
            }
        )


def main(address: str, folder: str, data: str, out: str, rows: str) -> None:
    """Run a backfill; see the module."""
    began = time.monotonic()
    with ray_connection(address):
        connecting = time.monotonic() - began
        read = scan_input(StoragePath.of(data), ColumnNames(), int(rows))
        reading = time.monotonic() - began - connecting
        pool = EnginePool.of_cluster("auto")
        revision = open_checkpoint(Path(folder)).revision
        engines = EngineSpec(
            Path(folder),
            revision,
            "cpu",
            "auto",
            None,
            "tests.support.hashing_engine:HashingEngine",
        )
        partitions = PartitionFolder(StoragePath.of(out))
        partitions.begin({"input": fingerprint(read.files)})
        steps: list[int] = []
        count = backfill(read, engines, pool, "text", partitions, steps.append)
    took = time.monotonic() - began - connecting - reading
    found = {"rows": count.rows, "errors": count.errors, "engines": pool.engines}
    seconds = {"connecting": connecting, "reading": reading, "answering": took}
    sys.stdout.write(json.dumps({**found, "there": steps[0], **seconds}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
