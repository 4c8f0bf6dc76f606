"""The command line. Heavy imports wait until a command needs them."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marketplace.errors import Refused
from marketplace.progress import PROGRESS, progress_to

if TYPE_CHECKING:
    from rich.console import Console

    from marketplace.experiment import Pace
    from marketplace.runs import Draft
    from marketplace.scenario import Scenario

app = typer.Typer(
    help="Offline A/B tests on a simulated ad market whose truth is known.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

Source = Annotated[
    Path, typer.Argument(help="A scenario file (TOML) or a run folder, whose finished stages are taken over.")
]
RunFolder = Annotated[Path, typer.Argument(help="A finished run folder.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as auction.squash=0.5.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the world and of all luck; the scenario's by default.")]
Runs = Annotated[Path, typer.Option(help="Folder that run folders are written to.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads; changes speed only.")]
Tick = Annotated[int, typer.Option(min=1, help="Most requests served at once; changes speed and memory only.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Design = Annotated[
    list[str] | None,
    typer.Option(help="ab, aa, or an arm by its name (everyone in it); repeat for several. Default: ab."),
]

_RUNS = Path("runs")
_INTERRUPTED = "marketplace: interrupted; nothing is kept of the run that was under way"
_NotUnderstood: Any = typer.BadParameter.__base__  # the error of all wrong arguments, which Typer keeps to itself
_BY_SIGNAL = 130  # what Typer makes of an interrupt


@app.command()
def compare(
    source: Source, set_: Set = None, seed: Seed = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run the whole offline A/B test: log, models, A/B, A/A, the two worlds that give the truth, report.

    Example: `marketplace compare scenarios/delivery.toml --set experiment.arms.treatment.share=0.2`
    """
    _work("compare", source, set_, seed, runs, _pace(threads, tick), as_json, "report", None)


