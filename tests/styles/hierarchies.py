"""Levels: plates inside of plates, effects of groups, covariates that are missing, guides and handlers around them."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal, AutoNormalMessenger
from pyro.infer.reparam import LocScaleReparam, SplitReparam
from torch import nn
from torch.distributions import constraints
from torch.nn.functional import softplus

import pyrovae as pv
from styles.style import BOTH, SHARED, Made, style


class Amortised(nn.Module):
    """Means and scales of latents from a row."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.net = nn.Linear(inputs, 2 * outputs)

    def forward(self, x):
        loc, raw = self.net(x).chunk(2, -1)
        return loc, softplus(raw) + 0.05


@style("repeats of each row in a plate of their own", nesting=2, grid=BOTH)
def repeats():
    encoder = Amortised(3, 1)

    def model(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            with pyro.plate("repeats", 3, dim=-1):
                pyro.sample("x", dist.Normal(z, 0.7), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        scale = pyro.param("scale", torch.tensor(0.4), constraint=constraints.positive)
        pyro.sample("mean", dist.Normal(pyro.param("loc", torch.tensor(0.5)), scale))
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(*encoder(x)))

    return Made(pv.Pair(model, guide), (torch.randn(8, 3) + torch.arange(8.0)[:, None] / 4,))


@style("item response", plate="students", nesting=2, grid=BOTH)
def item_response():
    encoder = Amortised(4, 1)

    def model(x):
        with pyro.plate("questions", 4, dim=-1):
            difficulty = pyro.sample("difficulty", dist.Normal(0.0, 1.0))
        with pyro.plate("students", len(x), dim=-2):
            ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
            with pyro.plate("answers", 4, dim=-1):
                pyro.sample("x", dist.Bernoulli(logits=ability - difficulty), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        scale = pyro.param("scale", torch.full((4,), 0.5), constraint=constraints.positive)
        with pyro.plate("questions", 4, dim=-1):
            pyro.sample("difficulty", dist.Normal(pyro.param("loc", torch.zeros(4)), scale))
        with pyro.plate("students", len(x), dim=-2):
            pyro.sample("ability", dist.Normal(*encoder(x)))

    return Made(pv.Pair(model, guide), ((torch.rand(8, 4) > 0.4).float(),))


@style("factors of users and items, ratings as rows", plate="ratings", grid=SHARED)
def ratings():
    def model(user, item, rating):
        normal = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        with pyro.plate("users", 4):
            users = pyro.sample("of_user", normal)
        with pyro.plate("items", 5):
            items = pyro.sample("of_item", normal)
        with pyro.plate("ratings", len(rating)):
            mean = (users[..., user, :] * items[..., item, :]).sum(-1)
            pyro.sample("rating", dist.Normal(mean, 0.5), obs=rating)

    data = torch.randint(0, 4, (20,)), torch.randint(0, 5, (20,)), torch.randn(20)
    return Made(pv.Pair(model, AutoNormal(model)), data)


@style("slopes that vary with groups, LKJ", grid=SHARED)
def varying_slopes():
    def model(group, c, y):
        scale = pyro.sample("scale", dist.HalfNormal(torch.ones(2)).to_event(1))
        factor = pyro.sample("factor", dist.LKJCholesky(2, torch.tensor(2.0)))
        with pyro.plate("groups", 3):
            tril = scale.unsqueeze(-1) * factor
            effect = pyro.sample("effect", dist.MultivariateNormal(torch.zeros(2), scale_tril=tril))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(effect[..., group, 0] + effect[..., group, 1] * c, 0.5), obs=y)

    return Made(pv.Pair(model, AutoNormal(model)), (torch.arange(12) % 3, torch.randn(12), torch.randn(12)))


@style("survival, censored", grid=SHARED)
def survival():
    def model(time, censored):
        rate = pyro.sample("rate", dist.Gamma(2.0, 2.0))
        with pyro.plate("data", len(time)):
            with poutine.mask(mask=~censored):
                pyro.sample("time", dist.Exponential(rate), obs=time)
            with poutine.mask(mask=censored):
                pyro.sample("alive", dist.Bernoulli(torch.exp(-rate * time)), obs=torch.ones(len(time)))

    return Made(pv.Pair(model, AutoNormal(model)), (torch.rand(12) * 3 + 0.1, torch.arange(12) % 3 == 0))


@style("states along a chain, summed out, AutoNormal for what rows share", enumerates=True, grid=BOTH,
       loss=lambda: TraceEnum_ELBO(max_plate_nesting=1))  # fmt: skip
def chain():
    def model(x):
        move = pyro.sample("move", dist.Dirichlet(torch.full((2, 2), 2.0)).to_event(1))
        emit = pyro.sample("emit", dist.Beta(2.0, 2.0).expand([2]).to_event(1))
        with pyro.plate("data", len(x)):
            state = torch.zeros(len(x), dtype=torch.long)
            for t in pyro.markov(range(3)):
                moved = dist.Categorical(move[..., state, :])
                state = pyro.sample(f"s_{t}", moved, infer={"enumerate": "parallel"})
                pyro.sample(f"x_{t}", dist.Bernoulli(emit[..., state]), obs=x[:, t])

    guide = AutoNormal(poutine.block(model, expose=["move", "emit"]))
    return Made(pv.Pair(model, guide), ((torch.rand(6, 3) > 0.5).float(),))


def levels(x):
    """Rows of four numbers around one that they share."""
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0).expand([4]).to_event(1))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)


@style("levels, AutoNormalMessenger", grid=BOTH)
def messenger():
    return Made(pv.Pair(levels, AutoNormalMessenger(levels)), (torch.randn(6, 4),))


@style("levels, decentred", grid=BOTH)
def decentred():
    model = poutine.reparam(levels, config={"z": LocScaleReparam()})
    return Made(pv.Pair(model, AutoNormal(model)), (torch.randn(6, 4),))


@style("levels, split in two", grid=BOTH)
def split():
    model = poutine.reparam(levels, config={"z": SplitReparam([1, 3], -1)})
    return Made(pv.Pair(model, AutoNormal(model)), (torch.randn(6, 4),))
