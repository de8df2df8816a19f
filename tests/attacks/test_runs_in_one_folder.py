"""A folder of checkpoints has one training at a time: others are refused in words, and a dead owner's is free."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import time

import pyro
import pytest
import torch
from children import Child

import pyrovae as pv
from pyrovae.training.saved.folder_lock import FolderLock

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
LOCK = "checkpoint.lock"


def vae():
    pyro.clear_param_store()
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))


def options(folder, **more):
    return {"batch_size": 16, "seed": 0, "device": "cpu", "staged": False, "checkpoint": folder, **more}


RACER = """
import sys, time, torch
from pathlib import Path
import pyrovae as pv
torch.set_num_threads(1)
torch.manual_seed(0)
vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
folder, ready, number, resume, pause = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
(ready / number).touch()
while len(list(ready.iterdir())) < 2:
    time.sleep(0.001)
try:
    transform = lambda x: (time.sleep(float(pause)), x)[1]
    run = pv.fit(vae, x, epochs=5, batch_size=16, seed=0, device="cpu", staged=False, progress=False,
                 checkpoint=folder, checkpoint_every=1e-9, resume=resume == "True", transform=transform)
    print("finished", run.step, len(run.history))
except pv.FileError as error:
    print("refused", error)
"""


def race(folder, ready, *, resume):
    ready.mkdir()
    children = [Child(RACER, str(folder), str(ready), str(number), str(resume), "0.05") for number in range(2)]
    return sorted((child.communicate() for child in children), key=lambda said: said[0])


@pytest.mark.parametrize("resume", [
    True, *(pytest.param(resume, marks=pytest.mark.trial) for resume in (True, False, True, False))
])  # fmt: skip
@pytest.mark.slow
def test_of_two_that_start_together_one_trains(resume, tmp_path):
    (finished, words), (refused, more) = race(tmp_path / "run", tmp_path / "ready", resume=resume)
    assert finished.split() == ["finished", "20", "5"], (words, more)
    assert "is in use by the run of process" in refused
    assert not (tmp_path / "run" / LOCK).exists()


@pytest.mark.slow
def test_a_second_start_leaves_the_first_alone_and_names_it(tmp_path):
    first = pv.steps(vae(), X, epochs=3, **options(tmp_path))
    next(first)
    owner = json.loads((tmp_path / LOCK).read_text())
    assert owner["pid"] == os.getpid()
    partial = tmp_path / ".checkpoint-0000000009.safetensors.0123456789abcdef0123456789abcdef.partial"
    partial.touch()  # what the first one is writing
    for resume in (True, False):
        with pytest.raises(pv.FileError, match=r"another training of this very process .*close\(\)"):
            pv.fit(vae(), X, epochs=3, progress=False, **options(tmp_path, resume=resume))
    assert partial.exists()
    assert [step.index for step in first][-1] == 11
    assert not (tmp_path / LOCK).exists()
    assert pv.fit(vae(), X, epochs=3, progress=False, **options(tmp_path, resume=True)).step == 12
    assert not partial.exists()


@pytest.mark.parametrize("how", ["close", "exhaust", "forget", "error", "unstarted"])
def test_the_folder_is_free_again(how, tmp_path):
    running = pv.steps(vae(), X, epochs=1, **options(tmp_path / "new" / "run"))
    if how == "error":
        count = itertools.count()
        more = {"transform": lambda x: x / (next(count) < 30), "epochs": 30}
        running = pv.steps(vae(), X, **options(tmp_path / "other", **more))
        with pytest.raises(pv.DivergedError):
            list(running)
    elif how == "exhaust":
        list(running)
    elif how != "unstarted":
        next(running)
    running.close() if how in ("close", "unstarted") else None
    del running
    assert not list(tmp_path.rglob(LOCK))


def test_a_refused_start_leaves_no_folder_behind(tmp_path):
    for bad in ({"learning_rate": "fast"}, {"clip_norm": -1}, {"temper": {"nothing": 1.0}}):
        with pytest.raises(pv.errors.PyrovaeError) as kept:  # with its frames, which hold what was under way
            pv.fit(vae(), X, epochs=1, progress=False, **options(tmp_path / "run", **bad))
        assert not (tmp_path / "run").exists(), kept


@pytest.mark.slow
def test_a_killed_owner_is_taken_over_even_while_its_workers_live(tmp_path, caplog):
    caplog.set_level("INFO", logger="pyrovae")
    ready = tmp_path / "ready"
    ready.mkdir()
    (ready / "none").touch()
    child = Child(RACER, str(tmp_path / "run"), str(ready), "0", "True", "0.2")
    while not list((tmp_path / "run").glob("checkpoint-*.safetensors")):
        time.sleep(0.01)
    assert child.returncode is None
    with pytest.raises(pv.FileError, match="is in use by the run of process"):
        FolderLock(tmp_path / "run")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert (tmp_path / "run" / LOCK).exists()
    lock = FolderLock(tmp_path / "run")
    assert "which is gone" in caplog.text
    lock.release()


def test_a_fork_neither_holds_nor_frees_a_folder(tmp_path):
    lock = FolderLock(tmp_path)
    fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    fork.start()
    try:
        lock.release()
        FolderLock(tmp_path).release()  # held by the fork if it had kept the descriptor
    finally:
        fork.kill()
        fork.join()


def test_a_lock_file_that_is_something_else(tmp_path):
    victim = tmp_path / "mine.txt"
    victim.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(victim)
    with pytest.raises(pv.FileError, match="link"):
        pv.fit(vae(), X, epochs=1, progress=False, **options(tmp_path / "run"))
    assert victim.read_text() == "mine"
    (tmp_path / "run" / LOCK).unlink()
    (tmp_path / "run" / LOCK).write_bytes(b"\xff{ not ours")
    assert pv.fit(vae(), X, epochs=1, progress=False, **options(tmp_path / "run")).step == 4


@pytest.mark.trial
def test_many_that_take_and_give_never_hold_it_at_once(tmp_path):
    program = """
import sys, time, os
from pathlib import Path
import pyrovae as pv
from pyrovae.training.saved.folder_lock import FolderLock
folder, got, until = Path(sys.argv[1]), 0, time.monotonic() + 5
while time.monotonic() < until:
    try:
        lock = FolderLock(folder / "run")
    except pv.FileError:
        continue
    inside = folder / "inside"
    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another one is inside
    inside.unlink()
    got += 1
    lock.release()
print(got)
"""
    children = [Child(program, str(tmp_path)) for _ in range(3)]
    said = [child.communicate() for child in children]
    assert all(child.returncode == 0 for child in children), said
    assert sum(int(out) for out, _ in said) > 100
