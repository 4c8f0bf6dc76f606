"""The training loop of networks: one pass over the log in the order of time, shuffled within its blocks, unless told otherwise.

The same loop serves one processor, one GPU, and several processes under torchrun, each of which takes its share of every batch.
"""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.config import NetworkConfig, TwoTowerConfig
from models.corrections import NO_LESSONS, Lesson, Lessons
from models.data import Dataset, Source
from models.embedding import RowAdam
from models.errors import Unusable
from models.inputs import Shape
from models.multitask import entire_space, task_losses
from models.network import Columns, Net
from models.sampling import keep_negatives
from models.scoring import Network, best_device, last_of, new_net, ranges_of, refuse_other_schema
from models.sequence.lists import Lists
from models.serving import has_fast_bf16, serving_format
from models.statistics import Statistics, fingerprint, statistics_of, vocabulary
from models.two_tower import TwoTower

_SLOTS_FASTER = 10.0  # the rate of the slots' curve over that of the layers: a few numbers, which may have far to go
_STATE, _PROGRESS = "state.safetensors", "progress.json"
Config = NetworkConfig | TwoTowerConfig


def fit_network(
    source: Source,
    config: Config,
    *,
    seed: int,
    threads: int,
    progress: Callable[[float], None] = lambda share: None,
    validation: Dataset | None = None,
    start: Network | None = None,
    checkpoint: Path | None = None,
    lessons: Lessons = NO_LESSONS,
) -> Network:
    """Train all tasks together: each over the ads that teach it, its loss weighed by their number, so that an order weighs as
    much as a click.

    Args:
        source: The log to learn from.
        config: What is trained, and how.
        seed: Of the initial weights, the shuffles and what is sampled.
        threads: CPU threads.
        progress: Called with the share of the work done.
        validation: Later days, whose loss stops the training if the config has a `patience`.
        start: A network of the same config to go on from, with its vocabularies and scales: training day by day.
        checkpoint: Folder in which the state is kept after every block, and from which an interrupted training goes on, to the
            same network as if it had not been interrupted.
        lessons: What rows teach the tasks whose labels are not taken as they are.

    Raises:
        Unusable: If a task has labels of one class only, `start` is of another config or schema, the checkpoint is damaged or of
            another config, seed or log, `patience` is set without later days, or the machine cannot serve what the config asks
            for.
    """
    if config.patience is not None and validation is None:
        raise Unusable(f"patience is {config.patience}, but there are no later days to validate on")
    device = best_device()
    form = serving_format(config, device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        statistics = statistics_of(source, config)
        net, shape = _begin(source, config, statistics, seed, start)
        if lessons.propensity is not None:
            net.slots.measured(torch.from_numpy(lessons.propensity))
        elif net.slots.learned and start is None:
            net.slots.begin(torch.from_numpy(_rate_by_slot(source, statistics.n_slots)))
        net.to(device).train()
        with RowAdam(net.inputs.table, threads) as embeddings:
            run = _Run(net, embeddings, config, statistics, seed, device, lessons)
            if checkpoint is not None:
                run.resume(checkpoint)
            run.descend(source, validation, checkpoint, progress)
    finally:
        torch.set_num_threads(before)
    net.cpu().eval()
    ranges = ranges_of(net, config, shape, last_of(source)) if form == "int8" else {}
    return Network(net, config, shape, run.notes, ranges)


def _begin(
    source: Source, config: Config, statistics: Statistics, seed: int, start: Network | None
) -> tuple[Net | TwoTower, Shape]:
    """New layers, or a copy of those to go on from."""
    if start is not None:
        if start.config != config:
            raise Unusable("the network to go on from has another config")
        refuse_other_schema("the network to go on from", start.net.inputs.columns, source.schema)
        net = new_net(source.schema, config, start.shape)
        net.load_state_dict(start.net.state_dict())
        return net, start.shape
    shape = Shape(
        n_slots=statistics.n_slots,
        places=tuple(min(longest, config.places) for longest in statistics.longest),
        values={c: len(vocabulary(n, config.vocabulary, config.least_count)) for c, n in statistics.counts.items()},
        items={name: vectors.shape[1] for name, vectors in statistics.items.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = new_net(source.schema, config, shape)
    net.inputs.learn(statistics, config)
    return net, shape


class _Run:
    """A training under way."""

    def __init__(
        self, net: Net | TwoTower, embeddings: RowAdam, config: Config, statistics: Statistics, seed: int,
        device: torch.device, lessons: Lessons,
    ) -> None:  # fmt: skip
        self.lessons = [lessons.get(task) for task in config.tasks]
        self.net, self.embeddings, self.config, self.seed, self.device = net, embeddings, config, seed, device
        self.rank, self.world = _place()
        self.weight = torch.tensor([config.task_weight.get(task, 1.0) for task in config.tasks], device=device)
        slots = [p for p in net.slots.parameters() if p.requires_grad]
        dense = [p for p in net.parameters() if p.requires_grad and all(p is not own for own in slots)]
        groups: list[dict[str, Any]] = [{"params": dense, "faster": 1.0}]
        if slots:
            groups.append({"params": slots, "faster": _SLOTS_FASTER})
        self.optimiser = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        self.steps = config.epochs * sum(-(-n // config.batch_requests) for n in statistics.requests)
        self.loss: nn.Module = _Loss(net, config, self.weight, self.lessons)
        if self.world > 1:
            # a process in whose share no list has two events does not use what learns from the lists alone
            self.loss = DistributedDataParallel(self.loss, find_unused_parameters=bool(getattr(net, "alone", ())))
        if isinstance(net, Net) and isinstance(config, NetworkConfig) and config.compile:
            net.crossing.compile()
        self.log = fingerprint(statistics)
        self.done = self.epoch = self.block = 0
        self.notes: list[dict[str, Any]] = []
        self.best = math.inf
        self.kept: dict[str, Tensor] = {}

    def descend(
        self, source: Source, validation: Dataset | None, checkpoint: Path | None, progress: Callable[[float], None]
    ) -> None:
        """From where the run stands to its end."""
        while self.epoch < self.config.epochs and not self.stopped:
            for i, data in enumerate(source.blocks()):
                if i < self.block:
                    continue
                self.learn(data, progress)
                self.block += 1
                if checkpoint is not None and self.rank == 0:
                    self.save(checkpoint)
            self.epoch, self.block = self.epoch + 1, 0
            if self.config.patience is not None and validation is not None:
                self.validate(validation)
        if self.kept:
            self.net.load_state_dict(self.kept)

    @property
    def stopped(self) -> bool:
        """Whether held-out days have shown nothing better for as many epochs as there is patience for."""
        losses = [note["validation_loss"] for note in self.notes if "validation_loss" in note]
        return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= (self.config.patience or math.inf)

    def learn(self, data: Dataset, progress: Callable[[float], None]) -> None:
        """One pass over a block."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            self._learn(data, progress)

    def _learn(self, data: Dataset, progress: Callable[[float], None]) -> None:
        started = perf_counter()
        keyed = np.random.SeedSequence([self.seed, self.epoch, self.block]).generate_state(3)
        torch.manual_seed(int(keyed[2]) + self.rank)  # of dropout, which has no generator of its own
        held = self.hold(data, int(keyed[0]))
        generator = torch.Generator().manual_seed(int(keyed[1]))
        order = torch.randperm(held.n, generator=generator).to(self.device)
        of_loss = torch.Generator().manual_seed(int(keyed[1]) + 1 + self.rank)
        total = torch.zeros(len(self.config.tasks) + 1, device=self.device)
        # a sampled block has fewer batches than the whole one; the rate falls with the share of the block that is done
        planned = -(-len(data.batch) // self.config.batch_requests)
        batches = order.split(self.config.batch_requests) if held.n else ()  # type: ignore[no-untyped-call]
        for i, rows in enumerate(batches):
            share = (self.done + planned * i / len(batches)) / self.steps
            left = (1 + math.cos(math.pi * share)) / 2
            if share < self.config.warm_up:
                left *= (share + 1 / self.steps) / (self.config.warm_up + 1 / self.steps)
            for group in self.optimiser.param_groups:
                group["lr"] = self.config.learning_rate * left * group["faster"]
            own = rows[self.rank :: self.world] if self.world > 1 else rows
            # without a share of its own, a process takes part with a row that teaches nothing
            own, counts = (own, True) if len(own) else (rows[:1], False)
            labels = held.labels(own)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bf16(self.device)):
                parts = self.loss(held.columns(own), labels if counts else labels.nothing(), of_loss)
            self.optimiser.zero_grad(set_to_none=True)
            parts.sum().backward()
            self.optimiser.step()
            self.embeddings.step((self.config.embedding_learning_rate or self.config.learning_rate) * left)
            total += parts.detach()
            progress((self.done + planned * (i + 1) / len(batches)) / self.steps)
        self.done += planned
        means = (_mean(total) / max(len(batches), 1)).tolist()
        names = [*self.config.tasks, "self_supervised"]
        self.notes.append(
            {"epoch": self.epoch, "block": self.block, "requests": held.n, "seconds": perf_counter() - started}
            | {f"loss_{name}": mean for name, mean in zip(names, means, strict=True)}
        )

    def hold(self, data: Dataset, seed: int) -> "_Held":
        """A block, or what is kept of it, on the device."""
        data = _sampled(data, self.config, seed)
        return _Held(data, self.config.tasks, self.lessons, self.net.inputs.places, self.device)

    @torch.no_grad()
    def validate(self, data: Dataset) -> None:
        """Note the loss of held-out days, and keep the weights if it is the least so far."""
        # sampled as the training days are, else their loss would be that of another rate of clicks
        held = self.hold(data, self.seed)
        module = self.loss.module if isinstance(self.loss, DistributedDataParallel) else self.loss
        self.net.eval()
        losses = [
            float(module(held.columns(rows), held.labels(rows), torch.Generator())[:-1].sum()) * len(rows) / held.n
            for rows in torch.arange(held.n, device=self.device).split(self.config.batch_requests)  # type: ignore[no-untyped-call]
        ]
        self.net.train()
        self.notes[-1]["validation_loss"] = sum(losses)
        if sum(losses) < self.best:
            self.best = sum(losses)
            self.kept = {name: value.clone() for name, value in self.net.state_dict().items()}

    def save(self, folder: Path) -> None:
        """Keep the state; what was kept before stays until this is whole."""
        adam = self.optimiser.state_dict()["state"]
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"kept.{name}": value for name, value in self.kept.items()}
        tensors |= {f"adam.{i}.{name}": value for i, own in adam.items() for name, value in own.items()}
        tensors |= {"rows.mean": self.embeddings.mean, "rows.square": self.embeddings.square}
        new = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, new / _STATE)
        state = {
            "config": self.config.model_dump(), "seed": self.seed, "log": self.log, "done": self.done,
            "epoch": self.epoch, "block": self.block, "rows_steps": self.embeddings.steps, "best": self.best,
            "notes": self.notes,
        }  # fmt: skip
        (new / _PROGRESS).write_text(json.dumps(state) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)

    def resume(self, folder: Path) -> None:
        """Go on from what was kept, if anything was."""
        if not folder.exists():
            return
        try:
            state = json.loads((folder / _PROGRESS).read_text())
            tensors = load_file(folder / _STATE)
            same = json.loads(json.dumps(self.config.model_dump())), self.seed, self.log
            if (state["config"], state["seed"], state["log"]) != same:
                raise Unusable(f"checkpoint {folder} is of another config, seed or log")
            self.net.load_state_dict(_under("net.", tensors))
            self.kept = {name: value.to(self.device) for name, value in _under("kept.", tensors).items()}
            adam = self.optimiser.state_dict()
            for key, value in _under("adam.", tensors).items():
                i, name = key.split(".")
                adam["state"].setdefault(int(i), {})[name] = value
            self.optimiser.load_state_dict(adam)
            self.embeddings.mean.copy_(tensors["rows.mean"])
            self.embeddings.square.copy_(tensors["rows.square"])
            self.embeddings.steps, self.done = state["rows_steps"], state["done"]
            self.epoch, self.block, self.best = state["epoch"], state["block"], state["best"]
            self.notes = state["notes"]
        except Unusable:
            raise
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise Unusable(f"checkpoint {folder} is damaged: {str(error).splitlines()[0]}") from None


class _Labels(NamedTuple):
    """What came of ads (n, k) for T tasks."""

    shown: Tensor  # (n, k)
    label: Tensor  # (n, k, T)
    taught: Tensor  # (n, k, T) which labels count
    facts: list[Tensor | None]  # (n, k, F) of the tasks that have a lesson

    def nothing(self) -> "_Labels":
        """Of the same ads, as if none had been shown."""
        facts = [None if own is None else torch.zeros_like(own) for own in self.facts]
        return _Labels(torch.zeros_like(self.shown), self.label, torch.zeros_like(self.taught), facts)


class _Loss(nn.Module):
    """From a batch to the parts of its loss: one module, so that processes can share its gradients."""

    def __init__(self, net: Net | TwoTower, config: Config, weight: Tensor, lessons: Sequence[Lesson | None]) -> None:
        super().__init__()
        self.net, self.config, self.weight, self.lessons = net, config, weight, lessons
        self.click, self.conversion = config.tasks.index("click"), config.tasks.index("conversion")

    def forward(self, columns: Columns, labels: _Labels, generator: torch.Generator) -> Tensor:
        """The weighed losses of the tasks and of the lists alone, (T + 1,)."""
        logit, alone = self.net(columns, generator)
        if self.net.slots.learned:
            there = self.net.slots(logit[..., self.click].float(), columns.slot)
            logit = torch.stack([there if t == self.click else logit[..., t] for t in range(logit.shape[2])], dim=2)
        logit, label, taught = (x.flatten(0, 1).float() for x in (logit, labels.label, labels.taught))
        rows = _over_all(labels.shown.sum().float())
        positive, negative = label * taught, (1 - label) * taught
        for t, (lesson, facts) in enumerate(zip(self.lessons, labels.facts, strict=True)):
            if lesson is not None and facts is not None:
                own = lesson.weights(logit[:, t].detach().sigmoid(), facts.flatten(0, 1))
                positive[:, t], negative[:, t] = torch.as_tensor(own.positive), torch.as_tensor(own.negative)
        parts = task_losses(logit, positive, negative, self.weight, rows)
        if self.config.conversions_from == "impressions":
            click, conversion = self.click, self.conversion
            whole = entire_space(logit[:, click], logit[:, conversion], label[:, click], label[:, conversion])
            own_part = self.weight[conversion] * (whole * taught[:, click]).sum() / rows
            parts = torch.cat([parts[:conversion], own_part.unsqueeze(0), parts[conversion + 1 :]])
        return torch.cat([parts, alone.float().unsqueeze(0)])


class _Held:
    """A block on the device."""

    def __init__(
        self, data: Dataset, tasks: tuple[str, ...], lessons: Sequence[Lesson | None], places: tuple[int, ...],
        device: torch.device,
    ) -> None:  # fmt: skip
        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(device)  # what Arrow gave is copied

        batch, self.n = data.batch, len(data.batch)
        self.places = places
        self.categorical, self.dense, self.row, self.cross, self.slot = map(
            tensor, (batch.categorical, batch.dense, batch.row, batch.cross, batch.slot)
        )
        self.ads = [tensor(a) for a in (batch.ads.categorical, batch.ads.dense, batch.ads.vector)]
        self.lists = [(tensor(values.values), tensor(values.offsets)) for values in batch.lists]
        self.label = tensor(np.stack([data.label(task) for task in tasks], axis=2))
        self.taught = tensor(np.stack([data.taught_by(task) for task in tasks], axis=2))
        self.facts = [None if lesson is None else tensor(lesson.facts(data)) for lesson in lessons]

    def columns(self, rows: Tensor) -> Columns:
        """Features of the requests at `rows`."""
        ad = self.row[rows].clamp(min=0).flatten()
        lists = [Lists.of(*own, places, rows) for own, places in zip(self.lists, self.places, strict=True)]
        categorical, dense, vector = (values[ad] for values in self.ads)
        return Columns(
            self.categorical[rows], self.dense[rows], lists, categorical, dense, vector, self.cross[rows], self.slot
        )  # fmt: skip

    def labels(self, rows: Tensor) -> _Labels:
        """What came of the ads of the requests at `rows`."""
        facts = [None if own is None else own[rows] for own in self.facts]
        return _Labels(self.row[rows] >= 0, self.label[rows], self.taught[rows], facts)


def _sampled(data: Dataset, config: Config, seed: int) -> Dataset:
    """A block without the negatives that are not kept, and without the requests that then have no ad."""
    if config.negatives_kept == 1:
        return data
    kept = keep_negatives(data.click, data.shown, config.negatives_kept, seed=seed)
    row = np.where(kept, data.batch.row, np.int32(-1))
    return replace(data, batch=replace(data.batch, row=row)).take(np.flatnonzero(kept.any(axis=1)))


def _rate_by_slot(source: Source, n_slots: int) -> np.ndarray:
    """(s,) clicks per ad shown."""
    clicks, shown = np.zeros(n_slots, np.float32), np.zeros(n_slots, np.float32)
    for block in source.blocks():
        rows = block.taught_by("click")
        shown[: rows.shape[1]] += rows.sum(axis=0)
        clicks[: rows.shape[1]] += (rows & block.click).sum(axis=0)
    return clicks / np.maximum(shown, 1)


def _place() -> tuple[int, int]:
    """Which process this is, of how many."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _over_all(rows: Tensor) -> Tensor:
    """Mean over the processes of how many rows each has, so that the mean of their losses is that of one process."""
    return _mean(rows.detach().clone()).clamp(min=1 / _place()[1])


def _mean(x: Tensor) -> Tensor:
    """Over the processes; in place."""
    if distributed.is_initialized():
        distributed.all_reduce(x)
        x /= distributed.get_world_size()
    return x


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
