"""LitServe: one worker process, batches of at most `PEER_BATCH`."""

import litserve

from tests.measurements.peers.servers.two_heads import BATCH, PORT, TwoHeads


class Classifier(litserve.LitAPI):
    """Takes one text, or a list of texts if batches are larger than one."""

    def setup(self, device: str) -> None:  # noqa: ARG002  the framework's signature
        """Load the model in the worker."""
        self._model = TwoHeads()

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text."""
        return request["text"]

    def predict(self, x: str | list[str]) -> object:
        """Classify one text or a batch."""
        return self._model([x])[0] if isinstance(x, str) else self._model(x)

    def encode_response(self, output: object) -> object:
        """Return the answer as it is."""
        return output


if __name__ == "__main__":
    api = Classifier(max_batch_size=BATCH, batch_timeout=0.005 if BATCH > 1 else 0.0)
    litserve.LitServer(api, accelerator="cpu", timeout=60).run(
        host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning"
    )
