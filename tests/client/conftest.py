import pytest

from tests.support.fake_transport import Both


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request):
    """Call a method of the blocking, then of the asyncio client, over a fake transport."""
    return Both(request.param)
