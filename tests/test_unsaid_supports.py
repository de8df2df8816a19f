"""Distributions that lack something: their support, as Pyro's wrapper of zuko's flows, or draws."""

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


def of_counts(size):
    """Counts whose totals differ by row: Pyro computes their densities, and cannot draw them."""
    network = torch.nn.Linear(2, 3)

    def model(x):
        pyro.module("network", network)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            likelihood = dist.DirichletMultinomial(network(z).exp(), total_count=x.sum(-1))
            pyro.sample("x", likelihood, obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))

    return pv.Pair(model, guide), torch.arange(3.0 * size).reshape(size, 3)


@pytest.mark.parametrize("ask", [pv.posterior_predictive, pv.calibration, pv.generate], ids=lambda ask: ask.__name__)
def test_what_cannot_be_drawn_is_refused_in_words(ask):
    pair, x = of_counts(8)
    with pytest.raises(
        pv.PairError, match="not as it is asked to here: NotImplementedError: Inhomogeneous total count"
    ):
        ask(pair, x)
    assert bool(pv.log_evidence(pair, x, draws=5).value.isfinite().all())


def test_what_a_loss_does_not_take_is_refused_in_words():
    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x[:, None])

    def guide(x):
        with pyro.plate("data", len(x), dim=-3), pyro.plate("parts", 2, dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 1, 2), 1.0))

    with pytest.raises(pv.PairError, match="event_dims disagree at site 'z'"):
        pv.rate_distortion(pv.Pair(model, guide), X, draws=2, data_plate="data")
