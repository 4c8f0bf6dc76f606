"""Scenarios: what is refused, and in which words."""

import json
from pathlib import Path

import pytest

from marketplace.designs import assignment_of
from marketplace.errors import Refused
from marketplace.scenario import load_scenario

HERE = Path(__file__).parents[2] / "scenarios"
TINY = HERE / "tiny.toml"


@pytest.mark.parametrize("path", sorted(HERE.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_is_valid_and_named_like_its_file(path):
    assert load_scenario(path).name == path.stem


@pytest.mark.parametrize(
    "override, words",
    [
        ("world.population.usres=5", "unknown key world.population.usres, did you mean users?"),
        ("auctoin.squash=1", "unknown key auctoin, did you mean auction?"),
        ("models.treatment.epoch=5", "unknown key models.treatment.epoch, did you mean epochs?"),
        ("world.population.users=many", "world.population.users: Input should be a valid integer"),
        ("world.population.users=0", "world.population.users: Input should be greater than 0, got 0"),
        (
            "world.campaigns.daily_budget_usd=-5",
            "world.campaigns.daily_budget_usd: Input should be greater than or equal to 0.0001, got -5",
        ),
        ("world.feed.candidates=2", "slots are 3, more than the 2 candidates"),
        ("world.feed.slot_effect=[1.0, 1.5]", "world.feed.slot_effect.1: Input should be less than or equal to 1"),
        ("world.feed.slot_effect=[1.0, 0.5, 0.8]", "slot_effect rises"),
        ("world.marginals.cvr=0", "world.marginals.cvr: Input should be greater than or equal to 0.000000001"),
        ("world.marginals.ctr=nan", "world.marginals.ctr: Input should be"),
        ("world.campaigns.cpa_share=0.9", "adds up to 1.4, it must add up to 1"),
        ("world.campaigns.count=4000", "the catalogue has 200"),
        ("world.population.platform_share=[0.5, 0.3]", "platform_share adds up to 0.8"),
        ("experiment.arms.treatment.share=1.0", "experiment.arms.treatment.share: Input should be less than 1"),
        ("pacing.interval_minutes=7", "interval_minutes is 7, it must divide the 240"),
        ("features.publish_minutes=45", "features.publish_minutes is 45"),
        ("models.control.kind=oracle", "models.control"),
        ("seed=-1", "seed: Input should be greater than or equal to 0, got -1"),
        ("seed.x=1", "seed is a value, not a section"),
        ("squash", "write key=value"),
    ],
)
def test_bad_settings_are_refused_in_one_line_with_name_rule_and_value(override, words):
    with pytest.raises(Refused) as refused:
        load_scenario(TINY, [override])

    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "tiny.toml" in str(refused.value) or "--set" in str(refused.value)


def test_a_missing_or_broken_file_is_refused_with_its_path(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("name = \n")
    for path in (tmp_path / "none.toml", broken):
        with pytest.raises(Refused, match=path.name):
            load_scenario(path)


def test_an_override_reaches_lists_and_sections_and_the_seed(tmp_path):
    scenario = load_scenario(TINY, ["world.feed.slot_effect=[1.0, 0.5]", "auction.squash=0.5"], seed=99)

    assert scenario.world.feed.slot_effect == (1.0, 0.5)
    assert (scenario.auction.squash, scenario.seed) == (0.5, 99)


def test_a_scenario_written_as_json_is_read_as_the_same(tmp_path):
    scenario = load_scenario(TINY)
    path = tmp_path / "scenario.json"
    path.write_text(scenario.model_dump_json())

    assert load_scenario(path) == scenario
    json.loads(path.read_text())


def test_a_stage_depends_on_what_comes_before_it_only():
    base = load_scenario(TINY)

    def same(override: str) -> list[bool]:
        other = load_scenario(TINY, [override])
        return [base.settings_of(stage) == other.settings_of(stage) for stage in ("log", "models", "simulations")]

    assert same("models.control.trees=7") == [True, False, False]
    assert same("experiment.arms.treatment.share=0.2") == [True, True, False]
    assert same("cost.trainings_per_year=4") == [True, True, True]
    assert same("serving.scale=9") == [True, True, True]
    assert same("calendar.test_days=1") == [True, True, False]
    assert same("auction.squash=0.5") == [False, False, False]


@pytest.mark.parametrize(
    "overrides, words",
    [
        (
            ["arms.x.share=0.6", "arms.treatment.share=0.6"],
            "shares control -0.2, treatment 0.6, x 0.6, they must be positive",
        ),
        (
            ["arms.control.share=0.5", "arms.treatment.share=0.4"],
            "control 0.5, treatment 0.4, they must be positive and add up",
        ),
        (["arms.ab.share=0.2"], "experiment.arms.ab: an arm must not be named ab or aa"),
        (["arms.x.model=deep"], "experiment.arms.x.model is deep, it must be one of control, treatment, first_ranker"),
        (
            ["arms.x.bid_factor=0"],
            "experiment.arms.x.bid_factor: Input should be greater than or equal to 0.000001, got 0",
        ),
        (["arms.x.withhold=[40]"], "experiment.arms.x.withhold has campaign 40, they are 0 to 39"),
        (
            ["arms.x.withhold=[3, -1]"],
            "experiment.arms.x.withhold.1: Input should be greater than or equal to 0, got -1",
        ),
        (["arms.x.withhold=some"], "experiment.arms.x.withhold: Input should be 'none' or 'all', got 'some'"),
        (["arms.x.shrae=0.2"], "unknown key experiment.arms.x.shrae, did you mean share?"),
        (["design=regions"], "experiment.design: Input should be 'users', "),
        (
            ["design=switchback", "block_minutes=15"],
            "block_minutes is 15, it must be a multiple of pacing.interval_minutes, 30",
        ),
        (
            ["design=switchback", "burn_in_minutes=45"],
            "burn_in_minutes is 45, it must be a multiple of pacing.interval_minutes",
        ),
        (["design=switchback", "block_minutes=420"], "block_minutes is 420, it must divide the 2 days of the test"),
        (["design=switchback", "burn_in_minutes=240"], "burn_in_minutes is 240, it must be under block_minutes, 240"),
        (
            ["ramp=[{days=1, share=0.1}]"],
            "experiment.ramp has stages of 1 days, they must be the 2 of calendar.test_days",
        ),
        (
            ["ramp=[{days=1, share=0.5}, {days=1, share=0.1}]"],
            "experiment: ramp has shares 0.5, 0.1, they must not fall",
        ),
        (
            ["ramp=[{days=2, share=0.1}]", "design=budgets"],
            "experiment: ramp has 1 stages, design must be users, not budgets",
        ),
        (["adjust=cuped", "design=sessions"], "experiment: adjust is cuped, it must be none for sessions"),
        (["adjust=strata", "design=clusters"], "experiment: adjust is strata, it must be none or cuped for clusters"),
        (["adjust=cuped", "ramp=[{days=2, share=0.1}]"], "experiment: adjust is cuped, it must be none for a ramp"),
        (["design=advertisers", "arms.x.squash=0.5"], "experiment.arms.x.squash is 0.5, it must not be set where"),
        (["design=advertisers", "arms.x.withhold=all"], "experiment.arms.x.withhold is all, it must not be set where"),
    ],
)
def test_an_experiment_that_cannot_be_had_is_refused_in_one_line(overrides, words):
    with pytest.raises(Refused) as refused:
        load_scenario(TINY, [f"experiment.{override}" for override in overrides])

    assert words in str(refused.value)
    assert "\n" not in str(refused.value) and "tiny.toml" in str(refused.value)


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["design=clusters", "arms.x.share=0.3"], "experiment.design is clusters: shares of 4 clusters leave an arm 1"),
        (["design=switchback", "block_minutes=960"], "design is switchback: shares of 3 blocks of time leave an arm 1"),
        (["design=advertisers", "arms.x.share=0.01"], "experiment.design is advertisers: shares of 40 campaigns leave an arm 0"),
        (["arms.x.share=0.00001"], "experiment.arms.x has 0 of 2,000 users, an arm must have 2 at least"),
    ],
)  # fmt: skip
def test_a_design_that_leaves_an_arm_without_units_is_refused_in_one_line(world, overrides, words):
    with pytest.raises(Refused) as refused:
        scenario = load_scenario(TINY, [f"experiment.{override}" for override in overrides])
        assignment_of(scenario, world, scenario.calendar.log_days)  # how many users an arm has is known then

    assert words in str(refused.value) and "must have 2 at least" in str(refused.value)
    assert "\n" not in str(refused.value)
