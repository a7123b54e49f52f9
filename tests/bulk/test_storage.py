import pytest

from app.bulk.storage import StoragePath
from app.core.errors import DataError
from tests.support.ad_files import LABELLED_ADS, write_ads


@pytest.fixture
def folder(tmp_path):
    for name in ("b.csv", "a.jsonl", "deep/c.parquet", "deep/_about.json", ".d.csv", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(folder, name):
    return [path.removeprefix(f"{folder}/") for path in StoragePath.of(f"{folder}/{name}").files()]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("b.csv", ["b.csv"]),
        ("", ["a.jsonl", "b.csv", "deep/c.parquet"]),
        ("*.csv", ["b.csv"]),
        ("d*/*.parquet", ["deep/c.parquet"]),
    ],
)
def test_a_path_is_a_file_a_folder_or_a_pattern(folder, name, found):
    assert names(folder, name) == found
    assert names(f"file://{folder}", name) == [f"{folder}/{one}" for one in found]


@pytest.mark.parametrize("name", ["none.csv", "none", "*.parquet", "none/*.csv"])
def test_a_path_without_files_of_ads_is_refused(folder, name):
    with pytest.raises(DataError, match="there is no such file of ads"):
        names(folder, name)


def test_a_file_of_another_format_is_refused(folder):
    with pytest.raises(DataError, match=r"e\.txt: the suffix"):
        names(folder, "e.txt")


def test_an_address_may_be_of_fsspec(tmp_path):
    place = StoragePath.of("memory://bucket/ads.jsonl")
    with place.system.open_output_stream(place.path) as file:
        file.write(write_ads(tmp_path / "a.jsonl", LABELLED_ADS).read_bytes())
    assert place.files() == [place.path]
    assert [
        path.endswith("ads.jsonl") for path in StoragePath.of("memory://bucket/*.jsonl").files()
    ]


def test_an_address_of_an_unknown_scheme_is_refused():
    with pytest.raises(DataError, match=r"nonsense://a/b\.csv: cannot be reached"):
        StoragePath.of("nonsense://a/b.csv")
