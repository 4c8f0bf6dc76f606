"""Several tasks over one representation: a head or tower per task, and their losses.

Caruana (1997) shares the bottom; MMoE (Ma et al., KDD 2018) lets every task mix shared experts by a gate of its own; ESMM
(Ma et al., SIGIR 2018) learns conversion given click from all impressions, by the product of both probabilities.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.config import MmoeConfig, SharedBottomConfig


class Towers(nn.Module):
    """A tower of dense layers per task, over one input or over each task's own mix of experts.

    Args:
        width: Of the shared input.
        tasks: Names, in the order of the logits.
        config: What the tasks share, and the layers of their towers.
    """

    def __init__(self, width: int, tasks: tuple[str, ...], config: SharedBottomConfig | MmoeConfig) -> None:
        super().__init__()
        self.tasks = tasks
        self.mixture = Mixture(width, len(tasks), config) if isinstance(config, MmoeConfig) else None
        bottom = config.expert if isinstance(config, MmoeConfig) else width
        widths = (bottom, *config.hidden, 1)
        self.layers = nn.ModuleList(Parallel(len(tasks), a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(b, w) to logits (b, T), of 32 bits even where the layers below have 16."""
        if self.mixture is not None:
            x = self.mixture(x)
        *hidden, head = self.layers
        for layer in hidden:
            x = layer(x).relu()
        with torch.autocast(x.device.type, enabled=False):
            logit: Tensor = head(x.to(torch.promote_types(x.dtype, torch.float32)))
        return logit.squeeze(2).T


class Parallel(nn.Module):
    """T dense layers beside one another, their weights in the type of the input."""

    def __init__(self, tasks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # as in nn.Linear
        self.weight = nn.Parameter(torch.empty(tasks, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(tasks, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """One input for all (b, i), or an input each (T, b, i), to (T, b, o)."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if x.dim() == 2:  # one product for all: linear heads are several times as fast as in a batched product
            together = nn.functional.linear(x, weight.flatten(0, 1), bias.flatten())
            return together.view(len(x), *bias.shape).transpose(0, 1)
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


class Mixture(nn.Module):
    """Experts, each ReLU(W x + b), and per task a softmax gate over them."""

    def __init__(self, width: int, tasks: int, config: MmoeConfig) -> None:
        super().__init__()
        self.experts = nn.Linear(width, config.experts * config.expert)
        self.gates = nn.Linear(width, tasks * config.experts, bias=False)
        self.count = config.experts

    def forward(self, x: Tensor) -> Tensor:
        """(b, w) to each task's mix (T, b, e)."""
        x = x.to(self.experts.weight.dtype) if not torch.is_autocast_enabled(x.device.type) else x
        expert = self.experts(x).relu().unflatten(1, (self.count, -1))
        gate = self.gates(x).unflatten(1, (-1, self.count)).softmax(dim=2)
        return (gate.to(expert.dtype) @ expert).transpose(0, 1)


def task_losses(logit: Tensor, positive: Tensor, negative: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """Each task's part (T,) of the loss: its weight times the sum of its rows' binary cross-entropies over `rows`.

    Every task is divided by the same number, so that a row weighs as much in a task of few rows as in one of many.

    Args:
        logit: (m, T) of m rows.
        positive: (m, T) what a row counts for as a positive: of a plain label 1 or 0; 0 where it teaches nothing.
        negative: (m, T) likewise as a negative.
        weight: (T,) of the tasks.
        rows: () how many ads were shown.
    """
    entropy = (positive + negative) * nn.functional.softplus(logit) - positive * logit
    return weight * entropy.sum(dim=0) / rows


def entire_space(click_logit: Tensor, conversion_logit: Tensor, click: Tensor, conversion: Tensor) -> Tensor:
    """Cross-entropy (m,) of "clicked and converted" under p_ctr p_cvr, over all that was shown (ESMM, Ma et al. 2018).

    Args:
        click_logit: (m,) of a click.
        conversion_logit: (m,) of a conversion given a click.
        click: (m,) 1 or 0.
        conversion: (m,) 1 or 0.
    """
    logit = product_logit(click_logit, conversion_logit)
    both = (click * conversion).bool()
    return -nn.functional.logsigmoid(torch.where(both, logit, -logit))


def product_logit(a: Tensor, b: Tensor) -> Tensor:
    """Logit of sigmoid(a) sigmoid(b).

    1 / (p q) - 1 = exp(-a) + exp(-b) + exp(-a - b), a sum of positive terms: nothing cancels, and no logit is too far out.
    """
    return -torch.logsumexp(torch.stack((-a, -b, -a - b)), dim=0)
