"""What each process runs in `test_processes_that_differ.py`: `python differing_processes.py TASK FOLDER`."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import sys
import time
import warnings
from pathlib import Path

import pyro
import torch
from row_by_row import Rows

import pyrovae as pv
from pyrovae.training.parallel import team

RANK = int(os.environ.get("RANK", 0))
LAST = int(os.environ.get("WORLD_SIZE", 1)) - 1 == RANK  # the process that differs
X = torch.randn(512, 3, generator=torch.Generator().manual_seed(0))


def vae(scale=1.0, dropout=0.1):
    pyro.clear_param_store()
    torch.manual_seed(0)
    posterior = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(dropout), torch.nn.Linear(8, 4))
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=scale), pv.DiagNormal(posterior))


def fit(pair, data, **options):
    options = {"steps": 4, "batch_size": 128, "seed": 0, "device": "cpu", "staged": False, "progress": False, **options}
    return pv.fit(pair, data, **options)


def row(values, number, by=1.0):
    values = values.clone()
    values[number] += by
    return values


def mostly_other():
    values = X.clone()
    values[100:490] = -50.0  # 76 % of the rows, and none of the first
    return values


def refused_in_one(folder):
    with open(folder / "a_file", "a"):  # which is no folder, in the first process alone
        pass
    fit(vae(), X, checkpoint=folder / ("a_file" if RANK == 0 else "run"))


DIFFERENCES = {
    "rows": lambda folder: fit(vae(), X[:500] if LAST else X),
    "256 and 255, with checkpoints": lambda folder: fit(vae(), X[:255] if LAST else X[:256], checkpoint=folder / "a"),
    "most rows": lambda folder: fit(vae(), mostly_other() if LAST else X),
    "one row": lambda folder: fit(vae(), row(X, 333, 1e-6) if LAST else X),
    "one row of a dataset": lambda folder: fit(vae(), Rows(row(X, 333) if LAST else X)),
    "validation": lambda folder: fit(vae(), X, epochs=1, validation=row(X[:50], 7) if LAST else X[:50]),
    "validation in one": lambda folder: fit(vae(), X, epochs=1, validation=X[:50] if LAST else None),
    "scale": lambda folder: fit(vae(scale=1.001 if LAST else 1.0), X),
    "dropout": lambda folder: fit(vae(dropout=0.9 if LAST else 0.1), X),
    "batch size": lambda folder: fit(vae(), X, batch_size=64 if LAST else 128),
    "learning rate": lambda folder: fit(vae(), X, learning_rate={"*": 1e-2 if LAST else 1e-3}),
    "steps": lambda folder: fit(vae(), X, steps=5 if LAST else 4),
    "holes in one": lambda folder: fit(vae(), row(X, 3, float("nan")) if LAST else X),
    "argument in one": lambda folder: fit(vae(), X, clip_norm=-1 if LAST else 1.0),
    "folder": refused_in_one,
}


def differences(folder: Path) -> None:
    """Each difference ends in words in each process; what is alike trains afterwards as ever."""
    said = {}
    for name, train in DIFFERENCES.items():
        start = time.monotonic()
        try:
            train(folder)
            said[name] = "FINISHED"
        except pv.errors.PyrovaeError as error:
            said[name] = f"{type(error).__name__}: {error}"
        said[name] += f" ({time.monotonic() - start:.1f} s)"
    said["alike"] = fit(vae(), X, checkpoint=folder / "alike").step
    said["rank known"] = fit(_KnowsItsRank(), X).step
    (folder / f"said{RANK}.json").write_text(json.dumps(said))


class _KnowsItsRank(torch.nn.Module):
    def __init__(self):
        super().__init__()
        pyro.clear_param_store()
        self.inside, self.rank = vae(), RANK

    def model(self, x):
        return self.inside.model(x)

    def guide(self, x):
        if self.rank == 0:
            pass  # speaks for all, say
        return self.inside.guide(x)


def stopped(folder: Path) -> None:
    """The last process is stopped in the middle, and waits for good."""
    team._PATIENCE = datetime.timedelta(seconds=8)
    counted = itertools.count()

    def transform(x):
        if LAST and next(counted) == 20 and not (folder / "pid").exists():  # once, and not when it is gone on with
            (folder / "pid").write_text(str(os.getpid()))
            os.kill(os.getpid(), 19)
        return x

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(vae(), X, steps=100, transform=transform, checkpoint=folder / "run", resume=True)
        (folder / f"gone_on{RANK}.txt").write_text("\n".join(str(warning.message) for warning in caught))
    except pv.ParallelError as error:
        (folder / f"said{RANK}.txt").write_text(str(error))
        raise


def terminated(folder: Path) -> None:
    """The last process is asked to end."""
    counted = itertools.count()

    def transform(x):
        if LAST and next(counted) == 20:
            os.kill(os.getpid(), 15)
        return x

    run = fit(vae(), X, steps=10_000, transform=transform, checkpoint=folder / "run")
    (folder / f"said{RANK}.txt").write_text(f"{run.reason} {run.step}")


NOW = {"failing": False}  # set in the last process, in the midst of a training


def in_time(x):
    """A transform that lets the last process fail later on."""
    NOW["calls"] = NOW.get("calls", 0) + 1
    NOW["failing"] = LAST and NOW["calls"] >= 20
    return x


def fails(error):
    def transform(x):
        if in_time(x) is x and NOW["failing"]:
            raise error
        return x

    return transform


class _Fails(torch.nn.Module):
    """A pair that fails in the midst of a step, or when it is asked about validation data."""

    def __init__(self, *, in_training):
        super().__init__()
        self.inside, self.in_training = vae(), in_training

    def model(self, x):
        if NOW["failing"] and torch.is_grad_enabled() == self.in_training:  # figures are taken without gradients
            raise RuntimeError("mine")
        return self.inside.model(x)

    def guide(self, x):
        return self.inside.guide(x)


def schedule(step):
    if step > 20 and int(os.environ["RANK"]) + 1 == int(os.environ["WORLD_SIZE"]):
        raise LookupError("mine")
    return 1e-3


def left_loop():
    for step in pv.steps(vae(), X, steps=100, batch_size=128, seed=0, staged=False):
        if LAST and step.index == 20:
            raise RuntimeError("mine")


def not_begun():
    running = pv.steps(vae(), X, steps=100, batch_size=128, seed=0, staged=False)
    if LAST:
        running.close()
        raise RuntimeError("mine")
    list(running)


ERRORS = {
    "a transform": lambda: fit(vae(), X, steps=100, transform=fails(ValueError("mine"))),
    "a transform, staged": lambda: fit(vae(), X, steps=100, transform=fails(ValueError("mine")), staged="auto"),
    "a transform's Ctrl-C": lambda: fit(vae(), X, steps=100, transform=fails(KeyboardInterrupt("mine"))),
    "the model": lambda: fit(_Fails(in_training=True), X, steps=100, transform=in_time),
    "the model, on validation data": lambda: fit(
        _Fails(in_training=False), X, epochs=9, steps=100, validation=X[:50], transform=in_time
    ),
    "a schedule": lambda: fit(vae(), X, steps=100, temper=schedule),
    "a rate": lambda: fit(vae(), X, steps=100, learning_rate=schedule),
    "the loop": left_loop,
    "a loop not begun": not_begun,
}


def caught(folder: Path) -> None:
    """An error of the last process that it catches: the others end at once, and the next training is as ever."""
    team._TOGETHER = datetime.timedelta(seconds=3)
    said = {}
    fit(vae(), X)  # the first one takes longest
    for name, train in ERRORS.items():
        NOW.clear()
        NOW["failing"], start = False, time.monotonic()
        try:
            train()
            said[name] = "FINISHED"
        except BaseException as error:
            said[name] = f"{type(error).__name__}: {error}"
        said[name] = said[name], time.monotonic() - start
        said[f"{name}, afterwards"] = fit(vae(), X).step
    (folder / f"said{RANK}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    torch.set_num_threads(1)
    globals()[sys.argv[1]](Path(sys.argv[2]))
