"""Disks that are full, full for a while, or take nothing: in words, nothing half-made, and what can go on goes on."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from children import Child
from commands import OVER_A_RUN, OVER_A_TABLE, contents, in_words, train, train_table, typed
from histories import untimed

import pyrovae as pv
from pyrovae.cli.run_folder import RunFolder
from pyrovae.data import whole_file
from pyrovae.training.saved import checkpoints


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["report", "sample", "reconstruct", "explore"])
@pytest.mark.slow
def test_a_folder_that_takes_nothing_is_said_with_another_way(command, monkeypatch):
    run = train("run", "--hidden 4")
    before = contents(run)

    def read_only(path, *words, **more):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(whole_file, "open", read_only, raising=False)
        patch.setattr(Path, "unlink", read_only)
        patch.setattr(os, "replace", read_only)
        result = typed(OVER_A_RUN[command].format(run=run))
    assert result.exit_code == 2
    assert in_words(result)
    assert "Read-only file system" in result.output
    assert "--out names another place" in result.output
    assert contents(run) == before
    name = {"report": "x.html", "explore": "x.html"}.get(command, "x.csv")
    assert typed(f"{OVER_A_RUN[command].format(run=run)} --out {name}").exit_code == 0
    assert Path(name).is_file()


@pytest.mark.parametrize(
    ("command", "name"), [("impute", "imputed"), ("outliers", "clean"), ("sample --where", "samples")]
)
@pytest.mark.slow
def test_a_full_disk_leaves_no_part_of_a_table(command, name, monkeypatch):
    run = train_table("run")
    before = contents(run)

    def full(*words, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        result = typed(OVER_A_TABLE[command].format(run=run))
    assert result.exit_code == 2
    assert in_words(result)
    assert "No space left" in result.output
    assert contents(run) == before
    assert typed(OVER_A_TABLE[command].format(run=run)).exit_code == 0
    assert set(contents(run)) - set(before) == {str(run / f"{name}.csv")}


FAILS = "import pyrovae as pv\n\ndef make():\n    return pv.Pair(lambda x: 1 / 0, lambda x: None)\n"


LATER = """
import own

def make():
    pair = own.make()
    model = pair.likelihood.forward
    def forward(*given):
        if pair.training:
            raise ValueError("in the middle")
        return model(*given)
    pair.likelihood.forward = forward
    return pair
