"""mosec: one worker process, batches of at most `PEER_BATCH`; limits are arguments of mosec."""

import mosec

from tests.measurements.peers.servers.two_heads import BATCH, TwoHeads


class Classifier(mosec.Worker):
    """Takes one request, or a list of requests if batches are larger than one."""

    def __init__(self) -> None:
        super().__init__()
        self._model = TwoHeads()

    def forward(self, data: dict[str, str] | list[dict[str, str]]) -> object:
        """Classify one request or a batch."""
        if isinstance(data, dict):
            return self._model([data["text"]])[0]
        return self._model([one["text"] for one in data])


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(Classifier, max_batch_size=BATCH, max_wait_time=5, timeout=60)
    server.run()
