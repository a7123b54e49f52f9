import json
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from app.core.errors import DataError
from app.core.head_labels import HEADS
from app.core.postprocessing import best, probabilities
from app.training.demo.hand_labelled import Contender, fit, fit_apart, read_hand_labelled, score
from app.training.demo.occupations import read_taxonomy
from app.training.evaluation.head_metrics import fit_accepted
from tests.support.repository import SHARED
from tests.support.tiny_gold import GOLD_ROWS, write_gold
from tests.support.tiny_occupations import write_occupation_tables

SCORE = SHARED / "tools" / "score.py"


@pytest.fixture
def shared(tmp_path):
    return write_gold(write_occupation_tables(tmp_path / "shared"))


@pytest.fixture
def heads(shared):
    taxonomy = read_taxonomy(shared / "taxonomy")
    return {"job_category": taxonomy.categories, "min_education": taxonomy.levels}


def sure(head, labels):
    """Answers that are certain of a label each."""
    return np.eye(len(head.labels), dtype=np.float32)[[head.labels.index(x) for x in labels]]


def test_ads_come_with_their_source_country_and_either_label(shared, heads):
    ads = read_hand_labelled(shared, heads)
    assert ads.sources == ("acme", "acme", "acme", "beta", "beta")
    assert ads.countries == ("CH", "CH", "CH", "DE", "DE")
    assert ads.ads[2].title is None
    labels = heads["job_category"].labels
    assert ads.accepted["job_category"][1] == {labels.index("cooking"), labels.index("cleaning")}
    assert ads.mask("min_education", 4).sum(axis=1).tolist() == [1, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("x-1", "DE", "", "Text", "gardening", "", "none", ""), "'gardening' is none of"),
        (("x-1", "DE", "", "Text", "cooking", "", "", ""), "there is no label"),
    ],
)
def test_a_label_that_cannot_count_is_named_with_its_row(shared, heads, row, sentence):
    write_gold(shared, (*GOLD_ROWS, row))
    with pytest.raises(DataError, match=sentence) as caught:
        read_hand_labelled(shared, heads)
    assert "row 6" in str(caught.value)


def test_a_labelled_ad_has_to_be_there(shared, heads):
    (shared / "data" / "ads.jsonl").write_text('{"id": "other", "text": "x"}\n')
    with pytest.raises(DataError, match=r"row 1.*not in ads\.jsonl"):
        read_hand_labelled(shared, heads)


def test_figures_are_those_counted_by_hand(shared, heads):
    ads = read_hand_labelled(shared, heads)
    answers = {
        # The alternative label counts; the last is wrong.
        "job_category": sure(
            heads["job_category"], ["cooking", "cleaning", "cleaning", "design", "cooking"]
        ),
        # Off by 0, 0, 0, 0 and, as none against master, 3.
        "min_education": sure(
            heads["min_education"], ["vocational", "advanced", "none", "advanced", "none"]
        ),
    }
    found = score(ads, heads, Contender("one", answers))
    assert found["all"]["job_category"] == {"top_1": 0.8, "top_3": 0.8, "ece": 0.2}
    assert found["all"]["min_education"]["levels_off"] == 0.6
    assert found["all"]["min_education"]["far_off"] == 0.2
    assert found["sources"]["acme"]["job_category"]["top_1"] == 1.0
    assert found["sources"]["beta"]["ads"] == 2
    assert found["countries"]["DE"]["job_category"]["top_1"] == 0.5


def test_what_gives_no_probabilities_has_no_calibration_error(shared, heads):
    ads = read_hand_labelled(shared, heads)
    answers = {"min_education": sure(heads["min_education"], ["none"] * 5)}
    found = score(ads, heads, Contender("rules", answers, probabilistic=False))["all"]
    assert "job_category" not in found
    assert "ece" not in found["min_education"]
    # Certain of one label: those ruled out are not among its best three.
    assert found["min_education"]["top_1"] == found["min_education"]["top_3"] == 0.2


@pytest.mark.skipif(not SCORE.is_file(), reason="../shared with its score is not there")
def test_figures_are_those_of_the_shared_score(tmp_path, heads):
    random = np.random.default_rng(3)
    jobs, levels = (heads[name].labels for name in HEADS)
    rows = tuple(
        (f"{random.choice(['acme', 'beta', 'gamma'])}-{number}", "CH", "", "Text",
         str(random.choice(jobs)), str(random.choice(["", *jobs])),
         str(random.choice(levels)), str(random.choice(["", *levels])))
        for number in range(80)
    )  # fmt: skip
    shared = write_gold(write_occupation_tables(tmp_path / "other"), rows)
    ads = read_hand_labelled(shared, heads)
    answers = {
        name: random.dirichlet(np.full(len(head.labels), 0.3), len(ads)).astype(np.float32)
        for name, head in heads.items()
    }
    with (tmp_path / "predictions.jsonl").open("w") as file:
        for number, key in enumerate(ads.ids):
            line: dict[str, object] = {"id": key}
            for name, head in heads.items():
                top = [asdict(one) for one in best(answers[name][number], head.labels, 3)]
                line[name] = {**top[0], "top": top}
            file.write(json.dumps(line) + "\n")
    printed = subprocess.run(
        [sys.executable, SCORE, shared / "data" / "gold_dev.csv", tmp_path / "predictions.jsonl"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()[1:]
    found = score(ads, heads, Contender("one", answers))
    groups = {"all": found["all"], **found["sources"]}
    assert len(printed) == len(groups) == 4
    for line, (name, figures) in zip(printed, groups.items(), strict=True):
        assert line.split()[:2] == [name, str(figures["ads"])]
        job, education = figures["job_category"], figures["min_education"]
        ours = [*job.values(), *education.values()]
        theirs = [float(number) for number in re.findall(r"\d+\.\d+", line)]
        # Theirs are printed with three digits, the levels off with two.
        assert theirs == pytest.approx(ours, abs=0.0051)
        assert theirs[:6] + theirs[7:] == pytest.approx(ours[:6] + ours[7:], abs=0.00056)


@pytest.fixture
def loud(shared, heads):
    """Ads, and education logits that are surer than right: two ads of five are wrong."""
    ads = read_hand_labelled(shared, heads)
    answers = sure(heads["min_education"], ["vocational", "advanced", "master", "none", "master"])
    return ads, [10 * row[None] for row in answers]


def test_the_temperature_is_fitted_to_either_label(loud):
    ads, logits = loud
    assert fit(ads, "min_education", logits) > 2
    right = [10 * row[None] for row in ads.mask("min_education", 4).astype(np.float32)]
    # All mass lies on right labels, if on two of them: the surer the better.
    assert fit(ads, "min_education", right) < 1


def test_a_sources_temperature_can_be_fitted_on_the_other_sources(loud):
    ads, logits = loud
    apart = fit_apart(ads, "min_education", logits)
    # Of each source half or a third of the ads is wrong, but none of them decides its own.
    third = [logits[row] for row in range(3)]
    mask = ads.mask("min_education", 4)
    assert apart[3] == pytest.approx(probabilities(logits[3], fit_accepted(third, mask[:3])))
    assert apart[0, 1] != pytest.approx(apart[4, 3])
