"""Distributions that do not say their support, as Pyro's wrapper of zuko's flows."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

X = torch.linspace(-1.0, 2.0, 8)


class Wrapped(dist.TorchDistribution):
    """What `pyro.contrib.zuko.ZukoToPyro` has: shapes, draws and densities, and nothing else."""

    def __init__(self, inner):
        self.dist = inner

    has_rsample = property(lambda self: self.dist.has_rsample)
    event_shape = property(lambda self: self.dist.event_shape)
    batch_shape = property(lambda self: self.dist.batch_shape)

    def __call__(self, shape=()):
        return self.dist.rsample(shape)

    def log_prob(self, x):
        return self.dist.log_prob(x)

    def expand(self, *args, **kwargs):
        return Wrapped(self.dist.expand(*args, **kwargs))


def pair(wrap=Wrapped):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", wrap(dist.Normal(torch.zeros(2), 1.0).to_event(1)))
            pyro.sample("x", dist.Normal(z.sum(-1), 0.5), obs=x)

    def guide(x):
        loc = pyro.param("slope", torch.tensor(0.4)) * x
        with pyro.plate("data", len(x)):
            pyro.sample("z", wrap(dist.Normal(loc[..., None].expand(len(x), 2), 0.7).to_event(1)))

    guide(X)
    return pv.Pair(model, guide)


FIGURES = {
    "annealed": lambda one: pv.ais(one, X, chains=2, steps=4).lower,
    "evidence": lambda one: pv.log_evidence(one, X, draws=8),
    "arviz": lambda one: [torch.as_tensor(pv.to_arviz(one, X, draws=3)["posterior"]["z"].values)],
    "findings": lambda one: [torch.tensor(len(pv.check_pair(one, X)))],
}


@pytest.mark.parametrize("figure", FIGURES)
def test_they_have_the_figures_of_what_they_wrap(figure):
    for one, other in zip(FIGURES[figure](pair()), FIGURES[figure](pair(lambda fn: fn)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_their_means_are_those_of_draws():
    found = torch.as_tensor(pv.encode(pair(), X)["z"].mean)
    assert float((found - 0.4 * X[:, None]).abs().max()) < 0.4


def test_what_cannot_be_refined_is_refused_in_words():
    with pytest.raises(pv.ArgumentError, match=r"pathwise gradients, which 'z' \(Wrapped\)"):
        pv.inference_gap(pair(), X, steps=3, draws=8)
