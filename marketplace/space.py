"""Spaces of architectures: a model's settings, and the values that some of them may take instead."""

import difflib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from marketplace.errors import Refused, known
from models.config import CorrectConfig, GbdtConfig, ModelConfig, NetworkConfig, TwoTowerConfig
from synth.draws import Cause, uniform

Choice = tuple[int, ...]  # a level of each setting, 0 being the base's own
_MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
_KINDS: dict[str, type[BaseModel]] = {"lightgbm": GbdtConfig, "network": NetworkConfig, "two_tower": TwoTowerConfig}
_OF_TOKENS = ("tokens", "token_width")  # settings without effect where there is no crossing
_LARGEST = 1_000_000  # combinations, all of which are put in random order

DEFAULT: dict[str, Any] = {
    "base": {
        "kind": "network", "learning_rate": 3e-3, "embedding_learning_rate": 1e-2, "warm_up": 0.05,
        "task_weight": {"conversion": 5.0},
    },
    "space": {
        "crossing": ["none", "dlrm", "dcnv2", "masknet", "transformer", "dhen"],
        "hidden": [[64, 32], [128, 64], [256, 128, 64]],
        "embedding": [16, 32, 48],
        "tokens": [4, 8, 16],
        "token_width": [16, 32, 64],
        "sequences": [[], [{"kind": "mean"}], [{"kind": "mean"}, {"kind": "din"}]],
        "wide": [False, True],
    },
}  # fmt: skip
"""What moves a network's AUC and its speed: crossing, widths, tokens, lists; trained by the recipe of docs/models.md."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """The base and, by setting, its levels: the base's own value first, then the others, each once."""

    where: str  # for messages
    base: ModelConfig
    tree: dict[str, Any]  # the base's settings as they were given
    levels: dict[str, tuple[Any, ...]]

    @property
    def size(self) -> int:
        """Combinations of levels."""
        return prod(len(values) for values in self.levels.values())

    def config(self, choice: Choice) -> ModelConfig | None:
        """The model of a choice; None where its settings do not fit together."""
        tree = self.tree
        for (name, values), level in zip(self.levels.items(), choice, strict=True):
            tree = tree if level == 0 else _laid(tree, name, values[level])
        try:
            return _MODEL.validate_python(tree)
        except ValidationError:
            return None

    def settings(self, choice: Choice) -> dict[str, Any]:
        """The values of a choice by setting."""
        return {name: values[at] for (name, values), at in zip(self.levels.items(), choice, strict=True)}


class Sampled(NamedTuple):
    """Distinct architectures of a space."""

    choices: list[Choice]
    configs: list[ModelConfig]
    refused: int  # combinations that were drawn beside them and do not fit together


def space_of(path: Path | None) -> Space:
    """The space in a TOML file with [base] and [space], or the default one.

    Raises:
        Refused: If the file cannot be read, lacks a part, names an unknown setting, holds a value that breaks its rule, or leaves
            nothing or too much to choose from.
    """
    where = "the default space" if path is None else f"space {path}"
    tree = DEFAULT if path is None else _read(path)
    for name in tree:
        known(name, ("base", "space"), f"{where}: unknown part [{name}]")
    for name, what in (
        ("base", "a model's settings as in [models.NAME]"), ("space", "lists of values by setting"),
    ):  # fmt: skip
        if not isinstance(tree.get(name), dict) or not tree[name]:
            raise Refused(f"{where}: there is no [{name}], {what}")
    try:
        base = _MODEL.validate_python(tree["base"])
    except ValidationError as error:
        raise Refused(f"{where}: base: {_complaint(error, tree['base'].get('kind'))}") from None
    levels = {}
    for name, values in _flat(tree["space"]).items():
        _check_name(name, base, where)
        if not isinstance(values, list) or not values:
            raise Refused(f"{where}: {name} must be a list of values, got {json.dumps(values, default=str)}")
        levels[name] = _levels(name, values, base, tree["base"], where)
    found = Space(where=where, base=base, tree=tree["base"], levels=levels)
    if found.size == 1:
        raise Refused(f"{where}: it holds one configuration, the base: there is nothing to choose from")
    if found.size > _LARGEST:
        raise Refused(f"{where}: it holds {found.size:,} combinations, at most {_LARGEST:,} can be searched")
    return found