"""


@pytest.mark.parametrize("made", [False, True])
def test_a_training_that_failed_is_not_in_the_way_of_the_same_command(made, monkeypatch):
    train("other", "--hidden 4")
    Path("late.py").write_text(LATER)
    if made:
        Path("run").mkdir()
    result = typed("train x.npy --pair late.py:make --out run --epochs 1 --quiet --staged false")
    assert result.exit_code != 0
    assert "in the middle" in str(result.exception) + result.output
    del result
    gc.collect()
    assert Path("run").exists() == made, sorted(Path("run").rglob("*"))
    assert not made or not any(Path("run").iterdir())
    train("run", "--pair own.py:make")


def test_a_pair_that_fails_is_not_in_the_way_of_the_same_command():
    train("other", "--hidden 4")
    Path("bad.py").write_text(FAILS)
    for _ in range(2):
        result = typed("train x.npy --pair bad.py:make --out run --epochs 1 --quiet")
        assert result.exit_code != 0
        assert "exists" not in result.output
        assert not Path("run").exists()


@pytest.mark.slow
def test_somebody_elses_files_stay_where_a_training_failed(monkeypatch):
    run = train("run", "--hidden 4")
    before = contents(run)

    def broken(self, *words, **more):
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_metrics", broken)
        assert typed(OVER_A_RUN["train"].format(run=run)).exit_code != 0
    gc.collect()  # the training that failed lets its folder go, as the end of a process does
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == before[f"run/{name}"]
    assert typed(OVER_A_RUN["train"].format(run=run)).exit_code == 0


def fitted(place: Path | None, **options) -> pv.Fit:
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
    data = torch.randn(32, 3, generator=torch.Generator().manual_seed(1))
    return pv.fit(vae, data, epochs=6, batch_size=16, seed=0, progress=False, checkpoint=place, **options)


def test_a_disk_that_takes_no_name_of_an_owner_leaves_no_lock(tmp_path, monkeypatch):
    def full(*words, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert fitted(tmp_path / "run").checkpoint is not None
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(pv.FileError, match="takes no checkpoint: No space left"):
        fitted(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (tmp_path / "run" / "checkpoint.lock").exists()


@pytest.mark.parametrize("full", [range(2, 4), range(99)], ids=["for a while", "from now on"])
def test_a_full_disk_costs_checkpoints_and_not_the_training(full, tmp_path, monkeypatch):
    whole, calls, write = fitted(tmp_path / "whole"), [], checkpoints.files.write

    def sometimes(*words):
        calls.append(1)
        if len(calls) in full:
            raise pv.FileError("x cannot be written: No space left on device")
        write(*words)

    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(checkpoints.files, "write", sometimes)
        run = fitted(tmp_path / "run")
    said = [str(one.message) for one in caught if "is skipped, and the training goes on" in str(one.message)]
    assert len(said) == 1
    assert "No space left" in said[0]
    assert untimed(run.history) == untimed(whole.history)
    assert all(torch.equal(a, b) for a, b in zip(run.pair.parameters(), whole.pair.parameters(), strict=True))
    assert untimed(fitted(tmp_path / "run", resume=True).history) == untimed(whole.history)


@pytest.mark.filterwarnings("default::pyrovae.PyrovaeWarning")
def test_metrics_that_a_full_disk_did_not_take_are_written_later(monkeypatch):
    calls, opened = [], RunFolder.write_metrics

    def sometimes(self, rows, **more):
        calls.append(1)
        if len(calls) == 2:
            (self.metrics.write_text('{"half a row') if self.metrics.exists() else None)
            raise pv.FileError(f"{self.metrics} cannot be written: No space left on device")
        return opened(self, rows, **more)

    monkeypatch.setattr(RunFolder, "write_metrics", sometimes)
    run = Path("run")
    train("other", "--hidden 4")
    calls.clear()
    result = typed("train x.npy --out run --epochs 2 --no-report --quiet --hidden 4")
    assert result.exit_code == 0, result.output
    assert result.output.count("No space left on device. The training goes on without it") == 1
    assert [row.epoch for row in RunFolder(run).read_metrics()] == [1, 2]


EXPORT = """
import resource, sys
from typer.testing import CliRunner
from pyrovae.cli.commands import app
import pyrovae.cli.outputs, xarray, h5netcdf, arviz, zarr

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
result = CliRunner().invoke(app, ["export", "run", sys.argv[1], "--draws", "200"])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert result.exit_code == 2, (result.output, result.exception)
assert "cannot be written: File too large" in result.output, result.output
"""


@pytest.mark.trial
@pytest.mark.parametrize("ending", [".nc", ".zarr"])
@pytest.mark.parametrize("size", [0, 500, 3_000, 10_000])
def test_an_export_to_a_full_disk_ends_in_words_and_leaves_nothing(ending, size):
    train("run", "--hidden 4")
    child = Child(EXPORT, f"out{ending}", str(size))
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    assert {path.name for path in Path().iterdir()} == {"run", "x.npy", "own.py"}


AT_ONCE = """
import resource
import numpy, xarray
from pyrovae.errors import FileError
from pyrovae.prediction.store import new_store

groups = {"": xarray.Dataset({"a": ("row", numpy.zeros(50_000))})}
resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))
try:
    with new_store("out.nc", groups):
        pass
except FileError as error:
    print(error)
"""


def test_an_array_of_which_a_full_disk_takes_a_part_is_no_file():
    """The last bytes, too: numpy's own way to a file does not look whether they were written."""
    values, limits = np.random.default_rng(0).normal(size=3_000), resource.getrlimit(resource.RLIMIT_FSIZE)
    saves = {
        "x.npy": lambda stream: np.save(stream, values),
        "x.npz": lambda stream: np.savez(stream, a=values, b=values),
    }
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for name, save in saves.items():
            with whole_file.whole_file(name) as stream:
                save(stream)
            size = Path(name).stat().st_size
            Path(name).unlink()
            for least in (0, 1, 100, 200, 5_000, size // 2, size - 4_000, size - 100, size - 1):
                resource.setrlimit(resource.RLIMIT_FSIZE, (least, limits[1]))
                with (
                    pytest.raises(pv.FileError, match="cannot be written: File too large"),
                    whole_file.whole_file(name) as stream,
                ):
                    save(stream)
                assert not any(Path().iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_process_outlives_a_disk_that_is_full_from_the_start():
    """Not a fork, which ends without what HDF5 does at the end: it is there that it went down."""
    ended = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "out.nc cannot be written: File too large" in ended.stdout
    assert not any(Path().iterdir())
