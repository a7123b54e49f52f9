import hmac

import pytest
from pydantic import SecretStr

from app.serving.api.auth import ApiKeys

KEYS = [SecretStr(f"key-number-{number}-of-good-length") for number in range(3)]


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_accepted(key):
    assert ApiKeys(KEYS).accept(key.get_secret_value())


@pytest.mark.parametrize(
    "sent",
    ["", "key-number-0-of-good-lengt", "key-number-0-of-good-length ", "schlüssel", "\udcff"],
)
def test_nothing_else_is_accepted(sent):
    assert not ApiKeys(KEYS).accept(sent)


@pytest.mark.parametrize(
    "sent", [KEYS[0].get_secret_value(), KEYS[2].get_secret_value(), "", "wrong", "x" * 9999]
)
def test_every_key_is_compared_whatever_is_sent(sent):
    """So neither the place of a match nor a key's length shows in the time."""
    compared = []

    def same(first, second):
        compared.append((len(first), len(second)))
        return hmac.compare_digest(first, second)

    ApiKeys(KEYS, same).accept(sent)
    assert compared == [(32, 32)] * len(KEYS)


def test_only_digests_of_keys_are_kept():
    keys = ApiKeys(KEYS)
    for key in KEYS:
        assert key.get_secret_value() not in repr(vars(keys))
