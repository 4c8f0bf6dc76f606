"""Profile of a saved model: what scoring takes by format, threads and size of calls, on requests of a log."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marketplace.candidates import crowd, last_requests, requests_in
from marketplace.comparison import Progress, log_of
from marketplace.errors import Refused, known
from models.errors import Unusable
from models.formats import Ready, clicks, formats_of, in_float32, ready
from models.inputs import features
from models.predictor import Model, load_model
from models.profiling import Point, curves_of, device_name
from models.schema import SCHEMA_FILE, load_schema
from models.scoring import refuse_other_schema

_TIMES = 4  # as many requests as the largest call has, if the log has them: a call scores others than the one before
_TIMED, _SAMPLE = 0, 1  # seeds of the candidates that are timed, and of those that the ranges of int8 are observed on
_PACKAGES = "torch", "lightgbm"


class Question(NamedTuple):
    """What is to be timed."""

    folder: Path
    model: Model
    log: Path
    candidates: int  # per request
    requests: tuple[int, ...]  # scored at once, rising
    threads: tuple[int, ...]  # rising
    formats: tuple[str, ...]


def asked(
    folder: Path, source: Path | None, *, candidates: int, requests: Sequence[int], threads: Sequence[int],
    formats: Sequence[str],
) -> Question:  # fmt: skip
    """A question that a saved model and a log can answer.

    Args:
        folder: Of the model.
        source: A run folder or a log; None for that of the run folder which the model lies in.
        candidates: Ads per request, at least 1.
        requests: Sizes of calls, each at least 1.
        threads: Each at least 1; one and all cores, where none is given.
        formats: By name; all that the model has, where none is given.

    Raises:
        Refused: If there is no such folder, no log, no such format, or the log has fewer requests than the largest call.
        Unusable: If the model or the log cannot be read, or they are of different schemas.
    """
    _refuse_no_model(folder)
    model, log = load_model(folder), _log_of(folder, source)
    there = formats_of(model)
    for form in formats:
        known(form, there, f"--format {form!r}: {model.kind} has {', '.join(there)}")
    refuse_other_schema(f"the model in {folder}", features(load_schema(folder)), load_schema(log))
    n = requests_in(log)
    if n < max(requests):
        raise Refused(f"--batch {max(requests)}: the log in {log} has only {n:,} requests")
    return Question(
        folder=folder, model=model, log=log, candidates=candidates, requests=tuple(sorted(set(requests))),
        threads=tuple(sorted(set(threads or (1, os.cpu_count() or 1)))), formats=tuple(dict.fromkeys(formats or there)),
    )  # fmt: skip


def profile_of(question: Question, *, progress: Progress, budget_s: float = 0.1) -> dict[str, Any]:
    """Time a model's scoring in its formats, all of them in turn.

    Args:
        question: What is to be timed.
        progress: Called with the name of a piece of work and the share of it that is done.
        budget_s: Seconds for each size of calls, in each format and number of threads, about.

    Returns:
        The machine and the model; `formats`: for each its name, why it cannot be run here (None where it can), the seconds until
        its first scores, and the largest and mean distance of its probabilities of a click from those in float32; `rows`: one per
        format, threads and size of calls; `best`: the format that is fastest, for each number of threads and size of calls.

    Raises:
        Unusable: If the log cannot be read.
    """
    model, largest, threads = question.model, question.requests[-1], question.threads[0]
    n = min(_TIMES * largest, requests_in(question.log))
    data = last_requests(question.log, n)
    batch, sample = (crowd(data, question.candidates, n, seed=seed) for seed in (_TIMED, _SAMPLE))
    plain = in_float32(model, sample)
    exact = None if plain is None else clicks(plain, batch, largest, threads=threads)
    formats, can_run = [], {}
    for form in question.formats:
        progress(form, 0.0)
        row: dict[str, Any] = {"format": form, "why": None, "ready_s": None, "largest_error": None, "mean_error": None}
        try:
            made: Ready = ready(model, form, sample, batch, question.requests, threads=threads)
        except Unusable as reason:
            row["why"] = str(reason)
        else:
            can_run[form], row["ready_s"] = made.model, made.seconds
            if exact is not None:
                apart = np.abs(clicks(made.model, batch, largest, threads=threads) - exact)
                row |= {"largest_error": float(apart.max()), "mean_error": float(apart.mean())}
        formats.append(row)
        progress(form, 1.0)
    rows = []
    for threads in question.threads if can_run else ():
        curves = curves_of(
            list(can_run.values()), batch, question.requests, threads=threads, budget_s=budget_s,
            progress=lambda share, threads=threads: progress(f"timing, {threads} threads", share),  # type: ignore[misc]
        )  # fmt: skip
        rows += [_row(form, threads, point) for form, own in zip(can_run, curves, strict=True) for point in own]
    return {
        "model": str(question.folder), "kind": model.kind, "log": str(question.log), "device": model.predictor.device,
        "device_name": device_name(model.predictor.device), "cores": os.cpu_count(),
        "versions": {name: version(name) for name in _PACKAGES}, "candidates": question.candidates,
        "ads": len(batch.ads.categorical), "formats": formats, "rows": rows, "best": _best(rows),
    }  # fmt: skip


def _row(form: str, threads: int, point: Point) -> dict[str, Any]:
    return {
        "format": form, "threads": threads, **point._asdict(), "rows_per_s": point.rows / point.seconds,
        "requests_per_s": point.requests / point.seconds,
    }  # fmt: skip


def _best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fastest row for each number of threads and size of calls."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        place = row["threads"], row["requests"]
        if place not in found or row["seconds"] < found[place]["seconds"]:
            found[place] = row
    return [{name: row[name] for name in ("threads", "requests", "format")} for row in found.values()]


def _refuse_no_model(folder: Path) -> None:
    if not folder.is_dir():
        raise Refused(f"model {folder}: there is no such folder")
    inside = sorted(str(path) for path in (folder / "models").glob("*") if path.is_dir())
    if inside:
        raise Refused(f"model {folder}: it is a run folder, give one of its models: {', '.join(inside)}")


def _log_of(folder: Path, source: Path | None) -> Path:
    """The log of `source`, or of the run folder two levels above the model."""
    if source is not None:
        return log_of(source)
    run = folder.resolve().parents[1]
    if not (run / "log" / SCHEMA_FILE).is_file():
        raise Refused(f"model {folder}: it lies in no run folder with a log; say whose log to take, with --log")
    return log_of(run)
