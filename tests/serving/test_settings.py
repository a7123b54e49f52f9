from pathlib import Path

import pytest

from app.core.errors import SettingsError
from app.serving.settings import Settings, load_settings
from tests.docs.pages import PAGES


def refused(**environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            environment={f"DOPPELKOPF_{name}": value for name, value in environment.items()}
        )
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_defaults_need_no_environment():
    settings = load_settings(environment={})
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.model == Path("model_store/demo")
    assert settings.api_keys == ()


def test_an_override_takes_precedence_over_the_environment():
    environment = {"DOPPELKOPF_PORT": "9000", "DOPPELKOPF_MAX_WINDOWS": "2", "HOME": "/"}
    settings = load_settings({"port": 9001}, environment)
    assert (settings.port, settings.max_windows) == (9001, 2)


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    assert refused(MAX_WINDOW="2") == (
        "DOPPELKOPF_MAX_WINDOW is no setting of Doppelkopf; did you mean DOPPELKOPF_MAX_WINDOWS."
    )


def test_the_clients_key_is_ignored():
    environment = {"DOPPELKOPF_API_KEY": "a-key-of-good-length"}
    assert load_settings(environment=environment).api_keys == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("MAX_QUEUE_SECONDS", "0"),
        ("DTYPE", "int3"),
        ("MAX_WINDOWS", "0"),
        ("LOG_FORMAT", "xml"),
        ("API_KEYS", "short"),
        ("ADMIN_KEYS", "short"),
        ("API_KEYS", "long enough, but with blanks"),
        ("API_KEYS", "schlüssel-von-guter-länge"),
        ("METRICS_ACCESS", "closed"),
        ("DOCS_ACCESS", "true"),
    ],
)
def test_a_bad_value_is_refused_with_its_settings_name(name, value):
    assert refused(**{name: value}).startswith(f"DOPPELKOPF_{name}: ")


def test_settings_that_contradict_each_other_are_refused():
    assert "MAX_BATCH_ADS (10) is above MAX_QUEUED_ADS (5)" in refused(
        MAX_BATCH_ADS="10", MAX_QUEUED_ADS="5"
    )


@pytest.mark.parametrize("name", ["METRICS_ACCESS", "DOCS_ACCESS"])
def test_access_by_key_is_refused_without_keys(name):
    assert f"{name} is 'key', but there are no API_KEYS" in refused(**{name: "key"})
    load_settings(
        environment={f"DOPPELKOPF_{name}": "key", "DOPPELKOPF_API_KEYS": "a-key-of-good-length"}
    )


def test_keys_are_split_at_commas_and_never_shown():
    settings = load_settings(
        environment={"DOPPELKOPF_API_KEYS": "first-key-of-length, second-key-of-length,"}
    )
    assert [key.get_secret_value() for key in settings.api_keys] == [
        "first-key-of-length",
        "second-key-of-length",
    ]
    assert "first-key" not in repr(settings)
    assert "sesame" not in refused(API_KEYS="sesame")


def test_every_setting_has_a_description_and_is_documented():
    page = PAGES["docs/configuration.md"].text
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"`{name.upper()}`" in page, f"the page does not mention {name.upper()}"
