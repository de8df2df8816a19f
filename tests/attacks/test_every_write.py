"""Kills and failures at every write of a training: what is there is whole, and --resume ends well."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from commands import train, typed
from ending_early import full, hooked, in_a_child, killed

from pyrovae.cli.run_folder import RunFolder
from pyrovae.training.saved import files

COMMAND = "train x.npy --out run --epochs 2 --hidden 4 --quiet --no-report --staged false"


def writes_of_a_training() -> int:
    """How many moments there are."""

    def attempt() -> int:
        torch.set_num_threads(1)
        count = hooked(None, None)
        assert typed(COMMAND).exit_code == 0
        return count[0]

    found = in_a_child(attempt)
    shutil.rmtree("run")
    assert 40 < found < 250  # what an exit code can hold, and more than nothing
    return found


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
        (killed, 1, 35),
        *(pytest.param(killed, first, 4, marks=pytest.mark.trial) for first in (1, 2, 3, 4)),
        *((full, first, 4) for first in (1, 2, 3, 4)),
    ],
)
@pytest.mark.slow
def test_whatever_write_a_training_ends_at_it_can_go_on(tmp_path, monkeypatch, act, first, step):
    monkeypatch.chdir(tmp_path)
    train("other", "--hidden 4")
    ends = set()
    for number in range(first, writes_of_a_training() + 1, step):
        code = tried(number, act)
        ends.add(code)
        assert code in (0, 2, 9), number
        whole(Path("run"))
        again = in_a_child(lambda: typed(f"{COMMAND} --resume").exit_code) if Path("run").exists() else 0
        assert again == 0 or not Path("run").exists(), (number, again)
        if Path("run").exists():
            assert [row.epoch for row in RunFolder(Path("run")).read_metrics()] == [1, 2], number
            shutil.rmtree("run")
    assert ends & {2, 9}
    assert 0 not in ends or act is full  # a kill kills; what a full disk costs can be a checkpoint


def whole(run: Path) -> None:
    """Every file that bears its name is sound."""
    for path in run.rglob("*.safetensors"):
        files.read(path)
    if (run / "config.json").exists():
        RunFolder(run).read_config()
