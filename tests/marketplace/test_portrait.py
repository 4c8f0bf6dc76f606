"""The portrait of a world: figures that can be checked by hand, and the command that shows them."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from marketplace import portrait as portraits
from marketplace.blocks import bars, skyline
from marketplace.cli import app
from marketplace.page import render_portrait
from marketplace.portrait import correlation, histogram, portrait, shares
from marketplace.scenario import Scenario
from synth.world import populate, rebuild

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"


@pytest.fixture(scope="module")
def content(tiny, world):
    return portrait(tiny, world)


@pytest.fixture
def built(monkeypatch, world):
    """The command finds the world built already."""
    monkeypatch.setattr("marketplace.market.open_market", lambda scenario: world)


def call(*args):
    return CliRunner().invoke(app, ["world", *map(str, args)])


def test_it_is_plain_json_and_the_same_each_time(content, tiny, world):
    assert json.loads(json.dumps(content, allow_nan=False)) == content == portrait(tiny, world)


def test_every_set_of_shares_adds_up_to_1(content):
    need, traffic = content["need"], content["traffic"]
    whole = [traffic["hour"], traffic["hour_asked"], content["activity"]["tenths"], content["habits"]["share"]]
    whole += [list(need[kind].values()) for kind in ("views", "chance", "requests")]
    whole += [content["prices"]["level"]["share"], content["campaigns"]["budget_usd"]["share"]]
    whole += [group["share"] for group in content["candidates"]["groups"].values()]

    assert [sum(part) for part in whole] == pytest.approx([1.0] * len(whole))


def test_the_lorenz_curve_rises_from_0_to_1_ever_faster(content):
    curve = np.array(content["activity"]["requests"])

    assert curve[0] == 0 and curve[-1] == pytest.approx(1)
    assert (np.diff(curve) > 0).all() and (np.diff(curve, 2) > -1e-12).all()
    assert content["activity"]["top_tenth"] == pytest.approx(content["activity"]["tenths"][-1])


def test_the_lorenz_curve_of_lognormal_activity_is_the_closed_form(tiny, world):
    """Without fatigue, Gini = 2 Phi(sigma / sqrt 2) - 1; 2,000 users are off by a percent or two."""
    week = portraits.sample(world)
    rested = week.minds._replace(fatigue=week.minds.fatigue._replace(level=np.zeros(len(week.minds.fatigue.level))))

    gini = portraits.activity(week._replace(minds=rested))["gini"]

    assert tiny.world.population.activity_sigma == 1.0
    assert gini == pytest.approx(0.5205, abs=0.03)


def test_examination_is_attention_times_slot_effect_to_the_depth(tiny, world):
    text = TINY.read_text().replace("candidates = 20", "platform_depth = [1.0, 2.0, 1.0]\ncandidates = 20")
    text += """
        [[world.feed.surfaces]]
        name = "feed"
        share = 0.75
        [[world.feed.surfaces]]
        name = "search"
        share = 0.25
        attention = 0.5
    """
    rows = portraits.examination(like(world, text))

    assert [(row["surface"], row["platforms"]) for row in rows] == [
        ("feed", [0, 2]), ("feed", [1]), ("search", [0, 2]), ("search", [1]),
    ]  # fmt: skip
    effects = [effect for row in rows for effect in row["effect"]]
    assert effects == pytest.approx([1, 0.7, 0.5, 1, 0.49, 0.25, 0.5, 0.35, 0.25, 0.5, 0.245, 0.125])


def like(world, text):
    """The same intercepts and users under another scenario."""
    scenario = Scenario.model_validate(tomllib.loads(text))
    return rebuild(populate(scenario.world, scenario.seed), world.solved, [])


def test_the_delays_of_checkouts_go_through_the_points_asked_for(content, tiny):
    delays = content["delays"]
    at = dict(zip(delays["hours"], delays["events"]["checkout"], strict=True))

    assert [at[p.hours] for p in tiny.world.marginals.delay] == pytest.approx([0.45, 0.75, 0.92], abs=1e-6)
    assert all((np.diff(share) >= 0).all() for share in delays["events"].values())
    assert "sign_up" not in delays["events"]


def test_counts_are_those_of_the_scenario(content, world):
    counts = content["counts"]

    assert {name: counts["population"][name] for name in ("users", "regions", "platforms", "cohorts")} == {
        "users": 2000, "regions": 4, "platforms": 3, "cohorts": 6,
    }  # fmt: skip
    assert {name: counts["catalogue"][name] for name in ("stores", "cuisines", "dishes", "ads")} == {
        "stores": 200, "cuisines": 10, "dishes": 30, "ads": 120,
    }  # fmt: skip
    assert sum(n for name, n in counts["campaigns"].items() if name.startswith("priced by")) == 40
    assert sum(n for name, n in counts["campaigns"].items() if name.startswith("aiming at")) == 40
    assert counts["catalogue"]["ads on air at the start"] == world.population.live(0).sum() <= 120


def test_traffic_is_what_the_marginals_ask_for(content):
    people = content["counts"]["population"]

    assert people["sessions a day"] == pytest.approx(2000, rel=0.05)
    assert people["requests a day"] == pytest.approx(2 * people["sessions a day"], rel=0.03)
    assert people["active on a day"] < people["sessions a day"]
    assert sum(content["traffic"]["weekday"]) == pytest.approx(7 * people["requests a day"])
    assert content["traffic"]["hour"] == pytest.approx(content["traffic"]["hour_asked"], abs=0.01)


def test_a_sample_of_users_stands_for_all_of_them(content, world, tiny, monkeypatch):
    monkeypatch.setattr(portraits, "_WEEK", 7_000)
    part = portrait(tiny, world)

    assert portraits.sample(world).scale == pytest.approx(2000 / 501)
    assert part["counts"]["population"]["users"] == 2000
    for name in ("requests a day", "sessions a day", "active on a day", "share of the busiest 10%"):
        assert part["counts"]["population"][name] == pytest.approx(content["counts"]["population"][name], rel=0.12)


def test_errors_of_marginals_are_relative(content):
    row = content["marginals"][0]

    assert row["name"] == "ctr" and row["asked"] == 0.1
    assert row["error"] == pytest.approx((row["obtained"] - 0.1) / 0.1, abs=1e-6)


def test_appetite_comes_back_over_the_period_and_gains_from_the_usual_daypart(content):
    """The scenario's renewal is 1 and its daypart 0.8: exp(-1/2) - 1 right after an order, exp(-1/2) - exp(-1) a period on."""
    middle = content["appetite"]["curves"][1]
    at_period = np.interp(middle["period_days"], content["appetite"]["days"], middle["elsewhere"])

    assert middle["elsewhere"][0] == pytest.approx(np.exp(-0.5) - 1)
    assert at_period == pytest.approx(np.exp(-0.5) - np.exp(-1), abs=1e-3)
    assert np.array(middle["in_daypart"]) - middle["elsewhere"] == pytest.approx(0.8)


