import pytest

from app.client import DoppelkopfClient


def test_api_key_is_not_shown():
    client = DoppelkopfClient("http://fake", api_key="a-key-of-good-length")
    assert "a-key-of-good-length" not in repr(client) + str(vars(client))
    assert "http://fake" in repr(client)


def test_with_statement_closes_the_connections():
    with DoppelkopfClient("http://fake") as client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.ready()
