"""How often the command line opens the file of the data: training and report look at the same rows in memory."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pyrovae.cli.commands import app
from pyrovae.cli.run_folder import RunFolder
from pyrovae.cli.trained_run import open_run
from pyrovae.data.origin import DataSource

_OPENED: list[str] | None = None


@contextmanager
def opened():
    """The names of the files that are opened."""
    global _OPENED
    names = _OPENED = []
    try:
        yield names
    finally:
        _OPENED = None


@pytest.fixture(scope="module", autouse=True)
def _watched():
    def note(event, args):
        if _OPENED is not None and event == "open":
            _OPENED.append(str(args[0]))

    sys.addaudithook(note)  # for as long as the process lives; it is quiet outside of `opened`


@pytest.fixture(params=["csv", "npy"])
def data(request, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(60, 5))
    path = tmp_path / f"data.{request.param}"
    if request.param == "npy":
        np.save(path, values)
    else:
        path.write_text("\n".join(["a,b,c,d,e", *(",".join(map(str, row)) for row in values)]) + "\n")
    return path


def train(data: Path, out: str, *more: str) -> None:
    result = CliRunner().invoke(app, ["train", str(data), "--out", out, "--epochs", "2", "--hidden", "8", *more])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_training_and_report_load_the_data_once(data):
    source = DataSource(str(data))
    with opened() as by_loading:
        source.load_frame() if source.is_table else source.load()
    with opened() as by_training:
        train(data, "run", "--quiet")
    assert (data.parent / "run/report.html").is_file()
    assert by_loading.count(str(data)) > 0
    assert by_training.count(str(data)) == by_loading.count(str(data))


@pytest.mark.slow
def test_the_report_of_a_training_is_that_of_the_run_opened_again(data):
    """The rows in memory are those that a later command finds, and the weights those in the folder."""
    train(data, "run", "--quiet")
    first = (data.parent / "run/report.html").read_text()
    assert CliRunner().invoke(app, ["report", "run"]).exit_code == 0
    assert (data.parent / "run/report.html").read_text() == first
    run = open_run(Path("run"), pair=None, data=None, command="report")
    assert run.words == f"6 held-out rows of {data.name}"
    assert len(RunFolder(Path("run")).read_metrics()) == 2
