"""The stage `realism`: logs of a fitted scenario are generated and held beside the real one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fitting.errors import Unfit
from fitting.source import connected
from marketplace.as_log import standard_tables
from marketplace.discriminator import discriminate
from marketplace.errors import Refused, refusing
from marketplace.experiment import Pace, collect_log
from marketplace.fit import Question, estimates_read, fit_file, opened
from marketplace.realism import Opened, compare
from marketplace.runs import Draft, read_json

Progress = Callable[[str, float], None]
_MEMORY = "1GiB"  # of each log that is open


def realism_of(
    draft: Draft, scenario: Path, question: Question, seeds: int, pace: Pace, progress: Progress
) -> dict[str, Any]:
    """Compare the real log with that of the draft, and with logs of further seeds, which are not kept.

    Args:
        draft: With its log.
        scenario: The file that it was read from; what was fitted may lie beside it.
        question: Which log is real, as for `marketplace fit`.
        seeds: Simulated logs in all.
        pace: Of the generation.
        progress: Called with the name of a piece of work and the share of it that is done.

    Returns:
        What `marketplace.realism.compare` says, `discriminator` as in `marketplace.discriminator.discriminate`,
        `between_seeds`: the AUC of the same classifier between two simulated logs, or None, and `estimates`.

    Raises:
        Refused: If a log cannot be read, or the market cannot be had with another seed.
    """
    with ExitStack() as stack:
        theirs = stack.enter_context(_opened_real(question, progress))
        ours = [stack.enter_context(_opened_run(draft.folder, pace.threads))]
        for further in range(1, seeds):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="realism-", dir=draft.folder.parent)))
            seed = draft.scenario.seed + further
            other = Draft(folder, draft.scenario.model_copy(update={"seed": seed}), draft.command)
            collect_log(other, pace, lambda what, share, seed=seed: progress(f"{what}, seed {seed}", share))  # type: ignore[misc]
            ours.append(stack.enter_context(_opened_run(folder, pace.threads)))
        progress("comparison", 0.0)
        with refusing("realism", Unfit):
            content = compare(theirs, ours)
        progress("comparison", 0.5)
        days, seed = content["days"], draft.scenario.seed
        told = discriminate(theirs, ours[0], days, seed=seed, threads=pace.threads)
        between = None
        if seeds > 1 and told["auc"] is not None:
            between = discriminate(ours[1], ours[0], days, seed=seed, threads=pace.threads)["auc"]
        progress("comparison", 1.0)
    return {
        "scenario": draft.scenario.name, "seed": seed, "real": [str(path) for path in question.logs], **content,
        "discriminator": told, "between_seeds": between, "estimates": _estimates(fit_file(scenario)),
    }  # fmt: skip


@contextmanager
def _opened_run(folder: Path, threads: int) -> Iterator[Opened]:
    with connected(memory=_MEMORY, threads=threads) as con:
        yield Opened(con, standard_tables(folder, con))


@contextmanager
def _opened_real(question: Question, progress: Progress) -> Iterator[Opened]:
    """The log, and no more of it than the standard tables: the one place that knows where real logs come from."""
    with refusing("realism", Unfit), connected(memory=_MEMORY, threads=question.threads) as con:
        found = opened(con, question, progress)
        yield Opened(con, {table: table for table in found.columns})


def _estimates(path: Path) -> list[dict[str, Any]]:
    """What was fitted beside the scenario; nothing, where it was not `marketplace fit` that wrote it."""
    if not path.is_file():
        return []
    try:
        return [estimate._asdict() for estimate in estimates_read(read_json(path)["estimates"])]
    except (KeyError, TypeError) as error:
        raise Refused(f"{path} is damaged: {error}") from error
