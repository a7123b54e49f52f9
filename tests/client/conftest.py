import pytest

from tests.support.fake_transport import EitherClient


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request):
    """Call a method of the blocking, then of the asyncio client, over a fake transport."""
    return EitherClient(request.param)
