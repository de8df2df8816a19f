"""Trackers of three services, each of which is installed apart."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from pyrovae.errors import ArgumentError


class TensorBoard:
    """Figures as event files in a folder, which `tensorboard --logdir` shows. Needs `pip install tensorboard`.

    A run that goes on from a checkpoint hides what the folder holds of later steps.

    Args:
        folder: where the files go; it is made.

    Examples:
        >>> tracker = TensorBoard("runs/digits")  # pv.fit(vae, x, epochs=10, tracker=tracker)
    """

    def __init__(self, folder: str | os.PathLike[str]):
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise ArgumentError(f"TensorBoard: {folder!r} is no folder; give its path.")
        self.folder = os.path.abspath(os.fspath(folder))
        self._library = _library("torch.utils.tensorboard", "tensorboard")
        self._writer: Any = None

    def begin(self, settings: Mapping[str, str], step: int) -> None:
        """Open a file in the folder; the settings are a table under "text"."""
        self._writer = self._library.SummaryWriter(self.folder, purge_step=step + 1 if step else None)
        rows = "".join(f"| {name} | `{words}` |\n" for name, words in settings.items())
        self._writer.add_text("settings", f"| argument | value |\n|---|---|\n{rows}", step)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Write figures."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def end(self, summary: Mapping[str, float | str]) -> None:
        """Write how it ended, and close the file."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in summary.items())
        self._writer.add_text("summary", f"| | |\n|---|---|\n{rows}", 0)
        self._writer.close()


class MLflow:
    """Figures of a run of MLflow, on its server or in its folder. Needs `pip install mlflow`.

    Without a run of yours that is active, one is made and ended with the training; with one, its figures stand there
    and it stays open.

    Args:
        experiment: its name; left out, MLflow's own.
        run: the name of the run that is made; left out, MLflow finds one.
        uri: of the server or folder; left out, MLflow's own.

    Examples:
        >>> tracker = MLflow("digits")  # doctest: +SKIP
    """

    def __init__(self, experiment: str | None = None, run: str | None = None, uri: str | None = None):
        self.experiment, self.run, self.uri = experiment, run, uri
        self._library = _library("mlflow", "mlflow")
        self._made = False
        self._id = ""

    def begin(self, settings: Mapping[str, str], step: int) -> None:
        """Find the active run, or make one; the settings are its parameters."""
        if self.uri is not None:
            self._library.set_tracking_uri(self.uri)
        if self.experiment is not None:
            self._library.set_experiment(self.experiment)
        active = self._library.active_run()
        self._made = active is None
        active = active or self._library.start_run(run_name=self.run)
        self._id = active.info.run_id
        if not step:  # parameters of a run cannot change, and one that goes on has them
            self._library.log_params(dict(settings))

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Send figures in one request."""
        self._library.log_metrics(dict(figures), step=step, run_id=self._id)

    def end(self, summary: Mapping[str, float | str]) -> None:
        """Send what it came to, and end the run if it was made for this."""
        numbers = {f"final/{name}": float(one) for name, one in summary.items() if not isinstance(one, str)}
        self._library.log_metrics(numbers, run_id=self._id)
        self._library.set_tag("pyrovae.reason", summary["reason"])
        if self._made:
            self._library.end_run("FINISHED" if summary["reason"] in ("finished", "patience") else "KILLED")


class WandB:
    """Figures of a run of Weights & Biases. Needs `pip install wandb`.

    Args:
        project: its name; left out, that of the library.
        **options: of `wandb.init`, `name="a"` and `mode="offline"` among them.

    Examples:
        >>> tracker = WandB("digits", mode="offline")  # doctest: +SKIP
    """

    def __init__(self, project: str | None = None, **options: Any):
        self.project, self.options = project, options
        self._library = _library("wandb", "wandb")
        self._run: Any = None

    def begin(self, settings: Mapping[str, str], step: int) -> None:
        """Start a run; the settings are its config."""
        self._run = self._library.init(project=self.project, **{"config": dict(settings), **self.options})
        # Steps of several rates (epochs that wait are sent late) need an axis of their own.
        self._run.define_metric("steps")
        self._run.define_metric("*", step_metric="steps")

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Send figures."""
        self._run.log({**figures, "steps": step})

    def end(self, summary: Mapping[str, float | str]) -> None:
        """Write what it came to, and finish the run."""
        self._run.summary.update(dict(summary))
        self._run.finish()


def _library(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ArgumentError(f"this tracker needs {name}: pip install {name} ({error}).") from None
