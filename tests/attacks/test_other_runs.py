"""Files of one run in the folder of another of the same shapes, whose figures would be taken for the folder's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import OVER_A_RUN, train, typed

OWN = " --pair own.py:make"


@pytest.fixture(autouse=True)
def two_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        train(f"run{seed}", f"--pair own.py:make --seed {seed}")


def refused(command: str, *words: str) -> None:
    line = OVER_A_RUN.get(command, command).format(run="run0") + OWN
    result = typed(line)
    assert result.exit_code == 2, (line, result.output)
    assert all(word in " ".join(result.output.split()) for word in words), result.output


@pytest.mark.parametrize(
    "command", ["evaluate", *(pytest.param(c, marks=pytest.mark.slow) for c in ("sample", "report", "export"))]
)
def test_a_model_of_another_run_is_refused(command):
    shutil.copy("run1/model.safetensors", "run0/model.safetensors")
    refused(command, "is not the model that this run has written")
    Path("run0/model.safetensors").unlink()
    assert typed(OVER_A_RUN["sample"].format(run="run0") + OWN).exit_code == 0


def test_a_model_of_the_same_run_at_another_epoch_is_refused():
    shutil.copy("run0/model.safetensors", "earlier")
    assert typed(OVER_A_RUN["train"].format(run="run0") + OWN + " --no-report").exit_code == 0
    assert typed(OVER_A_RUN["sample"].format(run="run0") + OWN).exit_code == 0
    shutil.copy("earlier", "run0/model.safetensors")
    refused("sample", "another run's, or a changed one")


def test_a_checkpoint_of_another_run_is_refused():
    Path("run0/model.safetensors").unlink()
    shutil.rmtree("run0/checkpoints")
    shutil.copytree("run1/checkpoints", "run0/checkpoints")
    refused("sample", "is not of the run that", "of another seed")


@pytest.mark.slow
@pytest.mark.filterwarnings("default::pyrovae.PyrovaeWarning")
def test_a_history_of_another_run_is_said():
    assert "as the training has left it" not in typed("report run0 --out r.html" + OWN).output
    shutil.copy("run1/metrics.jsonl", "run0/metrics.jsonl")
    result = typed("report run0 --out s.html" + OWN)
    assert result.exit_code == 0
    assert "is not as the training has left it" in " ".join(result.output.split())
