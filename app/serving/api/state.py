"""The state that all routes of an application share."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import FastAPI

from app.core.errors import NotReadyError
from app.core.types import Explanation, Prediction
from app.serving.api.auth import ApiKeys
from app.serving.inference.hot_swap import LOADING, ModelSwapper
from app.serving.inference.service import Classifier
from app.serving.metrics import Metrics
from app.serving.settings import Settings

Explain = Callable[..., Coroutine[Any, Any, tuple[Prediction, Explanation]]]
"""`Explainer.explain`, or a function with its arguments that calls another machine."""

AnyClassifier = TypeVar("AnyClassifier", bound=Classifier)


@dataclass(slots=True)
class ApplicationState(Generic[AnyClassifier]):
    """The state that all routes of one application share.

    `service` and `swapper` are None until the checkpoint is loaded; a hot swap replaces `service`.
    """

    settings: Settings
    metrics: Metrics
    api_keys: ApiKeys
    admin_keys: ApiKeys
    explain: Explain
    service: AnyClassifier | None = None
    swapper: ModelSwapper | None = None
    loading: asyncio.Task[None] | None = None
    """Loads the checkpoint; set once the application has started."""

    def loaded_service(self) -> AnyClassifier:
        """Return the service.

        Raises:
            NotReadyError: the checkpoint is still loading.
        """
        if self.service is None:
            raise NotReadyError(LOADING)
        return self.service

    async def loading_ended(self) -> None:
        """Return once loading has ended, whether or not it succeeded."""
        assert self.loading  # noqa: S101  for types: the application has started
        await self.loading


def state_of(app: FastAPI) -> ApplicationState[Any]:
    """Return an application's state; in a route, that of `request.app`."""
    state: ApplicationState[Any] = app.state.application
    return state
