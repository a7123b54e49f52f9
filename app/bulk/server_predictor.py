"""Bulk prediction by a running server, to which ads are sent as a stream."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from httpx import InvalidURL

from app.bulk.prediction_columns import (
    EMPTY_TEXT,
    PredictionColumns,
    columns_of_error,
    columns_of_labels,
)
from app.client import CallError, DoppelkopfClient, StreamAnswer, StreamError
from app.core.errors import StartupError
from app.core.gaps import fill_gaps
from app.core.head_labels import HEADS
from app.core.types import Ad, LabelProbability
from app.schemas.model import ModelRef


class ServerError(StartupError):
    """The server cannot be used (any more); the journal keeps what it has predicted."""


@contextmanager
def connect_to_server(url: str, api_key: str | None) -> Iterator["ServerPredictor"]:
    """Connect to a server; the connections are closed at the end of the block.

    Args:
        url: its address.
        api_key: to send with each request.

    Raises:
        ServerError: the address or the key is malformed, or the server does not answer.
    """
    try:
        client = DoppelkopfClient(url, api_key=api_key)
    except (ValueError, InvalidURL) as error:
        raise ServerError(f"{url} cannot be used: {error}") from error
    with client:
        yield ServerPredictor(client)


class ServerPredictor:
    """Predicts ads through a client, as `EnginePredictor` does with an engine.

    Args:
        client: of the server.

    Raises:
        ServerError: the server does not say which model it serves.
    """

    def __init__(self, client: DoppelkopfClient) -> None:
        self._client = client
        try:
            found = client.model()
        except CallError as error:
            raise ServerError(str(error)) from error
        self.model = ModelRef(name=found.name, revision=found.revision)

    def answer(self, ads: Sequence[Ad]) -> list[PredictionColumns]:
        """Return the columns of each ad, in order: its predictions, or why it has none.

        Raises:
            ServerError: the server refuses, does not answer even after the client's retries, or
                serves another model than at the start of the run.
        """
        lines = [{"text": ad.text, "title": ad.title, "format": ad.format} for ad in ads if ad.text]
        try:
            found = [*self._client.stream(lines, top_k=1)]
        except CallError as error:
            raise ServerError(f"{error} Repeat the command to continue.") from error
        errors = [None if ad.text else columns_of_error(EMPTY_TEXT) for ad in ads]
        return fill_gaps(errors, map(self._columns, found))

    def _columns(self, found: StreamAnswer | StreamError) -> PredictionColumns:
        if isinstance(found, StreamError):
            return columns_of_error(found.error.detail)
        if found.model != self.model:
            raise ServerError(
                f"The server answers with {found.model.name} {found.model.revision} by now, "
                f"and the rows before were answered with {self.model.name} {self.model.revision}."
            )
        answers = {head: getattr(found, head) for head in HEADS}
        return columns_of_labels(
            {head: LabelProbability(one.label, one.probability) for head, one in answers.items()}
        )
