"""Position bias: click-through rates read from a log that shows one ad high and the other low rank them in the wrong order."""

from pathlib import Path

import numpy as np

from marketplace.scenario import load_scenario
from synth.affinity import NEVER, Intercepts
from synth.marginals import Solved
from synth.types import Requests
from synth.world import populate, rebuild

SOLVED = Solved(
    Intercepts(
        click=-2.8, long_click=-1.8, hide=-7.2, cart=-1.8, checkout=-1.2, sign_up=NEVER, post_view=NEVER, organic=-4.8, habit=-0.9
    ),
    familiar=0.3, slot_effect=(1.0, 0.7, 0.5), visits=1.0, basket_usd=29.0,
)  # fmt: skip
scenario = load_scenario(Path("scenarios/tiny.toml"))
world = rebuild(populate(scenario.world, scenario.seed), SOLVED, [])
minds = world.minds()
requests = Requests.stack([world.requests_on(day, minds) for day in range(20)])
need = world.browse(requests, minds).need

# what users would do with every ad, if they looked at it: known here, and nowhere else
ads = np.arange(len(world.population.ads.store), dtype=np.int32)
sample = np.arange(0, len(requests), 50)
every = np.broadcast_to(ads, (len(sample), len(ads)))
appeal = world.respond(requests.take(sample), need[sample], every, minds)[1].click.mean(axis=0)
good, fair = np.argsort(-appeal)[[10, 40]]

# a ranker that likes `fair` better shows it on top of every page, and `good` in the last slot
shown = np.tile(np.array([fair, -1, good], np.int32), (len(requests), 1))
outcomes, truth = world.respond(requests, need, shown, minds)
clicks, looks = outcomes.clicked.sum(axis=0), truth.examination.sum(axis=0)

print(f"{'ad':<6}{'slot':>5}{'true click rate':>17}{'clicks / impressions':>22}{'clicks / looks expected':>25}")
for name, ad, slot in (("good", good, 2), ("fair", fair, 0)):
    print(
        f"{name:<6}{slot + 1:>5}{appeal[ad]:>17.3f}{clicks[slot] / len(requests):>22.3f}{clicks[slot] / looks[slot]:>25.3f}"
    )
