"""A run of the command line in Python: the same pair, rows and figures that the commands use."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli.commands import app

OWN = """
import pyro, torch
import pyro.distributions as dist
import pyrovae as pv

def make():
    linear = torch.nn.Linear(3, 4)
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(z.shape[0], 3), 1.0).to_event(1), obs=x)
    def guide(x):
        pyro.module("linear", linear)
        loc, raw = linear(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))
    return pv.Pair(model, guide)
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(*words: str) -> str:
    pyro.clear_param_store()  # a command is a process of its own
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


def trained(values: np.ndarray, *more: str) -> None:
    np.save("rows.npy", values)
    command("train", "rows.npy", "--out", "run", "--epochs", "2", "--quiet", *more)


def elbo(run: pv.LoadedRun) -> float:
    """As `evaluate` measures it on few rows, each in a batch of its own."""
    return float(pv.rate_distortion(run.pair, run.data, draws=10, batch_size=1).elbo)


@pytest.mark.slow
def test_a_run_of_arrays_has_the_figures_that_evaluate_prints():
    trained(np.random.default_rng(0).normal(size=(80, 3)) * [1.0, 50.0, 1e4] + 7, "--hidden", "8")
    before, others = torch.get_rng_state(), (random.getstate(), torch.get_num_threads())
    run = pv.load_run("run")
    assert torch.equal(before, torch.get_rng_state())
    assert others == (random.getstate(), torch.get_num_threads())
    printed = json.loads(command("evaluate", "run", "--json"))
    assert elbo(run) == pytest.approx(printed["elbo"], rel=1e-5)
    assert [row.epoch for row in run.history] == [1, 2]
    assert "held-out rows of rows.npy" in run.words
    assert run.settings["epochs"] == 2
    drawn = run.restore(pv.generate(run.pair, 500, seed=0)["x"])
    assert drawn.shape == (500, 3)
    assert drawn[:, 2].std() > 1e3  # in the units of the data


@pytest.mark.slow
def test_other_rows_are_read_as_those_of_the_run_were():
    trained(np.random.default_rng(0).normal(size=(60, 3)), "--hidden", "8")
    np.save("more.npy", np.ones((7, 3)))
    run = pv.load_run(Path("run"), data=Path("more.npy"))
    assert run.data.shape == (7, 3)
    assert run.words == "7 rows of more.npy"
    np.save("wide.npy", np.ones((7, 4)))
    with pytest.raises(pv.DataError, match="one datum has shape"):
        pv.load_run("run", data="wide.npy")


@pytest.mark.slow
def test_a_run_of_a_table_takes_and_gives_frames():
    random_numbers = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random_numbers.normal(size=90), "kind": random_numbers.choice(["a", "b", "c"], 90)})
    frame.loc[::9, "size"] = np.nan
    frame.to_csv("table.csv", index=False)
    command("train", "table.csv", "--out", "run", "--epochs", "2", "--hidden", "8", "--quiet")
    run = pv.load_run("run")
    assert list(run.data.columns) == ["size", "kind"]
    filled = pv.impute(run.pair, run.data)
    assert filled.notna().all().all()
    assert set(pv.generate(run.pair, 5)["kind"]) <= {"a", "b", "c"}


def test_a_pair_of_ones_own_is_handed_in_and_nothing_is_imported():
    Path("own.py").write_text(OWN)
    trained(np.random.default_rng(0).normal(size=(60, 3)), "--pair", "own.py:make")
    printed = json.loads(command("evaluate", "run", "--pair", "own.py:make", "--json"))
    Path("own.py").write_text("raise SystemExit('imported')")
    pyro.clear_param_store()
    with pytest.raises(pv.ArgumentError, match=r"Hand the pair in, load_run\(folder, pair\)"):
        pv.load_run("run")
    space: dict = {}
    exec(OWN, space)
    pair = space["make"]()
    run = pv.load_run("run", pair)
    assert run.pair is pair
    assert elbo(run) == pytest.approx(printed["elbo"], rel=1e-5)


def test_what_is_no_run_or_knows_its_own_pair_is_refused_in_words():
    with pytest.raises(pv.FileError, match="there is no run nowhere"):
        pv.load_run("nowhere")
    trained(np.random.default_rng(0).normal(size=(60, 3)), "--hidden", "8")
    with pytest.raises(pv.ArgumentError, match="knows its own: leave pair out"):
        pv.load_run("run", pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 1.0))
    Path("run/model.safetensors").write_bytes(b"no")
    with pytest.raises(pv.FileError):
        pv.load_run("run")


@pytest.mark.slow
def test_weights_of_ones_own_pair_have_a_report_on_the_command_line():
    Path("own.py").write_text(OWN)
    rows = np.random.default_rng(0).normal(size=(60, 3))
    trained(rows, "--pair", "own.py:make")
    assert command("report", "run/model.safetensors", "rows.npy", "--pair", "own.py:make").strip() == "run/model.html"
    assert "What is strange to it" in Path("run/model.html").read_text()
    for words, said in (((), "nothing says of which pair"), (("--pair", "own.py:make"), "name the data")):
        result = CliRunner().invoke(app, ["report", "run/model.safetensors", *words])
        assert result.exit_code == 2
        assert said in result.stderr
