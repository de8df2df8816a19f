"""What one of several processes runs in the tests of parallel training: `python parallel_worker.py TASKS FOLDER`.

Starting a process takes longer than most tasks: several, with commas between them, are done in one.

The noise of local sites is a column of the data, so that any number of processes draws the same.
"""

from __future__ import annotations

import datetime
import itertools
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import nn

import pyrovae as pv
from pyrovae.training.parallel import team

ROWS, WIDTH, LATENT = 60, 5, 2
QUIET = {"progress": False, "device": "cpu"}
generator = torch.Generator().manual_seed(0)
X = torch.randn(ROWS, WIDTH, generator=generator)
NOISE = torch.randn(ROWS, LATENT, generator=generator)


class Injected(dist.Normal):
    """A normal whose draws are given."""

    def __init__(self, loc, scale, noise):
        super().__init__(loc, scale)
        self.noise = noise

    def expand(self, batch_shape, _instance=None):
        return Injected(*(tensor.expand(batch_shape) for tensor in (self.loc, self.scale, self.noise)))

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * self.noise


class Base(nn.Module):
    """A VAE whose plate has no size of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.decoder = nn.Linear(WIDTH, 2 * LATENT), nn.Linear(LATENT, WIDTH)

    def plate(self, x):
        return pyro.plate("data", len(x))

    def model(self, x, noise):
        pyro.module("decoder", self.decoder)
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x, noise):
        pyro.module("encoder", self.encoder)
        loc, scale = self.encoder(x).chunk(2, -1)
        with self.plate(x):
            pyro.sample("z", Injected(loc, scale.exp(), noise).to_event(1))


class Subsampled(Base):
    """The plate has the size of the data set."""

    def plate(self, x):
        return pyro.plate("data", ROWS, subsample_size=len(x))


class ScaledByAuthor(Base):
    """Scaled to one datum by hand."""

    def model(self, x, noise):
        with pyro.poutine.scale(scale=1 / len(x)):
            super().model(x, noise)

    def guide(self, x, noise):
        with pyro.poutine.scale(scale=1 / len(x)):
            super().guide(x, noise)


class WithGlobal(Subsampled):
    """A global site at a point, whose prior counts once."""

    def model(self, x, noise):
        pyro.module("decoder", self.decoder)
        shift = pyro.sample("shift", dist.Normal(torch.zeros(WIDTH), 0.1).to_event(1))
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z) + shift, 1.0).to_event(1), obs=x)

    def guide(self, x, noise):
        pyro.sample("shift", dist.Delta(pyro.param("point", lambda: torch.zeros(WIDTH))).to_event(1))
        super().guide(x, noise)


PAIRS = {kind.__name__: kind for kind in (Base, Subsampled, ScaledByAuthor, WithGlobal)}
OPTIONS = {
    "plain": {"staged": False},
    "traced": {"staged": "auto"},
    "uneven": {"staged": False, "batch_size": 21},
    "clipped": {"staged": "auto", "clip_norm": 0.5, "average": 0.9, "temper": pv.linear(0.1, 1, steps=10)},
    "mean_field": {"staged": False, "loss": TraceMeanField_ELBO()},
}


def weights(pair: nn.Module) -> dict[str, torch.Tensor]:
    stored = {name: value.detach().clone() for name, value in pyro.get_param_store().items() if "$$$" not in name}
    return {**{name: value.clone() for name, value in pair.state_dict().items()}, **stored}


def train_all(folder: Path) -> None:
    """Every pair with every option; the ends are written by each process."""
    ends = {}
    for (name, kind), (how, options) in ((p, o) for p in PAIRS.items() for o in OPTIONS.items()):
        if how == "mean_field" and "Global" in name:
            continue
        pyro.clear_param_store()
        pair = kind()
        run = pv.fit(pair, (X, NOISE), epochs=4, seed=0, **{"batch_size": 20, **options}, **QUIET)
        ends[f"{name}-{how}"] = (weights(pair), [tuple(row)[2:6] for row in run.history], run.route)
    torch.save(ends, folder / f"ends{rank()}.pt")


def normed(folder: Path) -> None:
    """Batch norm, which sees each process's own rows."""
    ends = {}
    for staged in (False, "auto"):
        pyro.clear_param_store()
        pair = Base()
        pair.encoder = nn.Sequential(nn.BatchNorm1d(WIDTH), pair.encoder)
        pv.fit(pair, (X, NOISE), epochs=4, batch_size=20, seed=0, staged=staged, **QUIET)
        ends[staged] = pair.state_dict()
    torch.save(ends, folder / f"normed{rank()}.pt")


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def draw(folder: Path) -> None:
    """What the processes draw at a global and at a local site."""
    drawn: dict[str, list] = {"w": [], "z": []}

    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(w + z, 1.0), obs=x)
        if torch.is_grad_enabled() and len(x) == 10:  # a step of the training, in which each process has ten rows
            drawn["w"].append(w.item())
            drawn["z"].append(z.tolist())

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        pyro.sample("w", dist.Normal(loc, 1.0))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    pv.fit(pv.Pair(model, guide), X[:, 0], steps=6, batch_size=20, seed=3, staged=False, **QUIET)
    torch.save({name: values[-6:] for name, values in drawn.items()}, folder / f"drawn{rank()}.pt")


