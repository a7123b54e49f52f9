import random

import pytest

from app.training.demo.ad_context import AdContextSampler
from app.training.demo.occupations import read_catalog
from app.training.demo.requirement_sampler import RequirementSampler
from tests.support.tiny_occupations import write_occupation_tables
from tests.training.demo.test_ad_generator import COOK, KITCHEN


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return read_catalog(write_occupation_tables(tmp_path_factory.mktemp("shared")))


def context_of(catalog):
    return AdContextSampler(catalog, {"29": KITCHEN}, random.Random(1)).sample(COOK)  # noqa: S311


def test_without_a_requirement_the_label_is_the_usual_level(catalog):
    context = context_of(catalog)
    sampler = RequirementSampler(random.Random(1), stated_share=0.0)  # noqa: S311
    assert sampler.requirement(context, "regular") == ([], "vocational")


@pytest.mark.parametrize("situation", ["apprentice", "student", "helper"])
def test_positions_for_learners_and_helpers_require_nothing(catalog, situation):
    context, sampler = context_of(catalog), RequirementSampler(random.Random(1))  # noqa: S311
    assert all(sampler.requirement(context, situation)[1] == "none" for _ in range(50))


def test_the_title_of_an_apprenticeship_says_so(catalog):
    sampler = RequirementSampler(random.Random(1))  # noqa: S311
    words = ("Lern", "Lehr", "Azubi", "Ausbildung", "Auszubildende")
    context = context_of(catalog)
    titles = [sampler.special_title(context, "apprentice") or "" for _ in range(40)]
    assert all(title.startswith(words) for title in titles)


def test_a_regular_position_has_no_special_title(catalog):
    sampler = RequirementSampler(random.Random(1))  # noqa: S311
    assert sampler.special_title(context_of(catalog), "regular") is None
