"""Late labels: of clicks that lead to an order with probability p, those read after w days show p (1 - exp(-w / mean))."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from marketplace.scenario import load_scenario
from synth.affinity import NEVER, Intercepts
from synth.delay import DelayLaw
from synth.marginals import Solved
from synth.types import CHECKOUT, DAY_MS, Requests
from synth.world import populate, rebuild

SOLVED = Solved(
    Intercepts(
        click=-2.8, long_click=-1.8, hide=-7.2, cart=-1.8, checkout=-1.2, sign_up=NEVER, post_view=NEVER, organic=-4.8, habit=-0.9
    ),
    familiar=0.3, slot_effect=(1.0, 0.7, 0.5), visits=1.0, basket_usd=29.0,
)  # fmt: skip
MEAN_DAYS = 3.0
scenario = load_scenario(Path("scenarios/tiny.toml"), ["world.delay.campaign_sigma=0"])
world = rebuild(populate(scenario.world, scenario.seed), SOLVED, [])
exponential = DelayLaw(fast_share=0.0, fast_mean_h=1.0, slow_mean_h=24 * MEAN_DAYS)
cart, _, sign_up = world.laws.delays
world = replace(world, laws=world.laws._replace(delays=(cart, exponential, sign_up)))

minds = world.minds()
requests = Requests.stack([world.requests_on(day, minds) for day in range(30)])
ads = np.resize(np.arange(len(world.population.ads.store), dtype=np.int32), (len(requests), 3))
outcomes, truth = world.respond(requests, world.browse(requests, minds).need, ads, minds)
clicked, delay = outcomes.clicked, outcomes.delay_ms[:, :, CHECKOUT]
p = float((truth.cart * truth.checkout)[clicked].mean())

print(f"{clicked.sum():,} clicks, p = {p:.4f}")
print(f"{'days':>5}{'labels read':>13}{'p (1 - exp(-w / mean))':>24}{'standard error':>16}")
for days in (1, 3, 7, 14, 90):
    read = ((delay >= 0) & (delay <= days * DAY_MS))[clicked].mean()
    expected = p * (1 - np.exp(-days / MEAN_DAYS))
    error = np.sqrt(expected * (1 - expected) / clicked.sum())
    print(f"{days:>5}{read:>13.4f}{expected:>24.4f}{error:>16.4f}")
