import pyarrow as pa
import pytest
from pyarrow import fs

from app.bulk.output_partitions import PartitionFolder, RowCount
from app.bulk.prediction_columns import ERROR_COLUMN
from app.bulk.storage import StoragePath
from app.core.errors import DataError

ABOUT = {"input": "a", "format": "text"}
PLACES = [{"x": 1, "y": 2}, {"x": 3, "y": 4}]
TABLE = pa.table({"place": PLACES, ERROR_COLUMN: [None, "The text is empty."]})


@pytest.fixture(params=["local", "memory"])
def partitions(request, tmp_path):
    name = tmp_path / "out" if request.param == "local" else f"memory://{tmp_path.name}/out"
    return PartitionFolder(StoragePath.of(str(name)))


def put(partitions, name, content):
    partitions.place.system.create_dir(partitions.place.path)
    with partitions.place.system.open_output_stream(f"{partitions.place.path}/{name}") as file:
        file.write(content)


def names(partitions):
    found = partitions.place.system.get_file_info(fs.FileSelector(partitions.place.path))
    return sorted(info.base_name for info in found)


def finished(partitions):
    partitions.begin(ABOUT)
    counts = {number: partitions.write(number, TABLE) for number in range(2)}
    return partitions.finish(counts, 4)


def test_a_finished_run_has_counts_and_a_mark(partitions):
    assert finished(partitions) == RowCount(4, 2)
    assert names(partitions) == [
        "_SUCCESS",
        "_about.json",
        *(f"part-0000{n}.parquet" for n in "01"),
    ]
    assert partitions.present() == dict.fromkeys(range(2), RowCount(2, 1))


def test_the_same_run_continues_with_complete_partitions(partitions):
    partitions.begin(ABOUT)
    partitions.write(1, TABLE)
    put(partitions, "part-00002.parquet", b"PAR1 torn")
    put(partitions, ".partial-1", b"half")
    partitions.check(overwrite=False)
    partitions.begin(ABOUT)
    assert partitions.present() == {1: RowCount(2, 1)}
    partitions.finish({0: partitions.write(0, TABLE), **partitions.present()}, 4)
    assert ".partial-1" not in names(partitions)


def test_an_unfinished_run_is_not_continued_by_another(partitions):
    partitions.begin(ABOUT)
    with pytest.raises(DataError, match="another input is unfinished; repeat it"):
        partitions.begin(ABOUT | {"input": "b"})


def test_a_finished_run_is_replaced_with_overwrite_only(partitions):
    finished(partitions)
    with pytest.raises(DataError, match=r"exists already; .* add --overwrite"):
        partitions.check(overwrite=False)
    partitions.check(overwrite=True)
    partitions.begin(ABOUT | {"input": "b"})
    assert names(partitions) == ["_about.json"]


def test_a_folder_with_other_files_is_refused(partitions):
    put(partitions, "part-00000.parquet", b"precious")
    with pytest.raises(DataError, match="no earlier result; name another"):
        partitions.check(overwrite=True)


def test_a_run_with_missing_partitions_is_not_finished(partitions):
    partitions.begin(ABOUT)
    with pytest.raises(DataError, match="has 2 of 4 rows; repeat the command"):
        partitions.finish({0: partitions.write(0, TABLE)}, 4)
    assert "_SUCCESS" not in names(partitions)
