"""Kills and failures at every write of a training: what is there is whole, and --resume ends well."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from commands import train, typed

from pyrovae.cli.run_folder import RunFolder
from pyrovae.training.saved import files

COMMAND = "train x.npy --out run --epochs 3 --hidden 4 --quiet --no-report --staged false"

# What a training asks of a disk, each a moment at which it can end; this one does so about a hundred times.
CALLS = ("replace", "fsync", "open", "mkdir", "ftruncate", "unlink")


def hooked(number: int, act) -> None:
    """Let the `number`-th call act, whichever function it is."""
    count = [0]

    def wrapped(real):
        def call(*given, **more):
            count[0] += 1
            if count[0] == number:
                act()
            return real(*given, **more)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


def in_a_child(act) -> int:
    """What `act` returns, in a process of its own; 9 where it killed itself."""
    child = os.fork()
    if not child:
        code = 77
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed() -> None:
    os._exit(9)


def full() -> None:
    raise OSError(28, "No space left on device")


def tried(number: int, act) -> int:
    def attempt() -> int:
        torch.set_num_threads(1)
        hooked(number, act)
        return typed(COMMAND).exit_code

    return in_a_child(attempt)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("default::pyrovae.PyrovaeWarning")
@pytest.mark.parametrize(
    ("act", "first", "step"),
    [
        (killed, 1, 50),
        *(pytest.param(act, first, 8, marks=pytest.mark.trial) for act in (killed, full) for first in (3, 7)),
    ],
)
def test_whatever_write_a_training_ends_at_it_can_go_on(tmp_path, monkeypatch, act, first, step):
    monkeypatch.chdir(tmp_path)
    train("other", "--hidden 4")
    ends = set()
    for number in range(first, 121, step):
        code = tried(number, act)
        ends.add(code)
        assert code in (0, 2, 9), number
        whole(Path("run"))
        again = in_a_child(lambda: typed(f"{COMMAND} --resume").exit_code) if Path("run").exists() else 0
        assert again == 0 or not Path("run").exists(), (number, again)
        if Path("run").exists():
            assert [row.epoch for row in RunFolder(Path("run")).read_metrics()] == [1, 2, 3], number
            shutil.rmtree("run")
    assert ends & {2, 9}


def whole(run: Path) -> None:
    """Every file that bears its name is sound."""
    for path in run.rglob("*.safetensors"):
        files.read(path)
    if (run / "config.json").exists():
        RunFolder(run).read_config()
