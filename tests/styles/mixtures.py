"""Mixtures: components that are summed out, under guides at a point and full ones."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta, AutoNormal
from pyro.ops.indexing import Vindex

import pyrovae as pv
from styles.style import BOTH, SHARED, Made, style


@config_enumerate
def mixture(x):
    """As in the tutorial on Gaussian mixtures."""
    weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
    with pyro.plate("components", 2):
        locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(x)):
        assignment = pyro.sample("assignment", dist.Categorical(weights))
        pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=x)


def starting(site):
    if site["name"] == "weights":
        return torch.ones(2) / 2
    if site["name"] == "scale":
        return torch.tensor(2.0)
    return torch.tensor([0.5, 9.0])


def of_points(pair, data):
    at = poutine.trace(pair.guide).get_trace(*data).nodes
    weights, scale, locs = (at[name]["value"] for name in ("weights", "scale", "locs"))
    return (weights.log() + dist.Normal(locs, scale).log_prob(data[0][:, None])).logsumexp(-1)


POINT = "which all data share, at one point"


@style(
    "Gaussian mixture, AutoDelta",
    loss=lambda: TraceEnum_ELBO(max_plate_nesting=1),  # a guess would take random numbers from the first step
    enumerates=True,
    draws=20,
    grid=(6, 10),
    exact=of_points,
    refused={
        "elbo": (POINT, "the guide is a point, which has no density"),
        "log_evidence of all": (POINT, "the guide is a point, which has no density"),
        "rate_distortion": (POINT, "the guide is a point, which has no density"),
    },
)
def mixture_at_a_point():
    guide = AutoDelta(poutine.block(mixture, expose=["weights", "locs", "scale"]), init_loc_fn=starting)
    return Made(pv.Pair(mixture, guide), (torch.tensor([0.0, 1.0, 10.0, 11.0, 12.0]),))


@style(
    "Gaussian mixture, full guide",
    loss=lambda: TraceEnum_ELBO(max_plate_nesting=1),
    enumerates=True,
    draws=18,
    grid=BOTH,
)
def mixture_in_full():
    shown = poutine.block(mixture, expose=["weights", "locs", "scale"])
    guide = AutoNormal(shown, init_loc_fn=starting, init_scale=0.05)
    return Made(pv.Pair(mixture, guide), (torch.tensor([0.0, 1.0, 10.0, 11.0, 12.0]),))


class DirichletProcess:
    """Sticks are broken; the guide has shares of components for each row, as in the tutorial."""

    count = 3

    def model(self, data):
        with pyro.plate("beta_plate", self.count - 1):
            beta = pyro.sample("beta", dist.Beta(1.0, 0.5))
        with pyro.plate("mu_plate", self.count):
            mu = pyro.sample("mu", dist.MultivariateNormal(torch.zeros(2), 5 * torch.eye(2)))
        with pyro.plate("data", len(data)):
            z = pyro.sample("z", dist.Categorical(sticks(beta)))
            pyro.sample("obs", dist.MultivariateNormal(picked(mu, z), torch.eye(2)), obs=data)

    def guide(self, data):
        positive, simplex = dist.constraints.positive, dist.constraints.simplex
        kappa = pyro.param("kappa", torch.ones(self.count - 1), constraint=positive)
        tau = pyro.param("tau", torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]))
        phi = pyro.param("phi", torch.full((len(data), self.count), 1 / self.count), constraint=simplex)
        with pyro.plate("beta_plate", self.count - 1):
            pyro.sample("beta", dist.Beta(torch.ones(self.count - 1), kappa))
        with pyro.plate("mu_plate", self.count):
            pyro.sample("mu", dist.MultivariateNormal(tau, 0.2 * torch.eye(2)))
        with pyro.plate("data", len(data)):
            pyro.sample("z", dist.Categorical(phi))


def sticks(beta):
    rest = (1 - beta).cumprod(-1)
    return torch.nn.functional.pad(beta, (0, 1), value=1) * torch.nn.functional.pad(rest, (1, 0), value=1)


def picked(mu, z):
    return Vindex(mu)[..., z, :]


ONE_SET = {"loss": lambda: Trace_ELBO(num_particles=2)}


@style("Dirichlet-process mixture, shares of each row", grid=BOTH, **ONE_SET)
def dirichlet_process():
    centres = torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).repeat(4, 1)
    return Made(DirichletProcess(), (centres + 0.5 * torch.randn(8, 2),))


class TwoLevels:
    def model(self, x):
        level = pyro.sample("level", dist.Normal(0.0, 2.0))
        scale = pyro.sample("scale", dist.LogNormal(-1.0, 0.5))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(level, 1.0))
            pyro.sample("x", dist.Normal(z, scale), obs=x)


class Easy(EasyGuide):
    """The shared sites as one vector, the codes by a network of the data."""

    def guide(self, x):
        loc = pyro.param("loc", torch.zeros(2))
        tril = pyro.param("tril", 0.2 * torch.eye(2), constraint=dist.constraints.lower_cholesky)
        self.group(match="level|scale").sample("shared", dist.MultivariateNormal(loc, scale_tril=tril))
        slope = pyro.param("slope", torch.tensor(0.8))
        with self.plate("data", len(x), subsample_size=len(x)):
            self.group(match="z").sample("codes", dist.Normal((slope * x).unsqueeze(-1), 0.3).to_event(1))


def two_plates(x):
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("columns", 2):
        weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(level + weight[..., 0] - weight[..., 1], 1.0), obs=x)


class OneVector(EasyGuide):
    """What stands in different plates as one vector."""

    def guide(self, x):
        loc, scale = pyro.param("loc", torch.zeros(3)), pyro.param("log_scale", torch.zeros(3)).exp()
        self.group(match="level|weight").sample("both", dist.Normal(loc, scale).to_event(1))


@style("EasyGuide, a group over two plates", grid=SHARED)
def easy_guide_over_plates():
    return Made(pv.Pair(two_plates, OneVector(two_plates)), (1 + torch.randn(8),))


@style("EasyGuide", grid=BOTH)
def easy_guide():
    model = TwoLevels().model
    return Made(pv.Pair(model, Easy(model)), (1 + torch.randn(8),))
