"""Dollars of hosts and trainings, by hand."""

import pytest

from marketplace.cost import cheapest, training_usd, usd_per_year, workers_of
from marketplace.scenario import load_scenario
from marketplace.servers import CostConfig, HostConfig

PROCESSORS, CARDS = CostConfig().hosts["t3_2xlarge"], CostConfig().hosts["g4dn_12xlarge"]


def test_a_year_of_three_hosts_is_three_times_its_hours():
    assert usd_per_year(3, PROCESSORS) == pytest.approx(3 * 0.334 * 24 * 365)


def test_an_hour_of_training_costs_the_share_of_the_workers_that_it_keeps_busy():
    assert training_usd(3600.0, 2, PROCESSORS, "cpu") == pytest.approx(2 / 8 * 0.334)
    assert training_usd(1800.0, 1, CARDS, "cuda") == pytest.approx(0.5 / 4 * 3.912)


def test_a_model_runs_once_per_core_or_once_per_card():
    assert (workers_of(PROCESSORS, "cpu"), workers_of(CARDS, "cuda"), workers_of(PROCESSORS, "cuda")) == (8, 4, 0)


def test_the_host_whose_workers_cost_least_is_hired():
    """0.334 / 8 = .0418 per core and hour, 3.912 / 48 = .0815; a host of 64 cores for 2 dollars costs .0313."""
    hosts = CostConfig().hosts
    large = hosts | {"large": HostConfig(usd_per_hour=2.0, cores=64)}

    assert cheapest(hosts, "cpu") == "t3_2xlarge"
    assert cheapest(large, "cpu") == "large"
    assert cheapest(large, "cuda") == "g4dn_12xlarge"
    assert cheapest({"large": large["large"]}, "cuda") is None


def test_a_price_that_is_given_replaces_that_of_the_table_and_leaves_the_rest(tiny, tmp_path):
    file = tmp_path / "scenario.json"
    file.write_text(tiny.model_dump_json(exclude={"cost"}))
    cost = load_scenario(
        file, ["cost.hosts.t3_2xlarge.usd_per_hour=0.2", "cost.hosts.own={usd_per_hour=1, cores=16}"]
    ).cost

    assert cost.hosts["t3_2xlarge"].model_dump() == PROCESSORS.model_dump() | {"usd_per_hour": 0.2}
    assert cost.hosts["g4dn_12xlarge"] == CARDS
    assert cost.hosts["own"] == HostConfig(usd_per_hour=1, cores=16)
