"""Counts of what is hidden: capture and recapture, exponential families in layers, Gaussian processes, scenes."""

from __future__ import annotations

import pyro
import pyro.contrib.gp as gp
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal
from torch import nn

import pyrovae as pv
from styles.autoencoders import Coder
from styles.regressions import NO_ROWS
from styles.style import BOTH, SHARED, Made, style


def jolly_seber(capture_history):
    """Cormack, Jolly and Seber: who is alive is summed out, from the first capture on, at which an animal is alive."""
    animals, occasions = capture_history.shape
    phi, rho = pyro.sample("phi", dist.Uniform(0.0, 1.0)), pyro.sample("rho", dist.Uniform(0.0, 1.0))
    with pyro.plate("animals", animals, dim=-1):
        alive, seen_before = torch.ones(animals), torch.zeros(animals, dtype=torch.bool)
        for t in range(occasions):
            with poutine.mask(mask=seen_before):
                z = pyro.sample(f"z_{t}", dist.Bernoulli(phi * alive), infer={"enumerate": "parallel"})
                pyro.sample(f"y_{t}", dist.Bernoulli(rho * z), obs=capture_history[:, t])
            # What a mask hides has no prior: fed on, as Pyro's example does, both of its values would count in full.
            alive = torch.where(seen_before, z, 1.0)
            seen_before = seen_before | capture_history[:, t].bool()


@style(
    "capture and recapture",
    plate="animals",
    loss=lambda: TraceEnum_ELBO(max_plate_nesting=1),
    enumerates=True,
    draws=20,
    grid=BOTH,
)
def capture_recapture():
    history = (torch.rand(4, 3) > 0.5).float()
    history[:, 0] = 1
    guide = AutoDiagonalNormal(poutine.block(jolly_seber, expose=["phi", "rho"]))
    return Made(pv.Pair(jolly_seber, guide), (history,))


class SparseGamma:
    """A deep exponential family: gamma upon gamma upon counts; a gamma of the guide for each row."""

    shape = 0.5

    def model(self, x):
        with pyro.plate("weights", 2):
            top = pyro.sample("w_top", dist.Gamma(0.5, 0.5).expand([2]).to_event(1))
            bottom = pyro.sample("w_bottom", dist.Gamma(0.5, 0.5).expand([4]).to_event(1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z_top", dist.Gamma(self.shape, self.shape).expand([2]).to_event(1))
            mean = (z.unsqueeze(-2) @ top).squeeze(-2) + 1e-3
            z = pyro.sample("z_bottom", dist.Gamma(self.shape, self.shape / mean).to_event(1))
            pyro.sample("obs", dist.Poisson((z.unsqueeze(-2) @ bottom).squeeze(-2) + 1e-3).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("weights", 2):
            self.gamma("w_top", 2, 2)
            self.gamma("w_bottom", 2, 4)
        with pyro.plate("data", len(x)):
            self.gamma("z_top", len(x), 2)
            self.gamma("z_bottom", len(x), 2)

    def gamma(self, name, *shape):
        alpha = pyro.param(f"alpha_{name}", torch.full(shape, 3.0), constraint=dist.constraints.softplus_positive)
        mean = pyro.param(f"mean_{name}", torch.full(shape, 1.0), constraint=dist.constraints.softplus_positive)
        return pyro.sample(name, dist.Gamma(alpha, alpha / mean).to_event(1))


@style("deep exponential family", loss=TraceMeanField_ELBO, grid=BOTH, steps=100)
def deep_exponential_family():
    return Made(SparseGamma(), (torch.poisson(3 * torch.rand(3, 4)),))


def curve():
    x = torch.linspace(0.0, 3.0, 8)
    return x, (2 * x).sin() + 0.2 * torch.randn(8)


@style("Gaussian process", plate=None, grid=SHARED, refused=NO_ROWS)
def gaussian_process():
    x, y = curve()
    model = gp.models.GPRegression(x, y, gp.kernels.RBF(1), noise=torch.tensor(0.1))
    model.kernel.lengthscale = pyro.nn.PyroSample(dist.LogNormal(0.0, 0.3))
    model.kernel.autoguide("lengthscale", dist.Normal)
    return Made(model, ())


@style("variational sparse Gaussian process", plate=None, grid=SHARED, refused=NO_ROWS)
def sparse_gaussian_process():
    x, y = curve()
    likelihood = gp.likelihoods.Gaussian(variance=torch.tensor(0.1))
    return Made(gp.models.VariationalSparseGP(x, y, gp.kernels.RBF(1), Xu=x[::3].clone(), likelihood=likelihood), ())


class AIR(nn.Module):
    """Attend, infer, repeat: objects are there or not, one after the other, and a baseline for whether they are."""

    steps = 2

    def __init__(self):
        super().__init__()
        self.decoder, self.where = Coder(1, 3), Coder(4, 1, 2)
        self.what, self.present, self.baseline = Coder(4, 1, 2), Coder(4, 1), Coder(4, 1)

    def model(self, x):
        pyro.module("air", self)
        with pyro.plate("data", len(x)):
            there, picture = x.new_ones(len(x), 1), 0.0
            for t in range(self.steps):
                there = pyro.sample(f"z_pres_{t}", dist.Bernoulli(0.4 * there).to_event(1))
                with poutine.mask(mask=there[..., 0].bool()):
                    where = pyro.sample(f"z_where_{t}", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
                    what = pyro.sample(f"z_what_{t}", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
                picture = picture + there * placed(self.decoder(what), where)
            pyro.sample("obs", dist.Normal(picture, 0.5).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("air", self)
        with pyro.plate("data", len(x)):
            there, baseline = x.new_ones(len(x), 1), self.baseline(x)[..., 0]
            for t in range(self.steps):
                chance = torch.sigmoid(self.present(x)).clamp(0.02, 0.98) * there
                infer = {"baseline": {"baseline_value": baseline}}
                there = pyro.sample(f"z_pres_{t}", dist.Bernoulli(chance).to_event(1), infer=infer)
                with poutine.mask(mask=there[..., 0].bool()):
                    self.normal(f"z_where_{t}", self.where(x))
                    self.normal(f"z_what_{t}", self.what(x))

    def normal(self, name, parts):
        return pyro.sample(name, dist.Normal(parts[0], parts[1].exp()).to_event(1))


def placed(small, where):
    """A picture of three, written around a place into one of four."""
    weights = torch.softmax(-(torch.arange(4.0) - 1.5 - where).square(), -1)
    return weights * small.sum(-1, keepdim=True)


@style("attend, infer, repeat", loss=TraceGraph_ELBO, batch=4, draws=30)
def attend_infer_repeat():
    return Made(AIR(), (torch.rand(8, 4),))
