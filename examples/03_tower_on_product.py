"""A tower of the slot adds to the logit: where a click is a look and then an attraction it misreads ads, however many rows."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from models.position import examination_step, examined_weights

RELEVANCE = np.array([0.2, 0.4, 0.6, 0.8])  # probability of a click, if looked at
EXAMINATION = 1 / np.arange(1, 5)  # probability of a look at slots 1 to 4
STEPS = 5_000

# every ad equally often in every slot: nothing but the form can bias what is read
ad, slot = np.indices((4, 4)).reshape(2, -1)
click = RELEVANCE[ad] * EXAMINATION[slot]


def loss(effects: np.ndarray) -> float:
    """Log loss of the tower: logits of the ads, then those that slots 2 to 4 add."""
    sum_of_both = effects[ad] + np.append(0, effects[4:])[slot]
    return float((np.logaddexp(0, sum_of_both) - click * sum_of_both).sum())


tower = minimize(loss, np.zeros(7), tol=1e-9).x
added = np.append(0, tower[4:])

relevance, examination = np.full(4, 0.5), np.array([1, 0.5, 0.5, 0.5])
for _ in range(STEPS):
    weights = examined_weights(click, examination[slot], relevance[ad])
    examination = examination_step(click, examination[slot], relevance[ad], slot, 4)
    relevance = np.bincount(ad, weights.positive) / np.bincount(ad, weights.total)

print("probability of a click in the first slot")
print(f"{'ad':>4}{'truth':>8}{'tower':>8}{'product':>9}")
for one in range(4):
    print(f"{one + 1:>4}{RELEVANCE[one]:>8.3f}{expit(tower[one]):>8.3f}{relevance[one]:>9.3f}")

print("\nclick rate of ad 4 over that in the first slot")
print(f"{'slot':>4}{'truth':>8}{'tower':>8}{'product':>9}")
for one in range(4):
    kept = expit(tower[3] + added[one]) / expit(tower[3])
    print(f"{one + 1:>4}{EXAMINATION[one]:>8.3f}{kept:>8.3f}{examination[one]:>9.3f}")
