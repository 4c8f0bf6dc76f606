"""What users did before a test, whatever the experiment that the log was collected for."""

import numpy as np
import pytest
from trials import served

from marketplace import arm as arms
from marketplace.assignment import everyone
from marketplace.before import load_before, save_before
from marketplace.counters import NAMES
from marketplace.errors import Refused
from marketplace.record import LogRecorder
from marketplace.schema import log_schema
from marketplace.state import new_state

TESTED = [NAMES.index(name) for name in ("exposures", "tested_orders", "tested_gmv_usd")]


@pytest.fixture(scope="module")
def kept(tiny, world, ranker, tmp_path_factory):
    """A run folder with a log of two days, the campaigns under test, and the counters as the simulation kept them."""
    arm = tiny.experiment.model_validate({"arms": {"treatment": {"withhold": [1, 3, 20]}}})
    scenario = tiny.model_copy(update={"experiment": arm})
    folder = tmp_path_factory.mktemp("kept")
    (folder / "state").mkdir()
    with LogRecorder(folder, log_schema(tiny.world), world.population.content, 0.0, 1) as recorder:
        everybody = everyone(tiny.world.population.users)
        table = served(scenario, world, (ranker,), everybody, recorder, state=new_state(tiny, world)).counters.table()
    save_before(table, folder)
    return folder, arms.tested_campaigns(scenario), table


def test_the_past_of_campaigns_under_test_is_counted_from_the_log_as_the_simulation_counts_it(kept, world):
    folder, tested, table = kept

    np.testing.assert_array_equal(load_before(folder, tested, world.population), table)
    assert (table[:, TESTED].sum(axis=0) > 20).all()


def test_the_log_of_another_experiment_gives_the_past_of_this_ones_campaigns(kept, world):
    folder, tested, table = kept
    others = load_before(folder, np.roll(tested, 7), world.population)
    rest = [i for i in range(len(NAMES)) if i not in TESTED]

    np.testing.assert_array_equal(others[:, rest], table[:, rest])
    assert (others[:, TESTED].sum(axis=0) != table[:, TESTED].sum(axis=0)).all()
    assert np.isnan(load_before(folder, np.zeros_like(tested), world.population)[:, TESTED]).all()


def test_a_past_that_is_missing_or_of_another_version_is_refused(kept, world, tmp_path):
    _, tested, table = kept
    with pytest.raises(Refused, match="is missing or damaged"):
        load_before(tmp_path, tested, world.population)
    (tmp_path / "state").mkdir()
    save_before(table[:, :-1], tmp_path)
    with pytest.raises(Refused, match="is of another version"):
        load_before(tmp_path, tested, world.population)
    save_before(table, tmp_path)
    with pytest.raises(Refused, match=r"impressions is damaged"):
        load_before(tmp_path, tested, world.population)
