from pathlib import Path

import pytest

from app.core.errors import DataError
from app.training.demo.taxonomy import read_table, read_taxonomy
from tests.support.tiny_occupations import write_occupation_tables


@pytest.fixture
def taxonomy(tmp_path: Path):
    return read_taxonomy(write_occupation_tables(tmp_path / "shared") / "taxonomy")


def test_the_longest_prefix_decides_the_category(taxonomy):
    assert taxonomy.category("23222") == "design"
    assert taxonomy.category("23322") == "materials"
    assert taxonomy.category("99999") is None


def test_the_fifth_digit_decides_the_level(taxonomy):
    assert [taxonomy.level(f"2322{digit}") for digit in "1234"] == list(taxonomy.levels.labels)


def test_labels_keep_the_order_and_names_of_their_tables(taxonomy):
    assert taxonomy.categories.labels == ("materials", "design", "security", "cooking", "cleaning")
    assert taxonomy.levels.ordered
    assert not taxonomy.categories.ordered
    assert taxonomy.categories.names["en"][3] == "Cooking"


def test_a_table_that_is_not_utf8_is_refused(tmp_path):
    table = tmp_path / "table.csv"
    table.write_bytes("title\nKöchin\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_table(table, ("title",)))
