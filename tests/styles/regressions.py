"""Regressions: weights that all rows share, under autoguides and guides written by hand."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.contrib.cevae import CEVAE, TraceCausalEffect_ELBO
from pyro.infer.autoguide import (
    AutoDiagonalNormal,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    init_to_median,
)
from pyro.nn import PyroModule, PyroSample
from torch import nn

import pyrovae as pv
from styles.style import BOTH, SHARED, Made, style


class Regression(PyroModule):
    """As in the tutorial on Bayesian regression."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](2, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 10.0).expand([1]).to_event(1))

    def forward(self, x, y=None):
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("obs", dist.Normal(mean, sigma), obs=y)
        return mean


def line():
    x = torch.randn(12, 2)
    return x, x @ torch.tensor([1.0, -0.5]) + 0.3 + 0.3 * torch.randn(12)


@style("Bayesian regression, AutoDiagonalNormal", grid=SHARED, rate=0.1)
def regression_diagonal():
    model = Regression()
    return Made(pv.Pair(model, AutoDiagonalNormal(model)), line())


class EightSchools:
    y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18])

    def model(self):
        eta = pyro.sample("eta", dist.Normal(torch.zeros(8), 1.0).to_event(1))
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        tau = pyro.sample("tau", dist.HalfCauchy(25.0))
        pyro.sample("obs", dist.Normal(mu + tau * eta, self.sigma).to_event(1), obs=self.y)

    def guide(self):
        loc, scale = torch.tensor([0.0] * 8 + [8.0]), torch.tensor([0.1] * 8 + [3.0])
        loc = pyro.param("loc", loc)
        scale = pyro.param("scale", scale, constraint=dist.constraints.positive)
        pyro.sample("eta", dist.Normal(loc[:8], scale[:8]).to_event(1))
        pyro.sample("mu", dist.Normal(loc[8], scale[8]))
        a, b = pyro.param("a", torch.tensor(1.0)), pyro.param("b", torch.tensor(0.3))
        pyro.sample("tau", dist.LogNormal(a, b.abs()))


NO_PLATE = "no plate of the pair holds the data"
NO_ROWS = {
    "elbo": (NO_PLATE, "no plate says what a row is; the whole has its figures"),
    "log_evidence": (NO_PLATE, "no plate says what a row is; the whole has its figures"),
}


@style("eight schools", plate=None, grid=SHARED, rate=0.1, refused=NO_ROWS)
def eight_schools():
    return Made(EightSchools(), ())


@style("Bayesian regression, AutoMultivariateNormal", grid=SHARED, rate=0.1)
def regression_full():
    model = Regression()
    return Made(pv.Pair(model, AutoMultivariateNormal(model)), line())


@style("Bayesian regression, AutoLowRankMultivariateNormal", grid=SHARED, rate=0.1)
def regression_low_rank():
    model = Regression()
    return Made(pv.Pair(model, AutoLowRankMultivariateNormal(model)), line())


@style("Bayesian regression, AutoIAFNormal", grid=SHARED, rate=0.02)
def regression_flow():
    return Made(pv.Pair(in_batches, AutoIAFNormal(in_batches, hidden_dim=[6])), line())


def in_batches(x, y):
    """A part of the rows at a time; the plate has the size of the whole."""
    weight = pyro.sample("weight", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    noise = pyro.sample("noise", dist.LogNormal(-1.0, 0.5))
    with pyro.plate("data", 12, subsample_size=len(x)):
        pyro.sample("obs", dist.Normal((x * weight).sum(-1), noise), obs=y)


@style("Bayesian regression in batches, AutoNormal", batch=6, grid=SHARED, rate=0.1)
def regression_in_batches():
    return Made(pv.Pair(in_batches, AutoNormal(in_batches)), line())


def baseball_model(at_bats, hits):
    """Partly pooled: a chance for each player, and what they share."""
    m = pyro.sample("m", dist.Uniform(0, 1))
    kappa = pyro.sample("kappa", dist.Pareto(1.0, 1.5))
    with pyro.plate("num_players", at_bats.shape[0]):
        phi = pyro.sample("phi", dist.Beta(m * kappa, (1 - m) * kappa))
        pyro.sample("hits", dist.Binomial(at_bats, probs=phi), obs=hits)


@style("baseball, partly pooled", plate="num_players", steps=100, grid=BOTH, rate=0.1)
def baseball():
    at_bats = torch.full((6,), 45.0) - torch.arange(6.0)
    hits = torch.tensor([18.0, 17, 15, 12, 11, 7])
    return Made(pv.Pair(baseball_model, AutoNormal(baseball_model, init_scale=0.1)), (at_bats, hits))


def sparse_model(X, Y):
    """Regression on products of features, weights summed out: one normal vector of all rows."""
    width = X.shape[-1]
    msq = pyro.sample("msq", dist.HalfCauchy(torch.ones(())))
    lam = pyro.sample("lambda", dist.HalfCauchy(torch.ones(width)).to_event(1))
    var = pyro.sample("var_obs", dist.InverseGamma(3.0, 1.0))
    kappa = msq.sqrt() * lam / (msq + lam.square()).sqrt()
    kX = kappa * X
    k = (1 + kX @ kX.transpose(-1, -2)).square() + var * torch.eye(X.shape[0])
    pyro.sample("Y", dist.MultivariateNormal(torch.zeros(X.shape[0]), covariance_matrix=k), obs=Y)


@style("sparse regression", plate=None, grid=SHARED, refused=NO_ROWS)
def sparse_regression():
    X = torch.randn(8, 3)
    guide = AutoDiagonalNormal(sparse_model, init_scale=0.05, init_loc_fn=init_to_median)
    return Made(pv.Pair(sparse_model, guide), (X, X[:, 0] + 0.2 * torch.randn(8)))


class Causal(PyroModule):
    """CEVAE of the contributed module, its two halves under names of their own."""

    def __init__(self):
        super().__init__()
        self.of_model, self.of_guide = (part for part in _cevae())

    def model(self, x, t, y):
        return self.of_model(x, t, y)

    def guide(self, x, t, y):
        return self.of_guide(x, t, y)


def _cevae():
    found = CEVAE(feature_dim=3, outcome_dist="normal", latent_dim=2, hidden_dim=6, num_layers=2)
    return found.model, found.guide


@style("CEVAE", batch=6, loss=TraceCausalEffect_ELBO, draws=30)
def cevae():
    z = torch.randn(12, 1)
    t = (z[:, 0] > 0).float()
    return Made(Causal(), (z + 0.5 * torch.randn(12, 3), t, z[:, 0] + t + 0.3 * torch.randn(12)))
