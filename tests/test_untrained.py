"""Files hold what a pair computes with, also where Pyro does not know of it."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyrovae as pv

X = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))


def frozen_module():
    """As `check_pair` advises: frozen, and never registered."""
    features = nn.Linear(3, 2).requires_grad_(False)
    return lambda x: features(x)


def frozen_table():
    """A frozen module that is never called: its parameter is taken out of it."""
    table = nn.Embedding(3, 2).requires_grad_(False)
    return lambda x: x @ table.weight


def frozen_parameter():
    weight = nn.Parameter(torch.randn(3, 2), requires_grad=False)
    return lambda x: torch.cat([x @ weight, x], 1)[:, :2]


def frozen_registered():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)

    def features(x):
        pyro.module("net", net)
        return net(x)

    return features


def hidden():
    """Trained once, and hidden since."""

    @poutine.block
    def features(x):
        return x @ pyro.param("hidden", lambda: torch.randn(3, 2))

    return features


def pair(make):
    features = make()

    def model(x):
        shift = pyro.param("shift", torch.zeros(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) + shift, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(features(x), 0.5).to_event(1))

    return pv.own_store(pv.Pair(model, guide))


def elbo(one):
    return pv.elbo(one, X, seed=0, draws=4).value


pytestmark = pytest.mark.filterwarnings("ignore:bias was not registered")

makers = pytest.mark.parametrize(
    "make", [frozen_module, frozen_table, frozen_parameter, frozen_registered, hidden], ids=lambda make: make.__name__
)


@makers
def test_a_loaded_pair_is_the_saved_one(make, tmp_path):
    saved, loaded = pair(make), pair(make)
    pv.fit(saved, X, steps=2, learning_rate=0.1, seed=0, progress=False, staged=False)
    pv.save(saved, tmp_path / "pair.safetensors")
    pv.load(loaded, tmp_path / "pair.safetensors", X)
    assert torch.equal(elbo(loaded), elbo(saved))


@makers
def test_a_checkpoint_holds_it_too(make, tmp_path):
    trained, loaded = pair(make), pair(make)
    run = pv.fit(trained, X, steps=2, seed=0, progress=False, staged=False, checkpoint=tmp_path)
    assert run.checkpoint is not None
    pv.load(loaded, run.checkpoint, X)
    assert torch.equal(elbo(loaded), elbo(trained))


def test_files_of_other_frozen_weights_are_told(tmp_path):
    pv.fit(one := pair(frozen_module), X, steps=1, progress=False)
    pv.save(one, tmp_path / "pair.safetensors")
    with pytest.raises(pv.FileError, match=r"missing in the file: hidden.*not in this pair: module_0.bias"):
        pv.load(pair(hidden), tmp_path / "pair.safetensors", X)
