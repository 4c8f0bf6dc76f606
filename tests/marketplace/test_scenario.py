"""Scenarios: what is refused, and in which words."""

import json
from pathlib import Path

import pytest

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
        ("experiment.treatment_share=1.0", "experiment.treatment_share: Input should be less than 1"),
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
    assert same("experiment.treatment_share=0.2") == [True, True, False]
    assert same("cost.cpu_host_cores=4") == [True, True, True]
    assert same("calendar.test_days=1") == [True, True, False]
    assert same("auction.squash=0.5") == [False, False, False]
