from pathlib import Path

import pytest

from app.core.errors import InvalidRequestError
from app.serving.model_store import checkpoint_folder


def test_a_name_is_a_folder_in_the_store(tmp_path):
    assert checkpoint_folder(tmp_path / "v1", "v2") == tmp_path / "v2"


def test_without_a_name_the_folder_is_the_setting_itself(tmp_path):
    (tmp_path / "current").symlink_to("/somewhere/else")
    assert checkpoint_folder(tmp_path / "current", None) == tmp_path / "current"


def test_the_store_contains_the_link_not_its_target(tmp_path):
    (tmp_path / "current").symlink_to("/somewhere/else")
    assert checkpoint_folder(tmp_path / "current", "v2") == tmp_path / "v2"


def test_a_relative_setting_has_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder(Path("v1"), "v2").resolve() == tmp_path / "v2"
    (tmp_path / "v1").mkdir()
    monkeypatch.chdir(tmp_path / "v1")
    assert checkpoint_folder(Path(), "v2").resolve() == tmp_path / "v2"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../v2", "a/b", "/etc", "v2/", ".v2.partial", "a\\b", "v2\n", "v\0", "n" * 256],
)
def test_an_invalid_folder_name_is_refused(tmp_path, name):
    with pytest.raises(InvalidRequestError, match=r"body\.model"):
        checkpoint_folder(tmp_path / "v1", name)


def test_a_link_out_of_the_store_is_refused(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (tmp_path / "outside").mkdir()
    (store / "v2").symlink_to(tmp_path / "outside")
    (store / "v3").symlink_to("v1")
    with pytest.raises(InvalidRequestError, match="leads out of the model store"):
        checkpoint_folder(store / "v1", "v2")
    assert checkpoint_folder(store / "v1", "v3") == store / "v3"
