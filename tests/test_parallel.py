"""Two processes train as one: weights, noise, global sites, failure and resumption."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from children import Child
from filelock import FileLock

import pyrovae as pv

WORKER = Path(__file__).with_name("parallel_worker.py")
ROOT = WORKER.parents[1]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class Ended(NamedTuple):
    returncode: int | None
    stderr: str


def run(tasks: str, folder: Path, *, processes: int = 2) -> list[Ended]:
    """Run tasks of the worker in some processes, and wait for all."""
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        Child(
            WORKER,
            tasks,
            str(folder),
            environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {},
        )
        for rank in range(processes)
    ]
    said = [process.communicate()[1] for process in started]
    return [Ended(process.returncode, words) for process, words in zip(started, said, strict=True)]


def load(path: Path):
    return torch.load(path, weights_only=False)  # made by this very test


def once(folder: Path, tasks: str, *, processes: int = 2) -> Path:
    """Run tasks that leave files behind, unless another worker of pytest has."""
    folder.mkdir(exist_ok=True)
    done = folder / f"{tasks}.done"
    with FileLock(folder / "lock"):
        if not done.exists():
            for process in run(tasks, folder, processes=processes):
                assert process.returncode == 0, process.stderr
            done.touch()
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """What two processes leave behind."""
    base = tmp_path_factory.getbasetemp()
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # which all workers of pytest share
    return once(
        together / "parallel",
        "train_all,normed,draw,odd,shift_in_one,branch_in_one,straight,begun,handed_on,leave_together",
    )


@pytest.fixture(scope="module")
def resumed(two) -> Path:
    """What two other processes leave behind, who go on with it."""
    return once(two, "gone_on")


@pytest.fixture(scope="module")
def one(two) -> Path:
    """What one process leaves behind that does the same, and goes on with a run of two."""
    return once(two.with_name("alone"), "train_all,odd,gone_on", processes=1)


@pytest.fixture(scope="module")
def ends(one, two):
    """The ends of the same trainings in one process and in two."""
    return load(one / "ends0.pt"), load(two / "ends0.pt"), load(two / "ends1.pt")


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(ends):
    one, first, second = ends
    assert len(one) >= 19
    for name, (weights, history, _) in one.items():
        for key, value in weights.items():
            assert torch.equal(first[name][0][key], second[name][0][key]), (name, key)
            assert torch.allclose(first[name][0][key], value, rtol=1e-4, atol=2e-6), (name, key)
        assert torch.allclose(torch.tensor(first[name][1]), torch.tensor(history), rtol=1e-5), name


@pytest.mark.slow
def test_pairs_without_global_sites_are_staged(ends):
    _, first, _ = ends
    assert first["Base-traced"][2].startswith("traced")
    assert first["WithGlobal-traced"][2].startswith("plain")
    assert "draw alike" in first["WithGlobal-traced"][2]


@pytest.mark.slow
def test_global_sites_are_drawn_alike_and_local_ones_are_not(two):
    first, second = (load(two / f"drawn{rank}.pt") for rank in range(2))
    assert first["w"] == second["w"]
    assert len(set(first["w"])) == 6
    assert all(a != b for a, b in zip(first["z"], second["z"], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["begun", "left"])
def test_a_resumed_run_is_the_run_that_was_never_stopped(name, resumed):
    """Begun for some epochs, or left in a loop by all processes at one step."""
    for rank in range(2):
        (straight, _), (halves, words) = (load(resumed / f"{part}{rank}.pt") for part in ("straight", name))
        assert all(torch.equal(straight[key], halves[key]) for key in straight)
        assert not words


@pytest.mark.slow
def test_statistics_of_single_processes_are_averaged(two):
    first, second = (load(two / f"normed{rank}.pt") for rank in range(2))
    for staged, end in first.items():
        assert all(torch.equal(end[key], second[staged][key]) for key in end)
        assert all(torch.allclose(end[key], value, rtol=1e-4, atol=1e-5) for key, value in first[False].items())
    assert first[False]["encoder.0.running_mean"].abs().max() > 0.05


@pytest.mark.slow
def test_one_process_goes_on_with_a_run_of_two(one):
    _, words = load(one / "begun0.pt")
    assert len(words) == 1
    assert "in 2 process(es)" in words[0]


@pytest.mark.slow
def test_a_killed_process_ends_the_other_with_a_checkpoint(tmp_path):
    other, killed = run("lose", tmp_path)
    assert killed.returncode == -9
    assert other.returncode in (1, -6)
    assert "ParallelError" in other.stderr
    assert "resume=True" in other.stderr
    # Of the last step that both have made; others come after each epoch, of three steps.
    assert "checkpoint-0000000026" in other.stderr
    assert (tmp_path / "lost" / "checkpoint-0000000026.safetensors").exists()


@pytest.mark.slow
def test_a_process_that_leaves_its_loop_alone_ends_the_other_with_a_checkpoint(tmp_path):
    other, left = run("leave_alone", tmp_path)
    assert "a fault of my own" in left.stderr
    assert "process 1 of 2 left the training after step 25" in left.stderr
    assert "ParallelError" in other.stderr
    assert all(process.returncode in (1, -6) for process in (other, left))
    assert (tmp_path / "alone" / "checkpoint-0000000026.safetensors").exists()


@pytest.mark.slow
def test_parts_of_one_size_from_batches_of_two_take_the_same_route(one, two):
    expected, _ = load(one / "odd0.pt")
    for rank in range(2):
        weights, route = load(two / f"odd{rank}.pt")
        assert route.startswith("traced")
        assert all(torch.allclose(weights[key], value, rtol=1e-4, atol=2e-6) for key, value in expected.items())


@pytest.mark.slow
def test_what_the_user_changes_in_one_process_takes_effect_at_once(two):
    for rank in range(2):
        losses = load(two / f"shifted{rank}.pt")
        assert losses["auto"] == pytest.approx(losses[False], rel=1e-5)


@pytest.mark.slow
def test_what_one_process_cannot_stage_none_stages(two):
    for rank in range(2):
        route = load(two / f"branch{rank}.pt")
        assert route.startswith("plain")
        assert "parallel_worker.py, line" in route


@pytest.mark.slow
def test_what_goes_bad_or_cannot_be_shared_ends_all_processes(tmp_path):
    for process in run("refused", tmp_path):
        assert process.returncode == 0, process.stderr
    first, second = (load(tmp_path / f"refused{rank}.pt") for rank in range(2))
    for said in (first, second):
        assert said["other_data"].startswith("DataError: argument 'x' of the data is ")
        assert "learning_rate is 0.00" in said["other_rate"]
        assert "batch_size=20 leaves 1 rows for 2 processes" in said["remainder"]
        assert "shuffles in an order of its own" in said["loader"]
        assert "DivergedError" in said["diverge"]
    assert second["outside_support"].startswith("DataError: step ")
    assert first["outside_support"].startswith(
        "ParallelError: process 1 of the 2 of this training has ended: DataError:"
    )
    assert all("outside the likelihood's support" in said["outside_support"] for said in (first, second))


def test_one_process_alone_is_no_team(monkeypatch):
    from pyrovae.training.parallel.team import find_team

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = find_team()
    tensor = torch.ones(3)
    alone.average_([tensor])
    assert (alone.size, alone.first, alone.broadcast(3), alone.all_gather(4), alone.any(False)) == (
        1,
        True,
        3,
        [4],
        False,
    )
    assert issubclass(pv.ParallelError, pv.errors.PyrovaeError)


@pytest.mark.slow
def test_the_command_line_trains_under_torchrun(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = ["-m", "pyrovae", "train", "digits", "--latent", "2", "--epochs", "2", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*command, *program], env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Wrote ") == 1
    assert ended.stderr.count(", batches of 64: traced") == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"config.json", "model.safetensors", "report.html"}
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
