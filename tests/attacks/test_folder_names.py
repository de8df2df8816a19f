"""Folders whose names are no text: Linux takes any bytes but a slash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NAME = os.fsdecode(b"-run with \xff\xfe, spaces,\nthe end of a line and \xc3\xa4")


@pytest.mark.trial
@pytest.mark.skipif(sys.platform != "linux", reason="other systems take texts alone")
def test_a_run_in_a_folder_of_any_name_is_trained_and_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 3)))
    place = f"./{NAME}/run"
    commands = (
        ["train", "x.npy", "--out", place, "--epochs", "1", "--hidden", "4"],
        ["sample", place, "-n", "2"],
        ["report", place],
        ["export", place, f"./{NAME}/out.nc", "--draws", "2"],
        ["evaluate", f"./{NAME}"],
    )
    for words in commands:
        done = subprocess.run([sys.executable, "-m", "pyrovae", *words], capture_output=True, check=False)
        assert done.returncode == (2 if words[0] == "evaluate" else 0), done.stderr
        assert b"Traceback" not in done.stderr
    assert {path.name for path in Path(place).iterdir()} >= {"config.json", "model.safetensors", "report.html"}
    assert (Path(NAME) / "out.nc").is_file()
