"""Dependencies of endpoints: the loaded service, no query parameters, and the timeout header."""

from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.core.errors import InvalidRequestError
from app.schemas.fields import MAX_TIMEOUT_MS
from app.serving.api.state import state_of
from app.serving.inference.service import Classifier

TIMEOUT = "X-Request-Timeout-Ms"


# Coroutines although they await nothing: FastAPI would run plain functions in threads.
async def get_service(request: Request) -> Classifier:
    """Return the service of the request's application.

    Raises:
        NotReadyError: the checkpoint is still loading.
    """
    service: Classifier = state_of(request.app).loaded_service()
    return service


async def without_query(request: Request) -> None:
    """Refuse query parameters: no route has any, so each is a mistake.

    Raises:
        InvalidRequestError: names the first.
    """
    for name in request.query_params:
        raise InvalidRequestError(f"query.{name}: send it in the body, or leave it out.")


ReadyService = Annotated[Classifier, Depends(get_service)]
WITHOUT_QUERY = Depends(without_query)
TimeoutHeader = Annotated[
    Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS)] | SkipJsonSchema[None],
    Header(
        alias=TIMEOUT,
        description="give up with 504 after this many milliseconds and drop the work",
    ),
]
