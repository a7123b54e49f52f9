from pathlib import Path

import pytest

from app.core.errors import DataError
from app.training.demo.occupations import by_prefix, read_catalog, split_tasks
from tests.support.tiny_occupations import write_occupation_tables


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return write_occupation_tables(tmp_path / "shared")


def by_title(shared: Path):
    return {job.forms.masculine: job for job in read_catalog(shared).titles}


def test_a_title_with_two_categories_is_dropped(shared):
    assert "Zwitter" not in by_title(shared)


def test_a_title_with_two_levels_keeps_the_lower(shared):
    assert by_title(shared)["Doppelkoch"].level == "vocational"


def test_the_newer_table_takes_precedence(shared):
    job = by_title(shared)["Koch"]
    assert (job.code, job.source) == ("29302", "ba")


def test_degrees_are_study_subjects_and_not_job_titles(shared):
    catalog = read_catalog(shared)
    assert not any("Bachelor" in job.forms.masculine for job in catalog.titles)
    assert "Grafik" in catalog.studies["232"]


def test_esco_titles_are_mapped_by_title_or_by_the_crosswalk(shared):
    titles = by_title(shared)
    assert titles["Kantinenkoch"].code == "29302"
    assert titles["Putzmann"].code == "54101"
    assert "Unklarer" not in titles  # its ISCO group spreads over two categories


def test_military_codes_get_their_leading_zero(shared):
    catalog = read_catalog(shared)
    assert catalog.tasks["01104"] == ("Soldaten ausbilden", "Einsätze im Gelände leiten")


def test_reading_twice_gives_the_same_catalog(shared):
    assert read_catalog(shared) == read_catalog(shared)


def test_a_missing_file_or_a_bad_code_is_named(shared):
    table = shared / "data" / "kldb2010_titles.tsv"
    table.write_text("title\tkldb5\nKoch/Köchin\t293\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"kldb2010_titles\.tsv, row 1: '293' is not a five-digit"):
        read_catalog(shared)
    table.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_catalog(shared)


def test_a_missing_column_is_named(shared):
    (shared / "data" / "kldb2010_titles.tsv").write_text("name\tkldb5\n", encoding="utf-8")
    with pytest.raises(DataError, match="the column 'title' is missing"):
        read_catalog(shared)


def test_tasks_are_separated_by_two_spaces():
    cell = "Brot backen, z.&nbsp;B. Roggenbrot   Teig kneten"
    assert split_tasks(cell) == ("Brot backen, z. B. Roggenbrot", "Teig kneten")


def test_lookup_takes_the_longest_prefix_of_enough_digits():
    table = {"29": "kitchen", "2930": "cook"}
    assert by_prefix(table, "29302", 2) == "cook"
    assert by_prefix(table, "29202", 3) is None