def test_views_follow_the_need_far_beyond_chance(content):
    need = content["need"]

    assert need["views"]["the dish needed"] > 3 * need["chance"]["the dish needed"]
    assert need["requests"]["searched for in words"] == pytest.approx(0.3, abs=0.03)


def test_candidates_are_among_the_eligible_and_known_stores_fit_better(content):
    found = content["candidates"]

    assert found["retrieved_per_request"] <= min(found["eligible_per_request"], 20)
    assert found["mean"]["known stores"] > found["mean"]["eligible"]


def test_what_is_off_is_said_to_be_off(content, world):
    on = {row["section"]: row["on"] for row in content["mechanisms"]}
    rows = portraits.mechanisms(like(world, TINY.read_text() + "\n[world.interaction]\nweight = 0\n"))

    assert list(on) == [
        "taste", "interaction", "content", "intent", "habit", "fatigue", "lifetime", "drift", "delay", "organic", "retrieval",
    ]  # fmt: skip
    assert [name for name, is_on in on.items() if not is_on] == ["lifetime"]
    assert [row["section"] for row in rows if not row["on"]] == ["interaction", "lifetime"]
    assert content["solved"]["sign_up"] is None and content["solved"]["click"] == world.intercepts.click


def test_helpers_do_what_they_say():
    assert shares([1, 3]) == [0.25, 0.75] and shares([0, 0]) == [0, 0]
    assert histogram(np.array([0.0, 0.5, 2.0]), np.array([0.0, 1.0, 2.0]))["share"] == pytest.approx([2 / 3, 1 / 3])
    assert correlation(np.array([1.0, 2.0]), np.array([4.0, 2.0])) == pytest.approx(-1)
    assert correlation(np.array([1.0, 1.0]), np.array([4.0, 2.0])) is None


def test_bars_are_aligned_and_in_proportion():
    assert bars({"a": 1.0, "long": 0.5}, ["1", "0.5"]).splitlines() == [
        "     a ▕" + "█" * 30 + " 1", "  long ▕" + "█" * 15 + " " * 15 + " 0.5",
    ]  # fmt: skip
    assert skyline([1, 2, 0], ["0", "", "2"], "top", height=2).splitlines() == [
        "  top ▕  ██",
        "      ▕████",
        "       0   2",
    ]


def test_the_terminal_shows_tables_and_plots_that_fit(built):
    result = call(TINY)

    assert result.exit_code == 0, result.output
    for words in ("users", "ctr", "obtained", "interaction", "Requests by hour", "Checkouts placed within", "off"):
        assert words in result.stdout
    assert max(len(line) for line in result.stdout.splitlines() if "▕" in line) <= 60


def test_json_is_the_portrait(built, content):
    assert json.loads(call(TINY, "--json").stdout) == content


def test_the_page_is_whole_and_needs_nothing_beside_it(built, content, tmp_path):
    result = call(TINY, "--html", tmp_path / "world.html")
    page = (tmp_path / "world.html").read_text()

    assert result.exit_code == 0 and [path.name for path in tmp_path.iterdir()] == ["world.html"]
    assert page == render_portrait(content)
    assert page.rstrip().endswith("</html>") and page.count('class="plotly-graph-div"') == 16
    own = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "://" not in own and not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)


def test_a_page_that_cannot_be_written_leaves_nothing(built, monkeypatch, tmp_path):
    def full_disk(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    result = call(TINY, "--html", tmp_path / "world.html")

    assert result.exit_code == 2 and "No space left on device" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args, words",
    [
        ((TINY, "--set", "world.population.usres=1"), "unknown key world.population.usres, did you mean users?"),
        ((TINY, "--set", "world.marginals.ctr=0.9"), "of the impressions are looked at"),
        ((TINY, "--html", "nowhere/world.html"), "--html nowhere/world.html: give a file in a folder that exists"),
        (("nowhere.toml",), "nowhere.toml: No such file"),
    ],
)
def test_bad_input_is_refused_in_one_line(args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*args)
    lines = result.stderr.strip().splitlines()

    assert result.exit_code == 2 and len(lines) == 1
    assert lines[0].startswith("marketplace: ") and words in lines[0]
    assert not list(tmp_path.iterdir())