def straight(folder: Path) -> None:
    """A run from start to end."""
    _resumable(folder / "straight", folder, epochs=6, resume=False)


def begun(folder: Path) -> None:
    """The first half of it."""
    _resumable(folder / "begun", folder, epochs=3, resume=False)


def handed_on(folder: Path) -> None:
    """A copy of the first half, for one process alone."""
    if rank() == 0:
        shutil.copytree(folder / "begun", folder.with_name("alone") / "begun")


def gone_on(folder: Path) -> None:
    """The second half, of each that was begun."""
    for name in ("begun", "left"):
        if (folder / name).exists():
            _resumable(folder / name, folder, epochs=6, resume=True)


def _resumable(checkpoint: Path, folder: Path, *, epochs: int, resume: bool) -> None:
    vae = _vae()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pv.fit(
            vae, X, epochs=epochs, batch_size=20, seed=0, staged=False, checkpoint=checkpoint, resume=resume, **QUIET
        )
    words = [str(warning.message) for warning in caught if "process(es)" in str(warning.message)]
    torch.save((vae.state_dict(), words), folder / f"{checkpoint.name}{rank()}.pt")


def _vae() -> pv.VAE:
    torch.manual_seed(0)
    likelihood = pv.Normal(pv.MLP(LATENT, [8], WIDTH), scale=1.0)
    return pv.VAE(pv.StandardNormal(LATENT), likelihood, pv.DiagNormal(pv.MLP(WIDTH, [8], 2 * LATENT)))


def lose(folder: Path) -> None:
    """One process is killed in the middle."""
    for step in pv.steps(_vae(), X, steps=10_000, batch_size=20, seed=0, staged=False, checkpoint=folder / "lost"):
        if step.index == 25 and rank() == 1:
            os.kill(os.getpid(), 9)
        time.sleep(0.002)


def leave_alone(folder: Path) -> None:
    """An error of the user's own ends one process's loop."""
    team._TOGETHER = datetime.timedelta(seconds=3)
    for step in pv.steps(_vae(), X, steps=10_000, batch_size=20, seed=0, staged=False, checkpoint=folder / "alone"):
        if step.index == 25 and rank() == 1:
            raise RuntimeError("a fault of my own")


def leave_together(folder: Path) -> None:
    """All processes leave the loop at one step, in the middle of an epoch."""
    where = folder / "left" if rank() == 0 else None
    for step in pv.steps(_vae(), X, epochs=6, batch_size=20, seed=0, staged=False, checkpoint=where, device="cpu"):
        if step.index == 10:
            break


