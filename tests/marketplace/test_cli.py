"""The command line: what works, and what is refused in one line with exit code 2 and nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from called import call, refused

TINY = str(Path(__file__).parents[2] / "scenarios" / "tiny.toml")
COMMANDS = (
    "generate",
    "train",
    "simulate",
    "compare",
    "design",
    "aa",
    "power",
    "report",
    "runs",
    "world",
    "dashboard",
    "importance",
    "profile",
    "capacity",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command):
    result = call(command, "--help")

    assert result.exit_code == 0
    assert f"marketplace {command}" in " ".join(result.stdout.split())


def test_help_imports_nothing_heavy():
    code = (
        "import sys, marketplace.cli; print([m for m in ('torch', 'numpy', 'numba', 'streamlit') if m in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_each_command_takes_over_what_the_run_before_it_did(tmp_path):
    made = json.loads(call("generate", TINY, "--runs", tmp_path, "--json").stdout)
    trained = json.loads(call("train", made["folder"], "--runs", tmp_path, "--json").stdout)
    simulated = json.loads(call("simulate", trained["folder"], "--runs", tmp_path, "--json").stdout)
    compared = json.loads(call("compare", simulated["folder"], "--runs", tmp_path, "--json").stdout)

    assert set(made["stages"]) == {"log"}
    assert trained["stages"]["log"] == simulated["stages"]["log"] == made["stages"]["log"]
    assert list(simulated["stages"]["simulations"]) == ["ab"]
    assert set(compared["stages"]["simulations"]) == {"ab", "aa", "control", "treatment"}
    assert compared["stages"]["simulations"]["ab"] == simulated["stages"]["simulations"]["ab"]
    assert simulated["report"]["readout"][0]["true_lift"] is None
    assert compared["report"]["readout"][0]["true_lift"] is not None
    runs = json.loads(call("runs", "--runs", tmp_path, "--json").stdout)
    assert [run["command"] for run in runs] == ["compare", "simulate", "train", "generate"] or len(runs) == 4
    again = json.loads(call("report", compared["folder"], "--json").stdout)
    assert again == compared["report"]


def test_a_changed_setting_redoes_the_stages_that_depend_on_it(finished, tmp_path):
    folder = finished.folder
    result = call("simulate", folder, "--set", "experiment.arms.treatment.share=0.2", "--runs", tmp_path, "--json")
    redone = json.loads(result.stdout)

    assert redone["stages"]["models"] == finished.manifest["stages"]["models"]
    assert redone["stages"]["simulations"]["ab"]["digest"] != finished.manifest["stages"]["simulations"]["ab"]["digest"]
    assert redone["report"]["srm"][0]["shares"] == [0.8, 0.2]


def test_the_report_in_the_terminal_answers_the_question_first(finished):
    result = call("report", finished.folder)

    assert result.exit_code == 0
    assert result.stdout.strip().startswith("The test")
    for word in ("CPA", "infra_cost", "repurchase", "asked", "A/A", "requests/s", "sample ratio"):
        assert word in result.stdout


@pytest.mark.parametrize(
    "args, words",
    [
        (("compare", "nowhere.toml"), "nowhere.toml: No such file"),
        (("report", "nowhere"), "run folder nowhere: there is none"),
        (("runs", "--runs", "nowhere"), "runs folder nowhere: there is none"),
        (("dashboard", "nowhere"), "runs folder nowhere: there is none"),
        (("simulate", TINY, "--design", "abc"), "--design 'abc': there are ab, aa, control, treatment"),
        (("generate", TINY, "--set", "world.population.users=0"), "world.population.users"),
        (("generate", TINY, "--set", "first_ranker.click.weights.known_order=1"), "known_order names no dense feature"),
        (
            ("generate", TINY, "--set", "world.marginals.sessions_per_day=200"),
            "times a day, at most 70 are simulated",
        ),
        (("generate", TINY, "--set", "world.marginals.ctr=0.9"), "of the impressions are looked at"),
        (("generate", TINY, "--set", "world.marginals.repurchase_negatives=0.99"), "repurchase_negatives is 0.99"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_left(args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert words in refused(call(*args))
    assert not list(tmp_path.glob("runs/*")) and not list(tmp_path.glob("runs/.*"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")

    assert "file" in refused(call("generate", TINY, "--runs", occupied / "runs"))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)

    assert "Permission denied" in refused(call("generate", TINY, "--runs", tmp_path / "runs"))


def damage(folder: Path, name: str) -> None:
    target = next(folder.glob(name))
    content = target.read_bytes()
    target.unlink()  # a hard link is cut, not written through
    target.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "name, command, words",
    [
        ("manifest.json", "report", "manifest.json is damaged"),
        ("report.json", "report", "report.json is damaged"),
        ("scenario.json", "train", "scenario.json"),
        ("log/schema.json", "train", "schema.json"),
        ("log/impressions/day=0001.parquet", "train", "is damaged"),
        ("state/state.npz", "simulate", "state.npz"),
        ("truth/world.json", "simulate", "world.json"),
        ("models/control/model.json", "simulate", "model.json"),
        ("models/control/click.txt", "simulate", "control"),
        ("models/treatment/network.safetensors", "simulate", "treatment"),
    ],
)
def test_a_damaged_run_is_refused_with_the_file_that_is_damaged(finished, tmp_path, name, command, words):
    broken = tmp_path / "broken"
    shutil.copytree(finished.folder, broken)
    damage(broken, name)
    args = [command, broken]
    if command == "train":
        args += ["--set", "models.control.trees=5", "--runs", tmp_path / "out"]
    if command == "simulate":
        args += ["--set", "experiment.arms.treatment.share=0.3", "--runs", tmp_path / "out"]

    assert words in refused(call(*args))
    assert not list(tmp_path.glob("out/*")) and not list(tmp_path.glob("out/.*"))


def test_a_run_without_manifest_was_interrupted(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "half")
    (tmp_path / "half" / "manifest.json").unlink()

    assert "manifest.json is missing, the run was interrupted" in refused(call("report", tmp_path / "half"))


@pytest.mark.parametrize(("how", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 20)])
def test_an_interrupted_run_leaves_nothing_and_says_so_in_one_line(tmp_path, how, times):
    command = [sys.executable, "-m", "marketplace.cli", "compare", TINY, "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/.unfinished-*/log")) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(times):
        process.send_signal(how)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 2
    assert err.strip().splitlines() == ["marketplace: interrupted; nothing is kept of the run that was under way"]
    assert not out
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    "content", ['{"stages": {}}', "[]", '{"scenario": "x", "stages": {"log": null}}', '{"stages": {"other": {}}}']
)
def test_a_manifest_that_lacks_something_is_refused_and_hides_no_other_run(finished, tmp_path, content):
    shutil.copytree(finished.folder, tmp_path / "good")
    shutil.copytree(finished.folder, tmp_path / "bad")
    (tmp_path / "bad" / "manifest.json").unlink()
    (tmp_path / "bad" / "manifest.json").write_text(content)

    assert "bad: manifest.json is damaged" in refused(call("report", tmp_path / "bad"))
    listed = call("runs", "--runs", tmp_path, "--json")
    assert "bad: manifest.json is damaged" in listed.stderr
    assert [Path(run["folder"]).name for run in json.loads(listed.stdout)] == ["good"]


@pytest.mark.parametrize(
    ("name", "content", "args"),
    [
        ("report.json", "{}", ("report",)),
        (
            "report.json",
            '{"scenario": "x", "description": "", "seed": 1, "log_days": 1, "test_days": 1, "models": [], "marginals": []}',
            ("report",),
        ),
        ("simulations/ab/result.json", '{"arms": 5}', ("simulate", "--set", "experiment.arms.treatment.share=0.5")),
        ("models.json", "{}", ("simulate", "--set", "experiment.arms.treatment.share=0.4")),
        ("truth/world.json", '{"solved": null}', ("simulate", "--set", "experiment.arms.treatment.share=0.4")),
        ("scenario.json", "[]", ("simulate", "--seed", "3")),
    ],
)
def test_a_file_of_another_shape_is_refused_by_name(finished, tmp_path, name, content, args):
    broken = tmp_path / "broken"
    shutil.copytree(finished.folder, broken)
    (broken / name).unlink()
    (broken / name).write_text(content)
    manifest = json.loads((broken / "manifest.json").read_text())
    manifest["files"][name] = len(content)  # as large as it should be
    (broken / "manifest.json").unlink()
    (broken / "manifest.json").write_text(json.dumps(manifest))
    command, *rest = args
    more = ("--runs", tmp_path / "out") if command == "simulate" else ()

    assert name in refused(call(command, broken, *rest, *more))
    assert not list(tmp_path.glob("out/*")) and not list(tmp_path.glob("out/.*"))


def test_damage_inside_a_file_is_named_where_the_file_is(finished, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(finished.folder, broken)
    state = broken / "state/state.npz"
    content = bytearray(state.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    state.unlink()
    state.write_bytes(content)
    args = ("--design", "control", "--set", "experiment.arms.treatment.share=0.3", "--runs", tmp_path / "out")

    assert str(state) in refused(call("simulate", broken, *args))


def test_no_arguments_show_the_help_and_no_empty_line_of_error():
    done = subprocess.run(
        [sys.executable, "-c", "from marketplace.cli import main; main()"], capture_output=True, text=True, check=False
    )

    assert "compare" in done.stdout + done.stderr
    assert "marketplace: \n" not in done.stderr


def test_a_run_that_lost_a_file_is_not_taken_over(finished, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(finished.folder, broken)
    (broken / "simulations/ab/log/impressions/day=0003.parquet").unlink()

    assert "impressions/day=0003.parquet is missing" in refused(call("simulate", broken, "--runs", tmp_path / "out"))


@pytest.mark.parametrize("share, arm", [("0.0001", "treatment"), ("0.9999", "control")])
def test_an_arm_of_hardly_anyone_is_refused_before_the_test_is_run(finished, tmp_path, share, arm):
    args = ("--set", f"experiment.arms.treatment.share={share}", "--runs", tmp_path)

    message = refused(call("simulate", finished.folder, *args))

    assert f"experiment.arms.{arm} has" in message and "of 2,000 users, an arm must have 2 at least" in message


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b'name = "t\xe9"\n')

    assert "x.toml is not UTF-8: invalid continuation byte at byte 9" in refused(call("generate", tmp_path / "x.toml"))


def test_an_override_of_two_lines_sets_nothing_beside(tmp_path):
    assert "users" in refused(
        call("generate", TINY, "--set", "world.population.users=100\nseed = 3", "--runs", tmp_path)
    )


@pytest.mark.parametrize("args", [["--threads", "0"], ["--no-such"], []])
def test_arguments_that_are_not_understood_are_one_line(args):
    command = [
        sys.executable,
        "-c",
        "from marketplace.cli import main; main()",
        "generate",
        *([str(TINY)] if args else []),
    ]
    done = subprocess.run([*command, *args], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("marketplace: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_command_loads_is_one_line(tmp_path, kind):
    code = "import os, marketplace.cli as c; c._pace = lambda *a: os.kill(os.getpid(), {}) or 1; c.main()"
    command = [sys.executable, "-c", code.format(int(kind)), "compare", str(TINY), "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == "marketplace: interrupted; nothing is kept of the run that was under way\n"
