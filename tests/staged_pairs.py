"""Pairs and comparisons that the tests of staged training share."""

from __future__ import annotations

import functools
import warnings
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import ROWS, Entry
from torch import nn

import pyrovae as pv
from pyrovae.training import make_plan
from pyrovae.training.trainer import Trainer

QUIET = {"progress": False, "device": "cpu"}
BATCH = 16
STEPS = 50
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(3))


def small(width: int = 5, **options) -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(
        pv.StandardNormal(2),
        pv.Normal(pv.MLP(2, [8], width), scale=1.0),
        pv.DiagNormal(pv.MLP(width, [8], 4)),
        **options,
    )


@contextmanager
def steps_alone():
    """Without the looks at a pair before and after its training: other tests' matter, and as long as some steps."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(make_plan, "findings", lambda *_, **__: ())
        patched.setattr(Trainer, "active_units", lambda trainer: {})
        yield


@functools.cache
def fitted_plainly(entry: Entry) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses and the weights of Pyro's own pass, which several tests compare with."""
    _, losses, _, weights = fitted(entry, False)
    return losses, weights


def fitted(entry: Entry, staged, *, steps=STEPS, loss=None, **options):
    """An entry's pair after some steps, the losses on the way, and the run."""
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    pair, data = entry.make()
    size = ROWS if entry.traits & {"full_data", "local_autoguide"} else BATCH
    with steps_alone(), warnings.catch_warnings():
        if "unvalidated" in entry.traits:
            warnings.simplefilter("ignore", pv.PyrovaeWarning)
        running = pv.steps(
            pair, data, steps=steps, batch_size=size, seed=0, loss=loss or entry.loss(), device="cpu", staged=staged,
            **options,
        )  # fmt: skip
        losses = []
        while True:
            try:
                losses.append(next(running).loss)
            except StopIteration as end:
                return pair, losses, end.value, weights_of(end.value)


def weights_of(run) -> dict[str, torch.Tensor]:
    """What a saved file would hold: parameters and buffers."""
    pair, store = run.pair, pyro.get_param_store()
    with pair.entries() if hasattr(pair, "entries") else nullcontext():
        found = {name: store._params[name].detach().clone() for name in store.keys()}  # noqa: SIM118
    parts = [pair] if isinstance(pair, nn.Module) else [getattr(f, "__self__", f) for f in (pair.model, pair.guide)]
    for number, part in enumerate(parts):
        if isinstance(part, nn.Module):
            found.update({f"{number}.{name}": value.detach().clone() for name, value in part.state_dict().items()})
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance=1e-5):
    keys = [{name.split("@")[0] + name.partition("$$$")[2]: value for name, value in x.items()} for x in (one, other)]
    assert list(keys[0]) == list(keys[1])
    assert keys[0]
    for name, value in keys[0].items():
        assert (value - keys[1][name]).double().norm() <= tolerance * value.double().norm() + 1e-8, name


def pair_of(noise) -> pv.Pair:
    """An ordinary pair whose guide calls `noise` between its two lines."""
    torch.manual_seed(0)
    return pair_with(nn.Linear(5, 4), noise)


def pair_with(encoder: nn.Module, noise=lambda loc: 0.0) -> pv.Pair:
    decoder = nn.Linear(2, 5)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, scale = encoder(x).chunk(2, -1)
        loc = loc + noise(loc)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


def branching(loc):
    return 0.0 if loc.mean().item() > 1e9 else 0.1


def finished(running, between=lambda step: None):
    """The end of a loop over steps in which the user does something."""
    while True:
        try:
            between(next(running))
        except StopIteration as end:
            return end.value


def both_ways(make, between=lambda pair, step: None, *, steps=60, data=X, **options):
    """Losses, end and held tensors of a plain and of a staged loop in which the user does something."""
    ways = []
    for staged in (False, "traced"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        pair, losses = make(), []
        given = {name: value() if name == "optim" else value for name, value in options.items()}

        def note(step, pair=pair, losses=losses):
            losses.append(step.loss)
            between(pair, step)

        with steps_alone():
            running = pv.steps(pair, data.clone(), steps=steps, batch_size=16, seed=0, staged=staged, **given)
            ways.append((losses, finished(running, note)))
    (plain, _), (losses, run) = ways
    assert losses == pytest.approx(plain, rel=1e-5, abs=1e-5)
    return run


OPTIMISERS = {
    "sgd": lambda: {"optim": lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)},
    "adamw": lambda: {"optim": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)},
    "pyro": lambda: {"optim": pyro.optim.Adam({"lr": 1e-3})},
    "pyro_clipped": lambda: {"optim": pyro.optim.ClippedAdam({"lr": 1e-3, "clip_norm": 0.1})},
    "pyro_schedule": lambda: {
        "optim": pyro.optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 1e-2}, "gamma": 0.5})
    },
}


def asked_to(*_):
    """Stands in for a decision: go on to the next route."""
    return SimpleNamespace(go=True, why="asked to")
