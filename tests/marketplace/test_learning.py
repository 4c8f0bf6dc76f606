"""Courses of trainings: epochs by hand, what a model has not learnt, and files that cannot be read."""

import pytest

from marketplace.errors import Refused
from marketplace.learning import learning

FIRST = """epoch,block,requests,seconds,loss_click,loss_conversion,loss_self_supervised,validation_loss
0,0,300,2.5,0.4,0.1,0.0,
0,1,100,1.5,0.3,0.08,0.0,0.41
1,0,300,2.5,0.28,0.07,0.0,
1,1,100,1.5,0.25,0.06,0.0,0.39
"""
SECOND = "epoch,block,requests,seconds,loss_click,loss_cart\n0,0,400,9,0.5,0.2\n"


def write(run, **courses):
    for name, text in courses.items():
        (run / "models" / name).mkdir(parents=True)
        (run / "models" / name / "training.csv").write_text(text)


def test_a_block_ends_where_its_share_of_the_epochs_requests_is_done(tmp_path):
    write(tmp_path, net=FIRST)
    found = learning(tmp_path)

    assert [row["epochs"] for row in found.rows] == [0.75, 1.0, 1.75, 2.0]
    assert [row["validation_loss"] for row in found.rows] == [None, 0.41, None, 0.39]
    assert [row["click"] for row in found.rows] == [0.4, 0.3, 0.28, 0.25]


def test_what_was_never_above_0_is_left_out_and_what_a_model_has_not_learnt_is_missing(tmp_path):
    write(tmp_path, a=FIRST, b=SECOND)
    found = learning(tmp_path)

    assert found.losses == ("click", "conversion", "cart", "validation_loss")
    assert [row["model"] for row in found.rows] == ["a"] * 4 + ["b"]
    assert found.rows[-1]["conversion"] is found.rows[-1]["validation_loss"] is None
    assert (found.rows[0]["cart"], found.rows[-1]["cart"]) == (None, 0.2)


def test_a_run_without_networks_has_no_course(tmp_path):
    assert learning(tmp_path) == ((), [])


def test_the_course_of_a_trained_network_is_whole(finished):
    found = learning(finished.folder)

    assert found.losses == ("click", "conversion")
    assert {row["model"] for row in found.rows} == {"treatment"}
    assert found.rows[-1]["epochs"] == 4  # of the scenario
    assert found.rows[-1]["click"] < found.rows[0]["click"]


@pytest.mark.parametrize("text", ["", "epoch\n0\n", FIRST.replace("0.28", "much"), FIRST.replace("\n1,0,", "\n,0,")])
def test_a_damaged_course_is_refused_by_its_name(tmp_path, text):
    write(tmp_path, net=text)

    with pytest.raises(Refused, match=r"training\.csv is damaged"):
        learning(tmp_path)


def test_a_course_that_is_a_link_out_of_the_run_is_refused(tmp_path):
    write(tmp_path / "other", net=FIRST)
    (tmp_path / "run" / "models").mkdir(parents=True)
    (tmp_path / "run" / "models" / "net").symlink_to(tmp_path / "other" / "models" / "net")

    with pytest.raises(Refused, match="leads out of the run"):
        learning(tmp_path / "run")
