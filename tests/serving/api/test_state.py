import asyncio

import pytest

from app.core.errors import NotReadyError, StartupError
from app.serving.api.state import state_of
from tests.support.application import InProcessApp


def test_before_loading_there_is_no_service(checkpoint):
    app = InProcessApp(checkpoint)
    with pytest.raises(NotReadyError, match="still loading"):
        state_of(app.app).loaded_service()


def test_after_loading_the_state_holds_the_service(checkpoint):
    app = InProcessApp(checkpoint)
    with app.client():
        state = state_of(app.app)
        assert state.loaded_service() is state.service
        assert state.service.model.name == "tiny"
        assert state.settings is app.settings


def test_failed_loading_ends_without_a_service(checkpoint):
    app = InProcessApp(checkpoint, load_error=StartupError("no weights"))
    with app.client() as client:
        client.portal.call(state_of(app.app).loading_ended)
        assert state_of(app.app).service is None


def test_two_applications_share_no_state(checkpoint):
    first, second = InProcessApp(checkpoint), InProcessApp(checkpoint)
    with first.client():
        assert state_of(second.app).service is None
        assert not isinstance(state_of(second.app).loading, asyncio.Task)
