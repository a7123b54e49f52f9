import random

import pytest

from app.training.demo.ad_context import SceneMaker
from app.training.demo.occupations import read_catalog
from app.training.demo.requirement_sampler import RequirementSampler
from tests.support.tiny_occupations import write_occupation_tables
from tests.training.demo.test_ad_generator import COOK, KITCHEN


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return read_catalog(write_occupation_tables(tmp_path_factory.mktemp("shared")))


def scene_of(catalog):
    return SceneMaker(catalog, {"29": KITCHEN}, random.Random(1)).scene(COOK)  # noqa: S311


def test_the_usual_level_holds_when_nothing_is_stated(catalog):
    scene = scene_of(catalog)
    asker = RequirementSampler(random.Random(1), stated_share=0.0)  # noqa: S311
    assert asker.requirement(scene, "regular") == ([], "vocational")


@pytest.mark.parametrize("situation", ["apprentice", "student", "helper"])
def test_an_apprenticeship_and_its_kin_ask_for_nothing(catalog, situation):
    scene, asker = scene_of(catalog), RequirementSampler(random.Random(1))  # noqa: S311
    assert all(asker.requirement(scene, situation)[1] == "none" for _ in range(50))


def test_an_apprenticeship_says_so_in_its_title(catalog):
    asker = RequirementSampler(random.Random(1))  # noqa: S311
    words = ("Lern", "Lehr", "Azubi", "Ausbildung", "Auszubildende")
    scene = scene_of(catalog)
    titles = [asker.special_title(scene, "apprentice") or "" for _ in range(40)]
    assert all(title.startswith(words) for title in titles)


def test_a_regular_position_has_no_special_title(catalog):
    assert RequirementSampler(random.Random(1)).special_title(scene_of(catalog), "regular") is None  # noqa: S311
