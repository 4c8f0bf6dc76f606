"""Equal arms of one simulated test, split again and again: what is promised of p-values and intervals, and what breaks it."""

from pathlib import Path

import pytest

from marketplace.equal import SPLIT_AGAIN, run_equal
from marketplace.errors import Refused
from marketplace.experiment import Pace
from marketplace.readout import metrics_of
from marketplace.runs import Draft
from marketplace.scenario import load_scenario
from marketplace.shape import check
from marketplace.study_shape import EqualFile

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
RUNS = 1_000


def equal(finished, scenario, designs, runs=RUNS):
    return run_equal(Draft(finished.folder, scenario, "aa"), designs, runs, Pace(threads=1), lambda what, share: None)


@pytest.fixture(scope="module")
def found(finished, tiny):
    return equal(finished, tiny, SPLIT_AGAIN)


def of(found, design):
    return {row["metric"]: row for row in found["rows"] if row["design"] == design}


def test_split_by_users_metrics_keep_their_promises_and_ctr_of_clicks_over_impressions_breaks_its_own(found):
    """A band holds what is promised in 999 studies of 1,000: that 2 of 26 metrics are outside has a chance of 3 in 10,000."""
    rows = of(found, "users")
    naive = rows.pop("CTR, naively")
    read = [row for row in rows.values() if row["passed"] is not None]

    assert len(read) > 20
    assert sum(not row["passed"] for row in read) <= 1
    assert all(row["runs"] == RUNS for row in read)
    assert naive["passed"] is False and naive["rejected"] > naive["most"]


def test_every_design_has_a_row_for_every_metric_and_says_what_it_does_not_count(found, tiny):
    names = [metric.name for metric in metrics_of(tiny)]

    for design in SPLIT_AGAIN:
        assert list(of(found, design))[: len(names)] == names
    assert of(found, "switchback")["return_rate"]["why"].startswith("not counted")
    assert of(found, "advertisers")["total_GMV"]["passed"] is None


def test_a_ramp_is_split_again_by_users_as_if_there_were_none(finished, tiny, found):
    """A user has a row in each stage and arm there, which are no users."""
    ramped = load_scenario(TINY, ["experiment.ramp=[{days=1,share=0.2},{days=1,share=0.5}]"])

    assert equal(finished, ramped, ("users",))["rows"] == [row for row in found["rows"] if row["design"] == "users"]


@pytest.mark.parametrize("design", ["sessions", "requests", "budgets", "user"])
def test_what_cannot_be_split_again_is_refused(finished, tiny, design):
    with pytest.raises(Refused, match=rf"--design '{design}': there are users, clusters, switchback, advertisers"):
        equal(finished, tiny, ("users", design))


def test_a_design_that_the_experiment_cannot_be_had_by_is_refused(finished):
    uneven = load_scenario(TINY, ["experiment.block_minutes=1080"])

    with pytest.raises(
        Refused, match=r"--design 'switchback': experiment\.block_minutes is 1080, it must divide the 2 days"
    ):
        equal(finished, uneven, ("switchback",))


def test_what_is_found_of_equal_arms_is_of_the_shape_that_is_read_again(found):
    check(EqualFile, found, "aa.json")
