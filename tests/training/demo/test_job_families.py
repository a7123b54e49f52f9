import pytest

from app.core.errors import DataError
from app.training.demo.job_families import merge_titles, read_families
from app.training.demo.job_titles import TitleForms
from app.training.demo.occupations import JobTitle
from app.training.demo.taxonomy import read_taxonomy
from tests.support.tiny_occupations import write_occupation_tables

COOK = JobTitle(TitleForms("Koch", "Köchin"), "29302", "cooking", "vocational", "own")


def test_a_title_has_the_catalogs_code_unless_it_names_a_level():
    listed = [JobTitle(TitleForms("Koch"), "29301", "cooking", "none", "ba")]
    (merged,) = merge_titles([COOK], listed)
    assert (merged.code, merged.level) == ("29301", "none")
    chosen = JobTitle(TitleForms("Koch"), "29302", "cooking", "vocational", "chosen", "", "CH")
    swiss, german = merge_titles([chosen], listed)
    assert (swiss.level, swiss.country) == ("vocational", "CH")
    assert (german.level, german.country) == ("none", "DE")


def test_a_code_outside_the_taxonomy_is_refused(tmp_path):
    """The tiny taxonomy knows few of the codes in the real tables."""
    taxonomy = read_taxonomy(write_occupation_tables(tmp_path / "shared") / "taxonomy")
    with pytest.raises(DataError, match="is not a line of titles"):
        read_families(taxonomy)
