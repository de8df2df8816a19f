"""Figures on their way to a tracker: all of them, at a hundredth of the time, and without a trace in the training."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from histories import small_vae, untimed
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli.main import app
from pyrovae.training.fit_options import FitOptions
from pyrovae.training.step import Step
from pyrovae.training.trackers.tracking import Tracking

X = torch.randn(48, 5, generator=torch.Generator().manual_seed(0))
OPTIONS = {"epochs": 3, "batch_size": 16, "seed": 0, "device": "cpu", "staged": False}  # three steps an epoch


def drawn() -> None:
    random.random(), np.random.rand(), torch.rand(3)  # noqa: NPY002 - the generator that a user's model may use


class Noted:
    """Notes what it is told, and draws numbers of its own."""

    def __init__(self):
        self.settings, self.figures, self.summary, self.begun_at = {}, [], [], []

    def begin(self, settings, step):
        drawn()
        self.settings = settings
        self.begun_at.append(step)

    def log(self, figures, step):
        drawn()
        self.figures.append((step, figures))

    def end(self, summary):
        self.summary.append(summary)


def epochs_of(noted: Noted) -> list[tuple[int, float, float]]:
    rows = [(step, found) for step, found in noted.figures if "epoch/elbo" in found]
    return [(step, found["epoch/elbo"], found["epoch/validation_elbo"]) for step, found in rows]


@pytest.mark.parametrize("train", [pv.fit, lambda *given, **options: _to_the_end(pv.steps(*given, **options))])
def test_every_epoch_is_told_once_and_the_training_is_the_same(train):
    noted, before = Noted(), random.getstate()
    options = {**OPTIONS, "validation": X, "temper": pv.linear(0, 1, steps=4)}
    run = train(small_vae(), X, tracker=noted, **options)
    assert random.getstate() == before
    plain = train(small_vae(), X, **options)
    assert untimed(run.history) == untimed(plain.history)
    for one, other in zip(run.pair.parameters(), plain.pair.parameters(), strict=True):
        assert torch.equal(one, other)
    assert epochs_of(noted) == [(row.step, row.elbo, row.validation_elbo) for row in run.history]
    step, first = noted.figures[0]
    assert step == 1
    assert first["step/elbo"] == run.first_elbos[0]
    assert first["step/elbo"] == pytest.approx(-first["step/rate"] - first["step/distortion"])
    assert (noted.settings["epochs"], noted.settings["temper"]) == ("3", repr(options["temper"]))
    assert noted.settings["validation"] == "Tensor"  # never the data
    assert noted.begun_at == [0]
    (summary,) = noted.summary
    assert (summary["reason"], summary["steps"], summary["elbo"]) == ("finished", 9, run.history[-1].elbo)


def _to_the_end(running: pv.steps) -> pv.Fit:
    for _ in running:
        pass
    return running.result


def test_weights_of_single_sites_have_a_figure_each():
    noted = Noted()
    pv.fit(small_vae(), X, tracker=noted, **{**OPTIONS, "temper": {"z": pv.linear(0, 1, steps=4)}, "epochs": 1})
    assert noted.figures[0][1]["step/weight/z"] == 0.0


class Costly(Noted):
    """Takes a second for all it is told, on a clock of its own."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def log(self, figures, step):
        super().log(figures, step)
        self.now += 0.25


def test_it_takes_a_hundredth_of_the_time():
    costly = Costly()
    tracking = Tracking(costly, FitOptions(), clock=lambda: costly.now)
    tracking.begin(0)
    for index in range(100_000):
        step = Step(index, 0, 1.0, 0.1)
        step.give((1.0, -1.0, 0.5, 0.5))
        tracking.follow(step)
        costly.now += 0.001
    spent = 0.25 * len(costly.figures)
    assert 3 <= len(costly.figures) <= 6
    assert spent <= 0.013 * costly.now  # what the last one took is made up for after it
    quick = Noted()
    times = iter(range(10_000))
    tracking = Tracking(quick, FitOptions(), clock=lambda: next(times) / 100)
    tracking.begin(0)
    for index in range(1000):
        step = Step(index, 0, 1.0, 0.1)
        step.give((1.0, -1.0, 0.5, 0.5))
        tracking.follow(step)
    assert 8 <= len(quick.figures) <= 11  # once a second


@pytest.mark.parametrize("name", ["begin", "log", "end"])
def test_an_error_in_it_ends_the_tracking_and_not_the_training(name, monkeypatch):
    def fails(*given):
        raise ConnectionError("no server answers")

    noted = Noted()
    monkeypatch.setattr(noted, name, fails)
    with pytest.warns(pv.PyrovaeWarning, match="Noted stopped with ConnectionError: no server answers"):
        run = pv.fit(small_vae(), X, tracker=noted, **OPTIONS)
    assert untimed(run.history) == untimed(pv.fit(small_vae(), X, **OPTIONS).history)
    assert not noted.summary