def diverge(folder: Path) -> None:
    """One process sees numbers that overflow."""
    calls = itertools.count()

    def transform(x):
        return x * (1e30 if rank() == 1 and next(calls) > 30 else 1.0)

    pv.fit(_vae(), X, steps=60, batch_size=20, seed=0, staged=False, transform=transform, **QUIET)


def odd(folder: Path) -> None:
    """Batches of 21 and 20 rows: the first process has 10 of both, the second 11 and 10."""
    pair = Base()
    run = pv.fit(pair, (X[:41], NOISE[:41]), epochs=12, batch_size=21, seed=0, **QUIET)
    torch.save((pair.state_dict(), run.route), folder / f"odd{rank()}.pt")


class Shifted(Base):
    """A guide with a number that its user changes in one process, and a branch that only that process has."""

    shift, branches = 0.0, False

    def guide(self, x, noise):
        pyro.module("encoder", self.encoder)
        if self.branches and rank() == 1 and x.sum().item() > 1e9:
            return
        loc, scale = self.encoder(x).chunk(2, -1)
        with self.plate(x):
            pyro.sample("z", Injected(loc + self.shift, scale.exp(), noise).to_event(1))


def shift_in_one(folder: Path) -> None:
    """One process's pair becomes another one between two steps, on the plain path and on the staged one."""
    losses = {}
    for staged in (False, "auto"):
        pyro.clear_param_store()
        pair, losses[staged] = Shifted(), []
        for step in pv.steps(pair, (X, NOISE), steps=40, batch_size=20, seed=0, staged=staged, device="cpu"):
            losses[staged].append(step.loss)
            if step.index == 20 and rank() == 1:
                pair.shift = 1.0
    torch.save(losses, folder / f"shifted{rank()}.pt")


def branch_in_one(folder: Path) -> None:
    """One process's pair cannot be staged."""
    pair = Shifted()
    pair.branches = True
    run = pv.fit(pair, (X, NOISE), steps=20, batch_size=20, seed=0, **QUIET)
    torch.save(run.route, folder / f"branch{rank()}.pt")


def outside_support(folder: Path) -> None:
    """One process sees values outside the likelihood's support, in a staged step."""
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], WIDTH)), pv.DiagNormal(pv.MLP(WIDTH, [], 4)))
    calls = itertools.count()

    def transform(x):
        return x + (0.5 if rank() == 1 and next(calls) > 30 else 0.0)

    pv.fit(vae, (X > 0).float(), steps=60, batch_size=20, seed=0, transform=transform, **QUIET)


def other_data(folder: Path) -> None:
    """The processes have other data."""
    pv.fit(_vae(), X + rank(), steps=2, batch_size=20, seed=0, **QUIET)


def other_rate(folder: Path) -> None:
    """The processes have other arguments."""
    pv.fit(_vae(), X, steps=2, batch_size=20, seed=0, learning_rate=1e-3 * (1 + rank()), **QUIET)


def remainder(folder: Path) -> None:
    """One row is left for two processes."""
    pv.fit(_vae(), X[:41], steps=2, batch_size=20, seed=0, **QUIET)


def loader(folder: Path) -> None:
    """A loader that shuffles anew in each process."""
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=20, shuffle=True)
    pv.fit(_vae(), data, steps=2, seed=0, **QUIET)


def refused(folder: Path) -> None:
    """What ends every process with an error, one after the other; each writes what it was told."""
    said = {}
    for task in (other_data, other_rate, remainder, loader, diverge, outside_support):
        pyro.clear_param_store()
        try:
            task(folder)
        except pv.errors.PyrovaeError as error:
            said[task.__name__] = f"{type(error).__name__}: {error}"
    torch.save(said, folder / f"refused{rank()}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for one in sys.argv[1].split(","):
        pyro.clear_param_store()
        globals()[one](Path(sys.argv[2]))
