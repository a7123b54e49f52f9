"""Bulk prediction by a running server: its rows go through a stream and get the same columns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from httpx import InvalidURL

from app.bulk.journal import Answer
from app.bulk.predict import EMPTY, failed, predicted
from app.client import CallError, DoppelkopfClient, StreamAnswer, StreamError
from app.core.errors import StartupError
from app.core.head_labels import HEADS
from app.core.types import Ad, LabelProbability
from app.schemas.model import ModelRef


class ServerError(StartupError):
    """The server does not answer; what it has answered is kept."""


@contextmanager
def sending(url: str, api_key: str | None) -> Iterator["Sender"]:
    """Give what asks a server for the time of a run.

    Raises:
        ServerError: it is no address or no key, or the server does not tell what it serves.
    """
    try:
        client = DoppelkopfClient(url, api_key=api_key)
    except (ValueError, InvalidURL) as error:
        raise ServerError(f"{url} cannot be asked: {error}") from error
    with client:
        yield Sender(client)


class Sender:
    """Answers ads through a client, as `Predictor` does with a model of its own."""

    def __init__(self, client: DoppelkopfClient) -> None:
        """Ask whose answers these will be.

        Raises:
            ServerError: the server does not tell.
        """
        self._client = client
        try:
            found = client.model()
        except CallError as error:
            raise ServerError(str(error)) from error
        self.model = ModelRef(name=found.name, revision=found.revision)

    def answer(self, ads: Sequence[Ad]) -> list[Answer]:
        """Return the columns that each ad gets: its predictions, or why there are none.

        Raises:
            ServerError: the server is gone for long, refuses to answer, or serves another model
                than at the beginning.
        """
        lines = [{"text": ad.text, "title": ad.title, "format": ad.format} for ad in ads if ad.text]
        try:
            found = iter([*self._client.stream(lines, top_k=1)])
        except CallError as error:
            raise ServerError(f"{error} Repeat the command to go on.") from error
        return [self._columns(next(found)) if ad.text else failed(EMPTY) for ad in ads]

    def _columns(self, found: StreamAnswer | StreamError) -> Answer:
        if isinstance(found, StreamError):
            return failed(found.error.detail)
        if found.model != self.model:
            raise ServerError(
                f"The server answers with {found.model.name} {found.model.revision} by now, "
                f"and the rows before were answered with {self.model.name} {self.model.revision}."
            )
        answers = {head: getattr(found, head) for head in HEADS}
        return predicted(
            {head: LabelProbability(one.label, one.probability) for head, one in answers.items()}
        )