@app.command()
def generate(
    source: Source, set_: Set = None, seed: Seed = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Solve the market and collect its log under the first ranker.

    Example: `marketplace generate scenarios/delivery.toml --seed 3`
    """
    _work("generate", source, set_, seed, runs, _pace(threads, tick), as_json, "log", ())


@app.command()
def train(
    source: Annotated[
        Path, typer.Argument(help="A scenario file (TOML) or a run folder; with --model, a run or log folder.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model by its name or in a TOML file, instead of the arms' models; repeat for several."),
    ] = None,
    correct: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="Corrections, such as delay=es_dfm,position=pal,calibrate=isotonic; shown with and without them. "
            "online=campaign works in simulations only.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --model: trainings of each, whose spread is shown.")] = 1,
    out: Annotated[Path | None, typer.Option(help="With --model: a new folder for the models and the table.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="With --model: train on the last so many days only.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="With --model: networks go on from the models in this folder, an earlier --out.")
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="With --model: keep the state of trainings here, and go on with one that was interrupted."),
    ] = None,
    set_: Set = None, seed: Seed = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Train and calibrate both arms' models on the log, and compare them offline; or compare any models on one log.

    Example: `marketplace train runs/delivery-20260101-120000 --model lightgbm --model mlp --model dhen --seeds 3`

    Example: `marketplace train runs/delivery-20260101-120000 --model mlp --correct delay=dfm_weibull,position=pal`
    """
    if model is None:
        with _refusals():
            if any((out, last, start, checkpoints)) or seeds > 1:
                raise Refused("--seeds, --out, --last, --start and --checkpoints are for models named by --model")
            if correct is not None:
                from marketplace.comparison import corrections  # noqa: PLC0415
                from marketplace.runs import scenario_of  # noqa: PLC0415

                given, trained = corrections(correct).items(), scenario_of(source, set_ or [], seed)[0].trained
                set_ = [
                    *(set_ or []),
                    *(f"models.{model}.correct.{name}={value}" for model in trained for name, value in given),
                ]
        _work("train", source, set_, seed, runs, _pace(threads, tick), as_json, "models", ())
        return
    from marketplace.comparison import compare_models, corrected, log_of, models_named, write_comparison  # noqa: PLC0415
    from marketplace.errors import refusing  # noqa: PLC0415
    from models.distributed import joined  # noqa: PLC0415
    from models.errors import Unusable  # noqa: PLC0415

    with _refusals():
        if set_ or seed is not None:
            raise Refused("--set and --seed are of a scenario: with --model, a model's settings are in its file")
        configs, log = models_named(model), log_of(source)
        if correct is not None:
            configs = corrected(configs, correct)
        with joined() as rank, write_comparison(out if rank == 0 else None) as folder:
            with _progress("train", silent=rank > 0) as progress, refusing("training", Unusable):
                rows = compare_models(
                    log, configs, seeds=seeds, threads=threads, folder=folder, progress=progress, last=last, start=start,
                    checkpoints=checkpoints,
                )  # fmt: skip
            if folder is not None:
                (folder / "models.json").write_text(json.dumps(rows, indent=1) + "\n")
        if rank > 0:
            return
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from marketplace.terminal import print_comparison  # noqa: PLC0415

    print_comparison(_console(), rows, seeds)
    if out is not None:
        _console().print(f"\nModels: {out}", soft_wrap=True, highlight=False)


@app.command()
def importance(
    source: Annotated[
        Path,
        typer.Argument(
            help="A scenario file (TOML) or a run folder, whose log is taken over; or a log folder, of which nothing is kept."
        ),
    ],
    model: Annotated[str, typer.Option(help="A model by its name or in a TOML file.")],
    task: Annotated[str, typer.Option(help="click, or conversion (given a click).")] = "click",
    method: Annotated[
        list[str] | None,
        typer.Option(help="permutation, ablation or integrated_gradients; repeat for several. Default: all that the model has."),
    ] = None,
    keep: Annotated[
        list[int] | None,
        typer.Option(help="Train again on so many features, the first of each method and random ones; repeat for several."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Shuffles of each feature, whose mean is taken.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the trainings, the shuffles and the random order.")] = 0,
    set_: Set = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048, as_json: Json = False,
) -> None:  # fmt: skip
    """Train a model on a log, and rank the log's features by what they are worth to it.

    Example: `marketplace importance runs/delivery-20260101-120000 --model mlp --keep 5 --keep 10 --keep 20`
    """
    from marketplace.comparison import log_of, models_named  # noqa: PLC0415
    from marketplace.errors import refusing  # noqa: PLC0415
    from marketplace.importance import asked, importance_of  # noqa: PLC0415
    from marketplace.runs import MANIFEST  # noqa: PLC0415
    from marketplace.schema import log_schema  # noqa: PLC0415
    from models.errors import Unusable  # noqa: PLC0415
    from models.schema import load_schema  # noqa: PLC0415

    with _refusals():
        ((name, config),) = models_named([model]).items()

    def check(scenario: "Scenario") -> None:
        asked(log_schema(scenario.world), config, task=task, methods=method, keep=keep or [])

    def answer(log: Path, progress: Callable[[str, float], None]) -> dict[str, Any]:
        with refusing("importance", Unusable):
            question = asked(load_schema(log), config, task=task, methods=method, keep=keep or [])
            return importance_of(
                log, name, config, question, repeats=repeats, seed=seed, threads=threads, progress=progress
            )

    def work(draft: "Draft", progress: Callable[[str, float], None]) -> dict[str, Any]:
        return answer(draft.folder / "log", progress)

    def show(content: dict[str, Any]) -> None:
        from marketplace.terminal import print_importance  # noqa: PLC0415

        print_importance(_console(), content)

    if not source.is_dir() or (source / MANIFEST).exists():
        pace = _pace(threads, tick)
        _add("importance", "importance", source, set_, None, runs, pace, as_json, "log", check, work, show)
        return
    with _refusals():
        if set_:
            raise Refused("--set is of a scenario: a log folder has none")
        log = log_of(source)
        with _progress("importance") as progress:
            content = answer(log, progress)
    if as_json:
        print(json.dumps(content, indent=1))
        return
    show(content)


@app.command()
def profile(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model: RUN/models/NAME, or one of `train --out`.")],
    log: Annotated[
        Path | None, typer.Option(help="Whose requests to score: a run folder or a log. Default: the run of the model.")
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, help="Ads scored per request.")] = 50,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Requests scored at once; repeat for several. Default: 1, 8, 64, 256.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Of a call; repeat for several. Default: 1 and all cores.")
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="float32, bfloat16, int8, each also with -compiled, or exported; repeat for several. Default: all."
        ),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Time a model's scoring by format, threads and requests scored at once, and what a format costs in accuracy.

    Example: `marketplace profile runs/delivery-20260101-120000/models/treatment --batch 1 --batch 64 --format int8`
    """
    from marketplace.errors import refusing  # noqa: PLC0415
    from marketplace.profile import asked, profile_of  # noqa: PLC0415
    from models.errors import Unusable  # noqa: PLC0415

    with _refusals(), _progress("profile") as progress, refusing("profile", Unusable):
        question = asked(
            model, log, candidates=candidates, requests=batch or (1, 8, 64, 256), threads=threads or (),
            formats=format_ or (),
        )  # fmt: skip
        content = profile_of(question, progress=progress)
    if as_json:
        print(json.dumps(content, indent=1))
        return
    from marketplace.terminal import print_profile  # noqa: PLC0415

    print_profile(_console(), content)


@app.command()
def pareto(
    source: Source,
    space: Annotated[
        Path | None,
        typer.Option(help="A TOML file with [base], a model's settings, and [space], lists of values. Default: networks."),
    ] = None,
    trials: Annotated[int, typer.Option(help="Architectures to train at random, the base among them.")] = 12,
    propose: Annotated[int, typer.Option(help="Architectures to predict.")] = 2000,
    verify: Annotated[int, typer.Option(help="Of those, how many to train.")] = 4,
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 1,
    task: Annotated[str, typer.Option(help="click, or conversion (given a click).")] = "click",
    search_seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn, and of the trainings.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Write the page to this file, too.")] = None,
    set_: Set = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048, as_json: Json = False,
) -> None:  # fmt: skip
    """Search a space of architectures for the trade of AUC for scoring speed: random trials, predictions, a verified front.

    Example: `marketplace pareto runs/delivery-20260101-120000 --trials 16 --verify 4 --html pareto.html`
    """
    from marketplace.errors import refusing  # noqa: PLC0415
    from marketplace.page import render_pareto  # noqa: PLC0415
    from marketplace.pareto import asked, pareto_of  # noqa: PLC0415
    from marketplace.runs import write_whole  # noqa: PLC0415
    from marketplace.space import space_of  # noqa: PLC0415
    from models.errors import Unusable  # noqa: PLC0415

    with _refusals():
        _check_page(html)
        search = asked(
            space_of(space), task=task, trials=trials, propose=propose, verify=verify, seeds=seeds, seed=search_seed
        )

    def work(draft: "Draft", progress: Callable[[str, float], None]) -> dict[str, Any]:
        with refusing("training", Unusable):
            content = pareto_of(draft.folder, draft.scenario, search, threads=threads, progress=progress)
        page = render_pareto(content)
        for file in (draft.folder / "pareto.html", *([] if html is None else [html])):
            write_whole(file, page)
        return content

    def show(content: dict[str, Any]) -> None:
        from marketplace.terminal import print_pareto  # noqa: PLC0415

        print_pareto(_console(), content)

    _add("pareto", "pareto", source, set_, None, runs, _pace(threads, tick), as_json, "log", None, work, show)


@app.command()
def simulate(
    source: Source, design: Design = None, set_: Set = None, seed: Seed = None, runs: Runs = _RUNS,
    threads: Threads = 2, tick: Tick = 2048, as_json: Json = False,
) -> None:  # fmt: skip
    """Run the test's days under one design or several, and report.

    Example: `marketplace simulate runs/delivery-20260101-120000 --design ab --design control`
    """
    chosen = tuple(dict.fromkeys(design or ["ab"]))
    _work("simulate", source, set_, seed, runs, _pace(threads, tick), as_json, "report", chosen)


@app.command()
def capacity(
    source: Source, set_: Set = None, seed: Seed = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Size and price the platform for every arm: hosts for the p99 target at the peak, latency, dollars a year.

    Example: `marketplace capacity runs/delivery-20260101-120000 --set serving.scale=20000 --set serving.target_p99_ms=40`
    """
    from marketplace.serving_words import reasons  # noqa: PLC0415

    def show(content: Any) -> None:
        from marketplace.terminal import print_serving  # noqa: PLC0415

        print_serving(_console(), content)

    def check(content: Any) -> None:
        for reason in reasons(content):
            raise Refused(f"scenario {content['scenario']}, arm {reason}")

    _work("capacity", source, set_, seed, runs, _pace(threads, tick), as_json, "report", ("ab",), check, show)


@app.command("design")
def design_(
    source: Source,
    design: Annotated[
        list[str] | None,
        typer.Option(
            help="users, sessions, requests, advertisers, budgets, switchback or clusters; repeat for several. "
            "Default: users, budgets, switchback, clusters, advertisers."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Fortnights of the same market, each with another luck.")] = 20,
    requests: Annotated[
        int | None,
        typer.Option(min=1, help="Expected in a fortnight: so many users come, to their part of the budgets. Default: all."),
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="To print; repeat for several. Default: goals.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one for each core.")] = None,
    set_: Set = None, seed: Seed = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Compare designs of the experiment on one market: bias, standard error, coverage, days needed, false positives.

    Example: `marketplace design scenarios/delivery.toml --seeds 20 --requests 200000`
    """
    import os  # noqa: PLC0415

    from marketplace.readout import metrics_named  # noqa: PLC0415
    from marketplace.study import STUDIED, run_study, users_for  # noqa: PLC0415

    chosen = tuple(dict.fromkeys(design or STUDIED))

    def study(draft: "Draft", progress: Callable[[str, float], None]) -> dict[str, Any]:
        return run_study(draft, chosen, seeds, requests, workers or os.cpu_count() or 1, progress)

    def check(scenario: "Scenario") -> None:
        metrics_named(metric or (), scenario)
        users_for(scenario, requests)

    def show(content: dict[str, Any]) -> None:
        from marketplace.terminal import print_study  # noqa: PLC0415

        print_study(_console(), content, metric)

    _add("design", "study", source, set_, seed, runs, _pace(threads, tick), as_json, "models", check, study, show)


@app.command()
def aa(
    source: Source,
    repeats: Annotated[
        int, typer.Option("--runs", min=20, help="Random splits of one simulated test of equal arms.")
    ] = 2000,
    design: Annotated[
        list[str] | None,
        typer.Option(help="users, clusters, switchback or advertisers; repeat for several. Default: all of them."),
    ] = None,
    set_: Set = None, seed: Seed = None,
    folder: Annotated[Path, typer.Option(help="Folder that run folders are written to.")] = _RUNS,
    threads: Threads = 2, tick: Tick = 2048, as_json: Json = False,
) -> None:  # fmt: skip
    """Read a test of equal arms under many random splits: are p-values uniform, do intervals hold 0?

    Example: `marketplace aa scenarios/delivery.toml --runs 2000`
    """
    from marketplace.equal import SPLIT_AGAIN, run_equal  # noqa: PLC0415

    chosen = tuple(dict.fromkeys(design or SPLIT_AGAIN))

    def study(draft: "Draft", progress: Callable[[str, float], None]) -> dict[str, Any]:
        return run_equal(draft, chosen, repeats, _pace(threads, tick), progress)

    def show(content: dict[str, Any]) -> None:
        from marketplace.terminal import print_equal  # noqa: PLC0415

        print_equal(_console(), content)

    _add("aa", "aa", source, set_, seed, folder, _pace(threads, tick), as_json, "models", None, study, show)


@app.command("power")
def power_(
    source: Source,
    lift: Annotated[
        float | None, typer.Option(help="Relative, such as 0.02: also show the days that are needed to find it.")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="To print; repeat for several. Default: goals.")] = None,
    power: Annotated[float, typer.Option(help="Share of tests that find a lift that is there.")] = 0.8,
    set_: Set = None, seed: Seed = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Say before a test what it would find and how long it would take, from the log of a scenario or run.

    Tests are read without CUPED: what it will take out is not known before the test.

    Example: `marketplace power runs/delivery-20260101-120000 --lift 0.02 --metric CPA`
    """
    from marketplace.foresight import check_foresight, foresight  # noqa: PLC0415
    from marketplace.readout import metrics_named  # noqa: PLC0415

    def check(scenario: "Scenario") -> None:
        metrics_named(metric or (), scenario)
        check_foresight(scenario, lift, power)

    def work(draft: "Draft", progress: Callable[[str, float], None]) -> dict[str, Any]:
        return foresight(draft, lift, power)

    def show(content: dict[str, Any]) -> None:
        from marketplace.terminal import print_power  # noqa: PLC0415

        print_power(_console(), content, metric)

    _add("power", "power", source, set_, seed, runs, _pace(threads, tick), as_json, "log", check, work, show)


@app.command()
def realism(
    real: Annotated[list[Path], typer.Argument(help="Impression logs, Parquet or CSV (gzip too), or one run folder.")],
    scenario: Annotated[Path, typer.Option(help="The scenario fitted to that log, or a run of it.")],
    purchases: Annotated[list[Path] | None, typer.Option(help="A log of purchases; repeat for several parts.")] = None,
    format_: Annotated[str, typer.Option("--format", help="Of the logs: standard, or a public format by its name.")] = "standard",
    columns: Annotated[
        str | None, typer.Option(metavar="STANDARD=YOURS,...", help="Columns by another name, such as item=ad_id,click=clicked.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Of times that are numbers: ns, us, ms or s.")] = "ms",
    seeds: Annotated[
        int, typer.Option(min=1, help="Simulated logs, each of another seed; of 3 or more, intervals hold the chance of stores.")
    ] = 1,
    set_: Set = None, seed: Seed = None, runs: Runs = _RUNS, threads: Threads = 2, tick: Tick = 2048, as_json: Json = False,
) -> None:  # fmt: skip
    """Hold a real log beside the log of the scenario fitted to it, by statistics that were not fitted and by a classifier.

    Example: `marketplace realism impressions.parquet --scenario mine.toml --seeds 5`
    """
    from marketplace.fit import Question, columns_named  # noqa: PLC0415
    from marketplace.page import render_realism  # noqa: PLC0415
    from marketplace.realism_stage import realism_of  # noqa: PLC0415
    from marketplace.runs import write_whole  # noqa: PLC0415

    pace = _pace(threads, tick)
    with _refusals():
        question = Question(
            logs=tuple(real), out=scenario, purchases=tuple(purchases or ()), format=format_,
            columns=columns_named(columns), unit=unit, threads=threads,
        )  # fmt: skip

    def work(draft: "Draft", progress: Callable[[str, float], None]) -> dict[str, Any]:
        content = realism_of(draft, scenario, question, seeds, pace, progress)
        write_whole(draft.folder / "realism.html", render_realism(content))
        return content

    def check(own: "Scenario") -> None:
        for path in question.logs:
            if not path.exists():
                raise Refused(f"log {path}: there is none")

    def show(content: dict[str, Any]) -> None:
        from marketplace.terminal import print_realism  # noqa: PLC0415

        print_realism(_console(), content)

    _add("realism", "realism", scenario, set_, seed, runs, pace, as_json, "log", check, work, show)


@app.command()
def report(
    run: RunFolder,
    metric: Annotated[
        list[str] | None, typer.Option(help="Print the readout of this metric alone; repeat for several.")
    ] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(
            help="Print the readout and its parts by familiarity, daypart, platform, cohort, surface, pricing or "
            "campaign_size; repeat for several. Of goals, where no --metric is given."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the report of a finished run, or some metrics of it, by parts of the test.

    Example: `marketplace report runs/delivery-20260101-120000 --json`

    Example: `marketplace report runs/delivery-20260101-120000 --metric CPA --metric iCVR --segment daypart`
    """
    from marketplace.excerpt import check_names, excerpt  # noqa: PLC0415
    from marketplace.runs import open_run, read_json  # noqa: PLC0415
    from marketplace.shape import Report  # noqa: PLC0415

    with _refusals():
        check_names(metric or (), segment or ())
        found = open_run(run)
        if not found.has("report"):
            raise Refused(f"run folder {run}: it has no report yet, run `marketplace compare {run}`")
        content = read_json(run / "report.json", Report)
        if not metric and not segment:
            _show(content, as_json)
            return
        rows = excerpt(content, metric or (), segment or (), run)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from marketplace.terminal import print_excerpt  # noqa: PLC0415

    print_excerpt(_console(), rows)


@app.command("runs")
def list_(runs: Runs = _RUNS, as_json: Json = False) -> None:
    """List the finished runs, newest first.

    Example: `marketplace runs --runs experiments`
    """
    from marketplace.runs import list_runs  # noqa: PLC0415

    with _refusals():
        if not runs.is_dir():
            raise Refused(f"runs folder {runs}: there is none")
        found, damaged = list_runs(runs)
    for refused in damaged:
        print(f"marketplace: {refused}", file=sys.stderr)
    if as_json:
        print(json.dumps([{"folder": str(run.folder)} | run.manifest for run in found], indent=1))
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "scenario", "seed", "command", "started", "seconds", "stages"):
        table.add_column(name)
    for run in found:
        m = run.manifest
        table.add_row(
            str(run.folder),
            m["scenario"],
            str(m["seed"]),
            m["command"],
            m["started"],
            f"{m['wall_s']:.0f}",
            " ".join(m["stages"]),
        )
    _console().print(table)


@app.command()
def world(
    source: Annotated[Path, typer.Argument(help="A scenario file (TOML) or a run folder.")],
    set_: Set = None, seed: Seed = None, as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with charts to this file.")] = None,
) -> None:  # fmt: skip
    """Build a scenario's world and show it: sizes, figures asked for and obtained, mechanisms, how its users behave.

    Example: `marketplace world scenarios/delivery.toml --html world.html`
    """
    from marketplace.runs import scenario_of, write_whole  # noqa: PLC0415

    with _refusals():
        scenario, _ = scenario_of(source, set_ or [], seed)
        _check_page(html)
        with _progress("world") as progress:
            content = _portrait(scenario, progress)
        if html is not None:
            from marketplace.page import render_portrait  # noqa: PLC0415

            write_whole(html, render_portrait(content))
    if as_json:
        print(json.dumps(content, indent=1))
        return
    from marketplace.terminal import print_portrait  # noqa: PLC0415

    console = _console()
    print_portrait(console, content)
    if html is not None:
        console.print(f"\nPage: {html}", soft_wrap=True, highlight=False)


@app.command()
def fit(
    logs: Annotated[list[Path], typer.Argument(help="Impression logs, Parquet or CSV (gzip too), or one run folder.")],
    out: Annotated[Path, typer.Option(help="The scenario to write (TOML); all estimates go beside it, as .fit.json.")],
    purchases: Annotated[list[Path] | None, typer.Option(help="A log of purchases, or FORMAT:FILE; repeat for parts.")] = None,
    traffic: Annotated[list[Path] | None, typer.Option(help="A table of traffic by weekday and hour, or FORMAT:FILE.")] = None,
    format_: Annotated[str, typer.Option("--format", help="Of the logs: standard, or a public format by its name.")] = "standard",
    columns: Annotated[
        str | None, typer.Option(metavar="STANDARD=YOURS,...", help="Columns by another name, such as item=ad_id,click=clicked.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Of times that are numbers: ns, us, ms or s.")] = "ms",
    base: Annotated[
        Path | None, typer.Option(help="A scenario whose settings hold where the log cannot tell. Default: a small feed market.")
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Users of the market to simulate. Default: those of the log, 100,000 at most.")
    ] = None,
    window_days: Annotated[
        float | None, typer.Option(min=0.01, help="The log takes up no event later than so long after its click.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the scenario.")] = None,
    memory: Annotated[str, typer.Option(help="That reading the log may take.")] = "2GiB",
    threads: Threads = 2, as_json: Json = False,
) -> None:  # fmt: skip
    """Fit a market to a log of impressions: a scenario that can be simulated, every figure with its interval.

    Example: `marketplace fit impressions.parquet --purchases orders.csv.gz --columns item=ad_id --out mine.toml`
    """
    from marketplace.fit import Question, columns_named, fit_file  # noqa: PLC0415
    from marketplace.fit import fit as fitted  # noqa: PLC0415

    with _refusals(), _progress("fit") as progress:
        question = Question(
            logs=tuple(logs), out=out, purchases=tuple(purchases or ()), traffic=tuple(traffic or ()), format=format_,
            columns=columns_named(columns), unit=unit, base=base, users=users, seed=seed, window_days=window_days, memory=memory,
            threads=threads,
        )  # fmt: skip
        content = fitted(question, progress)
    if as_json:
        print(json.dumps(content, indent=1))
        return
    from marketplace.fit_table import print_fit  # noqa: PLC0415

    console = _console()
    print_fit(console, content)
    console.print(f"\nScenario:  {out}\nEstimates: {fit_file(out)}", soft_wrap=True, highlight=False)
    console.print(f"Simulate:  marketplace generate {out}", soft_wrap=True, highlight=False)


@app.command()
def dashboard(
    runs: Annotated[Path, typer.Argument(help="Folder with run folders.")] = _RUNS,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on the loopback address.")] = 8501,
    scenarios: Annotated[Path, typer.Option(help="Folder with the scenario files that may be run from it.")] = Path(
        "scenarios"
    ),
    jobs: Annotated[int, typer.Option(min=0, help="Commands that it may have under way at a time.")] = 1,
) -> None:
    """Open the dashboard on finished runs, on the loopback address only.

    Example: `marketplace dashboard runs --port 8600`
    """
    with _refusals():
        if not runs.is_dir():
            raise Refused(f"runs folder {runs}: there is none")
    flags = {
        "server.address": "127.0.0.1", "server.port": port, "server.headless": "true",
        "server.fileWatcherType": "none", "browser.gatherUsageStats": "false",
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "dashboard"]
    command += [f"--{key}={value}" for key, value in flags.items()] + ["--", str(runs), str(scenarios), str(jobs)]
    os.execv(command[0], command)


def _pace(threads: int, tick: int) -> "Pace":
    from marketplace.experiment import Pace  # noqa: PLC0415

    return Pace(threads=threads, tick_requests=tick)


def _work(
    command: str, source: Path, overrides: list[str] | None, seed: int | None, runs: Path, pace: "Pace", as_json: bool,
    upto: str, designs: tuple[str, ...] | None, check: Callable[[Any], None] | None = None,
    show: Callable[[Any], None] | None = None,
) -> None:  # fmt: skip
    """Make a run folder with every stage up to `upto`, taking over what the source has done under the same settings.

    The report is shown by `show`, whole where that is None; `check` may refuse it once the run is kept.
    """
    from marketplace.experiment import complete  # noqa: PLC0415
    from marketplace.runs import new_run, read_json, scenario_of  # noqa: PLC0415

    with _refusals():
        scenario, run = scenario_of(source, overrides or [], seed)
        with _progress(command) as progress, new_run(scenario, command, runs) as draft:
            complete(draft, run, upto, designs, pace, progress)
        if check is not None:
            check(read_json(draft.folder / "report.json"))
        if as_json:
            extra = {
                name: read_json(draft.folder / f"{name}.json") for name in draft.stages if name in ("models", "report")
            }
            print(json.dumps({"folder": str(draft.folder), "stages": draft.stages} | extra, indent=1))
            return
        console = _console()
        if "report" in draft.stages:
            content = read_json(draft.folder / "report.json")
            _show(content, as_json=False) if show is None else show(content)
        elif "models" in draft.stages:
            from marketplace.terminal import print_models  # noqa: PLC0415

            print_models(console, read_json(draft.folder / "models.json"))
    console.print(f"\nRun folder: {draft.folder}", soft_wrap=True, highlight=False)
    if "report" in draft.stages:
        console.print(f"Page:       {draft.folder / 'report.html'}", soft_wrap=True, highlight=False)
        console.print(f"Dashboard:  marketplace dashboard {runs}", soft_wrap=True, highlight=False)


def _add(
    command: str, stage: str, source: Path, overrides: list[str] | None, seed: int | None, runs: Path, pace: "Pace",
    as_json: bool, upto: str, check: Callable[["Scenario"], None] | None,
    work: Callable[["Draft", Callable[[str, float], None]], dict[str, Any]], show: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    """Make a run folder with every stage up to `upto` and one more, whose content is kept as JSON and shown."""
    from marketplace.experiment import complete  # noqa: PLC0415
    from marketplace.runs import new_run, scenario_of, write_json  # noqa: PLC0415

    with _refusals():
        scenario, run = scenario_of(source, overrides or [], seed)
        if check is not None:
            check(scenario)
        with _progress(command) as progress, new_run(scenario, command, runs) as draft:
            complete(draft, run, upto, (), pace, progress)
            started = time.perf_counter()
            content = work(draft, progress)
            draft.stages[stage] = {"wall_s": round(time.perf_counter() - started, 2)}
            write_json(draft.folder / f"{stage}.json", content)
    if as_json:
        print(json.dumps({"folder": str(draft.folder)} | content, indent=1))
        return
    show(content)
    _console().print(f"\nRun folder: {draft.folder}", soft_wrap=True, highlight=False)


def _check_page(html: Path | None) -> None:
    """Raises `Refused` where a page could not be written."""
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise Refused(f"--html {html}: give a file in a folder that exists")


def _portrait(scenario: "Scenario", progress: Callable[[str, float], None]) -> dict[str, Any]:
    """What there is to show of a scenario's world."""
    progress("market", 0.0)
    from marketplace.errors import refusing  # noqa: PLC0415
    from marketplace.market import open_market  # noqa: PLC0415
    from marketplace.portrait import portrait  # noqa: PLC0415
    from models.errors import Unusable  # noqa: PLC0415
    from synth.errors import Impossible  # noqa: PLC0415

    with refusing(f"scenario {scenario.name}", Impossible, Unusable):
        market = open_market(scenario)
    progress("market", 1.0)
    return portrait(scenario, market)


def _show(content: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(content, indent=1))
        return
    from marketplace.terminal import print_report  # noqa: PLC0415

    print_report(_console(), content)


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    return console if console.is_terminal else Console(width=140)


@contextmanager
def _progress(command: str, *, silent: bool = False) -> Iterator[Callable[[str, float], None]]:
    """A live bar per piece of work, on standard error; silent where that is no terminal.

    The file that the environment names is told, too.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.percentage:>4.0f}%"),
        TimeElapsedColumn(),
    )
    watched = os.environ.get(PROGRESS)
    with (
        nullcontext(lambda what, share: None) if watched is None or silent else progress_to(Path(watched)) as tell,
        Progress(*columns, console=console, disable=silent or not console.is_terminal) as bars,
    ):
        tasks: dict[str, Any] = {}

        def progress(what: str, share: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=share)
            tell(what, share)

        yield progress


@contextmanager
def _refusals() -> Iterator[None]:
    """One line and exit code 2 for what is refused or interrupted."""
    try:
        yield
    except Refused as refused:
        print(f"marketplace: {refused}", file=sys.stderr)
        raise typer.Exit(2) from None
    except MemoryError:
        print("marketplace: there is not enough memory for this; lower the users or stores, or --tick", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        raise typer.Exit(2) from None


class _Interrupt:
    """Handler of signals that ask to end; who asks again at once does not cut short what is being cleaned up."""

    _PATIENCE_S = 2.0

    def __init__(self) -> None:
        self.asked = -self._PATIENCE_S

    def __call__(self, signum: int, frame: object) -> None:
        before, self.asked = self.asked, time.monotonic()
        if self.asked - before >= self._PATIENCE_S:
            raise KeyboardInterrupt


def main() -> None:
    """Entry point: arguments that are not understood, and an interrupt while a command loads, are one line too."""
    interrupt = _Interrupt()
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell has it ignored by what runs in the background
        signal.signal(signal.SIGINT, interrupt)
    try:
        code = app(standalone_mode=False)
    except _NotUnderstood as error:
        if error.format_message():  # no arguments at all: help was shown
            print(f"marketplace: {error.format_message()}", file=sys.stderr)
        code = 2
    if code == _BY_SIGNAL:
        print(_INTERRUPTED, file=sys.stderr)
        code = 2
    for asked in (signal.SIGTERM, signal.SIGINT):  # all is done but the exit, whose code is known
        signal.signal(asked, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
