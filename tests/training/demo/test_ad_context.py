import random

import pytest

from app.training.demo.ad_context import AdContextSampler
from app.training.demo.occupations import read_catalog
from tests.support.tiny_occupations import write_occupation_tables
from tests.training.demo.test_ad_generator import COOK, KITCHEN


@pytest.fixture
def context(tmp_path):
    catalog = read_catalog(write_occupation_tables(tmp_path / "shared"))
    return AdContextSampler(catalog, {"29": KITCHEN}, random.Random(1)).sample(COOK)  # noqa: S311


def test_slots_are_filled_with_values_of_the_occupation(context):
    assert context.fill("Studium {study}") == "Studium Ernährung"


def test_a_sentence_with_an_unknown_slot_is_not_used(context):
    assert context.fill("{unknown} gesucht") is None
    assert context.pick(["{unknown} gesucht", "Guten Tag"], 2) == ["Guten Tag"]


def test_a_sentence_of_other_categories_is_not_picked(context):
    assert context.pick(["Kaufmännische Ausbildung", "Laufbahn im Dienst"], 2) == []
