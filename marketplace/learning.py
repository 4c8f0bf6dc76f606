"""Learning: how the losses of a run's networks fell while they were trained."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from marketplace.errors import Refused
from marketplace.runs import inside

_OWN = ("epoch", "block", "requests", "seconds")
_LOSS = "loss_"
VALIDATION = "validation_loss"


class Learning(NamedTuple):
    """The course of a training."""

    losses: tuple[str, ...]  # what was noted, tasks first, held-out days last; one that was never above 0 is left out
    rows: list[dict[str, Any]]  # one per model and block; what a model has not learnt is None


def learning(run: Path) -> Learning:
    """What the networks of a run noted while they learnt; nothing where it has none.

    Returns:
        Per block of the log: `model`, `epoch` and `block` from 0, `requests` learnt from, `seconds`, `epochs`: how many are done
        when the block is, and the losses: those of tasks, nats per ad shown times the weight of the task, and `validation_loss`,
        of all tasks on held-out days, where an epoch ends and the model has patience.

    Raises:
        Refused: If a file is damaged, or a link that leads out of the run.
    """
    found = {path.parent.name: _read(inside(run, path)) for path in sorted((run / "models").glob("*/training.csv"))}
    noted = [name for table in found.values() for name in _losses(table) if (table[name] != 0).any()]
    names = tuple(sorted(dict.fromkeys(noted), key=lambda name: name == VALIDATION))
    rows = [_row(model, block, names) for model, table in found.items() for block in table.to_dict("records")]
    return Learning(tuple(name.removeprefix(_LOSS) for name in names), rows)


def _read(path: Path) -> pd.DataFrame:
    """The file's columns as numbers, and `epochs`."""
    try:
        table = pd.read_csv(path)
        for name in _OWN:
            table[name] = table[name].astype("int64" if name != "seconds" else "float64")
        for name in _losses(table):
            table[name] = table[name].astype("float64")
    except (OSError, KeyError, ValueError) as error:
        raise Refused(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    requests = table.groupby("epoch")["requests"]
    table["epochs"] = table["epoch"] + requests.cumsum() / requests.transform("sum")
    return table


def _losses(table: pd.DataFrame) -> list[str]:
    return [name for name in map(str, table.columns) if name.startswith(_LOSS) or name == VALIDATION]


def _row(model: str, block: dict[Any, Any], names: tuple[str, ...]) -> dict[str, Any]:
    losses = {name.removeprefix(_LOSS): _known(block.get(name)) for name in names}
    return {"model": model} | {name: block[name] for name in (*_OWN, "epochs")} | losses


def _known(x: float | None) -> float | None:
    return None if x is None or pd.isna(x) else float(x)
