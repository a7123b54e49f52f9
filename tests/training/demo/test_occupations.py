from pathlib import Path

import pytest

from app.core.errors import DataError
from app.training.demo.job_titles import Forms, parse_title
from app.training.demo.occupations import by_prefix, read_catalog, read_taxonomy, split_tasks
from tests.support.tiny_occupations import write_occupation_tables


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return write_occupation_tables(tmp_path / "shared")


def by_title(shared: Path):
    return {job.forms.masculine: job for job in read_catalog(shared).titles}


def test_the_longest_prefix_decides_the_category(shared):
    taxonomy = read_taxonomy(shared / "taxonomy")
    assert taxonomy.category("23222") == "design"
    assert taxonomy.category("23322") == "materials"
    assert taxonomy.category("99999") is None


def test_the_fifth_digit_is_the_usual_level(shared):
    taxonomy = read_taxonomy(shared / "taxonomy")
    assert [taxonomy.level(f"2322{digit}") for digit in "1234"] == list(taxonomy.levels.labels)


def test_labels_keep_the_order_and_names_of_their_tables(shared):
    taxonomy = read_taxonomy(shared / "taxonomy")
    assert taxonomy.categories.labels == ("materials", "design", "security", "cooking", "cleaning")
    assert taxonomy.levels.ordered
    assert not taxonomy.categories.ordered
    assert taxonomy.categories.names["en"][3] == "Cooking"


def test_a_title_of_two_categories_is_dropped(shared):
    assert "Zwitter" not in by_title(shared)


def test_a_title_of_two_levels_keeps_the_lower(shared):
    assert by_title(shared)["Doppelkoch"].level == "vocational"


def test_the_newer_table_overrules_the_older(shared):
    job = by_title(shared)["Koch"]
    assert (job.code, job.source) == ("29302", "ba")


def test_degrees_are_no_job_titles_but_fill_the_subjects(shared):
    catalog = read_catalog(shared)
    assert not any("Bachelor" in job.forms.masculine for job in catalog.titles)
    assert "Grafik" in catalog.studies["232"]


def test_esco_is_mapped_by_title_first_and_by_the_crosswalk_else(shared):
    titles = by_title(shared)
    assert titles["Kantinenkoch"].code == "29302"
    assert titles["Putzmann"].code == "54101"
    assert "Unklarer" not in titles  # its ISCO group spreads over two categories


def test_military_codes_get_their_leading_zero_back(shared):
    catalog = read_catalog(shared)
    assert catalog.tasks["01104"] == ("Soldaten ausbilden", "Einsätze im Gelände leiten")


def test_reading_twice_gives_the_same_catalog(shared):
    assert read_catalog(shared) == read_catalog(shared)


def test_a_missing_file_and_a_bad_code_are_named(shared):
    table = shared / "data" / "kldb2010_titles.tsv"
    table.write_text("title\tkldb5\nKoch/Köchin\t293\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"kldb2010_titles\.tsv, row 1: '293' is no five-digit"):
        read_catalog(shared)
    table.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_catalog(shared)


def test_a_missing_column_is_named(shared):
    (shared / "data" / "kldb2010_titles.tsv").write_text("name\tkldb5\n", encoding="utf-8")
    with pytest.raises(DataError, match="the column 'title' is missing"):
        read_catalog(shared)


@pytest.mark.parametrize(
    ("title", "forms"),
    [
        ("Aalräucherer/-räucherin", ("Aalräucherer", "Aalräucherin")),
        ("Abgeordnete/r", ("Abgeordneter", "Abgeordnete")),
        ("Beamt(er/in) - Zoll (mittl. Dienst)", ("Beamter - Zoll", "Beamtin - Zoll")),
        ("Industriekaufmann/-frau", ("Industriekaufmann", "Industriekauffrau")),
        ("Technische/r Leiter/in", ("Technischer Leiter", "Technische Leiterin")),
        ("Koch/Köchin", ("Koch", "Köchin")),
        ("Lotse/-lotsin", ("Lotse", "Lotsin")),
        ("Abbeizer/in (Dekapierer/in)", ("Abbeizer", "Abbeizerin")),
        ("Leiter für Leder/Leiterin für Leder", ("Leiter für Leder", "Leiterin für Leder")),
        ("Assistenzarzt/-ärztin", ("Assistenzarzt", "Assistenzärztin")),
        ("Kinderdorfmutter/-vater", ("Kinderdorfmutter", "")),
        ("Fachkraft", ("Fachkraft", "")),
    ],
)
def test_a_dictionary_title_is_taken_apart(title, forms):
    assert parse_title(title) == Forms(*forms)


def test_tasks_stand_apart_by_two_spaces():
    cell = "Brot backen, z.&nbsp;B. Roggenbrot   Teig kneten"
    assert split_tasks(cell) == ("Brot backen, z. B. Roggenbrot", "Teig kneten")


def test_the_longest_prefix_is_looked_up_no_shorter_than_asked():
    table = {"29": "kitchen", "2930": "cook"}
    assert by_prefix(table, "29302", 2) == "cook"
    assert by_prefix(table, "29202", 3) is None