def test_what_is_left_or_goes_bad_is_said_to_be_so(tmp_path):
    noted = Noted()
    for step in pv.steps(small_vae(), X, tracker=noted, checkpoint=tmp_path, **OPTIONS):
        if step.index == 3:
            break
    assert noted.summary == [{"reason": "left"}]
    assert len(epochs_of_any(noted)) == 1
    pv.fit(small_vae(), X, tracker=noted, checkpoint=tmp_path, resume=True, **OPTIONS)
    assert noted.begun_at == [0, 4]
    assert [row for row, _ in epochs_of_any(noted)] == [3, 6, 9]
    assert noted.summary[1]["reason"] == "finished"
    worse = Noted()
    with pytest.raises(pv.DivergedError):
        pv.fit(small_vae(), X, tracker=worse, learning_rate=1e30, **{**OPTIONS, "epochs": 30})
    assert worse.summary == [{"reason": "diverged"}]
    other = Noted()
    with pytest.raises(pv.DataError):
        pv.fit(small_vae(), X.log(), tracker=other, **OPTIONS)
    assert (other.begun_at, other.summary) == ([], [])


def epochs_of_any(noted: Noted) -> list[tuple[int, dict]]:
    return [(step, found) for step, found in noted.figures if "epoch/elbo" in found]


def test_an_ensemble_has_no_one_tracker():
    with pytest.raises(pv.ArgumentError, match="follows one training, and these are 2"):
        pv.epistemic.ensemble(small_vae, X, members=2, tracker=Noted(), epochs=1)


@pytest.mark.parametrize("tracker", [Noted, "runs/a", print])
def test_what_is_no_tracker_is_refused(tracker):
    with pytest.raises(pv.ArgumentError, match=r"tracker.*give pv.trackers.TensorBoard"):
        pv.fit(small_vae(), X, tracker=tracker, **OPTIONS)


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_reads_the_figures_of_a_run_and_of_the_one_that_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    board = pv.trackers.TensorBoard(tmp_path / "board")
    checkpoints = {"checkpoint": tmp_path / "run", "tracker": board, **OPTIONS}
    first = pv.fit(small_vae(), X, **{**checkpoints, "epochs": 2})
    found = scalars(tmp_path / "board")
    assert [step for step, _ in found["epoch/elbo"]] == [3, 6]
    assert [value for _, value in found["epoch/elbo"]] == pytest.approx([row.elbo for row in first.history])
    assert found["step/elbo"][0] == (1, pytest.approx(first.first_elbos[0]))
    second = pv.fit(small_vae(), X, resume=True, **checkpoints)
    found = scalars(tmp_path / "board")
    assert [step for step, _ in found["epoch/elbo"]] == [3, 6, 9]
    assert found["epoch/elbo"][-1][1] == pytest.approx(second.history[-1].elbo)


def test_the_command_line_writes_for_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    line = "train digits --out run --epochs 1 --hidden 4 --latent 2 --no-report --quiet --tensorboard"
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
    ((_, value),) = scalars(tmp_path / "run" / "tensorboard")["epoch/elbo"]
    assert value == pytest.approx(pv.load_run("run").history[-1].elbo, rel=1e-5)


def test_mlflow_holds_the_figures(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    tracker = pv.trackers.MLflow("digits", uri=f"sqlite:///{tmp_path}/mlflow.db")
    run = pv.fit(small_vae(), X, tracker=tracker, **OPTIONS)
    (found,) = mlflow.search_runs(experiment_names=["digits"], output_format="list")
    assert found.data.metrics["epoch/elbo"] == pytest.approx(run.history[-1].elbo)
    assert (found.data.params["epochs"], found.data.tags["pyrovae.reason"]) == ("3", "finished")
    assert found.info.status == "FINISHED"
    assert mlflow.active_run() is None


def test_weights_and_biases_has_the_summary(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    found, finish = [], wandb.Run.finish
    monkeypatch.setattr(wandb.Run, "finish", lambda run: (found.append(dict(run.summary)), finish(run)))
    tracker = pv.trackers.WandB("digits", mode="offline", dir=str(tmp_path))
    run = pv.fit(small_vae(), X, tracker=tracker, **OPTIONS)
    ((summary,),) = [found]
    assert (summary["reason"], summary["elbo"]) == ("finished", run.history[-1].elbo)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(pv.ArgumentError, match="needs mlflow: pip install mlflow"):
        pv.trackers.MLflow()
