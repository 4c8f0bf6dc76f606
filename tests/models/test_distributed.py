"""Training in two processes under torchrun, on the processor, is training in one."""

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from models.distributed import joined

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "support" / "together.py"
CONFIGS = ["plain", "entire space, sampled", "two towers", "lists alone", "patience"]
ONLY_TOGETHER = "lists alone"  # each process draws negatives of its own


def run(folder: Path, *launcher: str, configs: tuple[str, ...] = ()) -> None:
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder), *configs], env=environment, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]


def torchrun(processes: int) -> tuple[str, ...]:
    return "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process wrote, and what two did."""
    folder = tmp_path_factory.mktemp("together")
    run(folder / "one")
    run(folder / "two", *torchrun(2))
    return folder / "one", folder / "two"


@pytest.mark.parametrize("name", CONFIGS)
def test_processes_end_with_the_same_network_to_the_bit(trained, name):
    first, second = (load_file(trained[1] / f"{name} {rank}") for rank in (0, 1))

    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_processes_note_the_same_losses(trained, name):
    first, second = ((trained[1] / f"{name} {rank}.notes").read_text() for rank in (0, 1))

    assert first == second


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """A weight whose gradient is nothing but rounding moves by the sign of that: beside one in a hundred, all agree."""
    far = [(other[key] - value).abs() > 1e-3 * value.abs() + 1e-4 for key, value in one.items()]
    return all(part.float().mean() < 0.01 for part in far)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != ONLY_TOGETHER])
def test_two_processes_learn_what_one_does(trained, name):
    one, two = (load_file(folder / f"{name} 0") for folder in trained)

    assert close(one, two)
    notes = [literal_eval((folder / f"{name} 0.notes").read_text()) for folder in trained]
    for a, b in zip(*notes, strict=True):
        assert b == pytest.approx(a, rel=1e-3)


def test_a_process_without_a_share_of_a_batch_adds_nothing(trained, tmp_path):
    """Three processes, of which one or two have no request of the last batches."""
    run(tmp_path / "three", *torchrun(3), configs=("plain",))

    one, *three = (
        load_file(path) for path in (trained[0] / "plain 0", *(tmp_path / "three" / f"plain {r}" for r in range(3)))
    )
    assert all(torch.equal(three[0][key], other[key]) for other in three[1:] for key in one)
    assert close(one, three[0])


def test_one_process_alone_joins_nothing(monkeypatch):
    for world in ({}, {"WORLD_SIZE": "1", "RANK": "0"}):
        for key, value in world.items():
            monkeypatch.setenv(key, value)
        with joined() as rank:
            assert rank == 0
            assert not distributed.is_initialized()