def sampled(space: Space, n: int, seed: int) -> Sampled:
    """The base, then up to n - 1 others in random order: each value of a setting is as likely as any other.

    Left out are combinations that do not fit together, and those that are the same model as an earlier one. Without a crossing
    tokens and their width do nothing: they are then the base's.
    """
    choices: list[Choice] = []
    configs: list[ModelConfig] = []
    seen: set[str] = set()
    refused = 0
    for choice in _in_order(space, seed):
        if len(choices) == n:
            break
        config = space.config(choice)
        if config is None:
            refused += 1
            continue
        inert = _OF_TOKENS if isinstance(config, NetworkConfig) and not config.crossing else ()
        plain = tuple(0 if name in inert else at for name, at in zip(space.levels, choice, strict=True))
        config = space.config(plain)
        if config is not None and config.model_dump_json() not in seen:
            seen.add(config.model_dump_json())
            choices.append(plain)
            configs.append(config)
    return Sampled(choices, configs, refused)


def _in_order(space: Space, seed: int) -> Iterator[Choice]:
    """All combinations: the base, the others in the order of one keyed draw each."""
    drawn = uniform(seed, Cause.ARCHITECTURE, np.arange(space.size))
    drawn[0] = 0.0
    shape = [len(values) for values in space.levels.values()]
    for place in np.argsort(drawn, kind="stable"):
        yield tuple(int(level) for level in np.unravel_index(place, shape))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"space {path}: {getattr(error, 'strerror', None) or error}") from None


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name: `correct.position = [...]` is a table to TOML, `"correct.position"` a name."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _check_name(name: str, base: BaseModel, where: str) -> None:
    """Every part of a dotted name must be a setting of what the parts before it lead to."""
    section: Any = base
    for part in name.split("."):
        if isinstance(section, BaseModel):
            known(part, type(section).model_fields, f"{where}: there is no setting {name}")
            section = getattr(section, part)
        elif not isinstance(section, dict):
            raise Refused(f"{where}: there is no setting {name}: what stands before .{part} is one value")
        else:
            section = section.get(part)


def _levels(name: str, values: list[Any], base: ModelConfig, tree: dict[str, Any], where: str) -> tuple[Any, ...]:
    """The base's value, as it is written among the values or else as the model has it, and the other values, each once."""
    own: Any = base.model_dump()
    for part in name.split("."):
        own = own.get(part)
    others: dict[str, Any] = {}
    for value in values:
        try:
            config = _MODEL.validate_python(_laid(tree, name, value))
        except ValidationError as error:
            shown = json.dumps(value, default=str)
            raise Refused(f"{where}: {name} = {shown}: {_complaint(error, tree.get('kind'))}") from None
        if config == base:
            own = value
        else:
            others.setdefault(config.model_dump_json(), value)
    return own, *others.values()


def _laid(tree: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The settings with one of them, by its dotted name, set."""
    first, _, rest = name.partition(".")
    if not rest:
        return tree | {first: value}
    below = tree.get(first)
    return tree | {first: _laid(below if isinstance(below, dict) else {}, rest, value)}


def _complaint(error: ValidationError, kind: Any) -> str:
    """The first thing that is wrong: which setting, and the rule it breaks or the name that is nearest."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"] if part not in _KINDS]
    if first["type"] == "extra_forbidden":
        complaint = f"unknown setting {'.'.join(place)}"
        there = {(): _KINDS.get(kind), ("correct",): CorrectConfig}.get(tuple(place[:-1]))
        near = difflib.get_close_matches(place[-1], there.model_fields, n=1, cutoff=0.0) if there else []
        return complaint + "".join(f", did you mean {name}?" for name in near)
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(place)}: {message}" if place else message
