"""Sentences about guardrails and trials, and the command line of a what-if."""

import shlex

from marketplace.readout_words import got_worse, guardrails, shares, trials
from marketplace.serving_words import capacity_command


def guardrail(metric, lift, low, high, good="up"):
    return {"metric": metric, "role": "guardrail", "lift": lift, "low": low, "high": high, "good": good}


BETTER, UNSURE = guardrail("return_rate", 0.2, 0.1, 0.3), guardrail("fill_rate", -0.01, -0.03, 0.01)
WORSE, HIDES = guardrail("total_GMV", -0.021, -0.03, -0.01), guardrail("hide_rate", 0.5, 0.4, 0.6, good="down")
UNREAD = guardrail("infra_cost", 0.3, None, None, good="down")
GOAL = guardrail("CPA", 0.5, 0.4, 0.6, good="down") | {"role": "goal"}


def test_only_guardrails_whose_interval_lies_on_the_bad_side_got_worse():
    assert got_worse([BETTER, UNSURE, WORSE, HIDES, UNREAD, GOAL]) == [WORSE, HIDES]


def test_the_sentence_names_the_worse_ones_and_those_that_cannot_be_read():
    assert guardrails([BETTER, UNSURE, WORSE, HIDES, UNREAD, GOAL]) == (
        "2 of 5 guardrails got worse: total_GMV (-2.10%), hide_rate (+50.00%); without an interval: infra_cost."
    )
    assert guardrails([BETTER, UNSURE, GOAL]) == "No guardrail got worse."
    assert guardrails([GOAL]) == ""


def test_a_tiny_lift_is_not_written_as_zero():
    assert "(-0.0012%)" in guardrails([guardrail("fill_rate", -1.2e-5, -2e-5, -1e-6)])


def test_trials_have_the_interval_of_their_share_and_none_have_a_dash():
    assert trials(19, 20) == "19 of 20 [75%, 100%]"
    assert trials(0, 0) == trials(None, 20) == "–"


def test_units_stand_beside_the_shares_asked_for():
    assert shares({"units": [1234, 56], "shares": [0.9, 0.1]}) == "1,234 : 56 (asked 0.9 : 0.1)"


def test_a_command_line_survives_a_folder_with_a_space():
    command = capacity_command("my runs/a b", {"scale": "20", "target_p99_ms": "40"})

    assert shlex.split(command) == [
        "marketplace", "capacity", "my runs/a b", "--set", "serving.scale=20", "--set", "serving.target_p99_ms=40",
    ]  # fmt: skip
