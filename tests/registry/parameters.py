"""Parameters: `pyro.param` with constraints, `PyroModule`, double precision."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.pairs.own_store import own_store
from pyrovae.pairs.pair import Pair
from registry.data import counts, real
from registry.entries import LATENT, WIDTH, entry
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal


@entry("mean_field", "renyi_ok", "broadcasts", "lazy", latent="theta", observed="words")
def constrained_params():
    """No module at all: topics on the simplex, positive concentrations, made inside the functions."""

    def model(words):
        topics = pyro.param(
            "topics",
            lambda: torch.ones(LATENT, WIDTH).div(WIDTH),
            constraint=constraints.simplex,
            event_dim=1,
        )
        prior = pyro.param("prior_rate", torch.tensor([0.5, 1.0]), constraint=constraints.positive)
        with pyro.plate("documents", len(words)):
            theta = pyro.sample("theta", dist.Gamma(torch.ones(LATENT), prior).to_event(1))
            pyro.sample("words", dist.Poisson(theta @ topics + 1e-3).to_event(1), obs=words)

    def guide(words):
        weight = pyro.param("guide_weight", lambda: 0.1 * torch.randn(WIDTH, LATENT))
        rate = pyro.param("guide_rate", torch.ones(LATENT), constraint=constraints.greater_than(0.1))
        with pyro.plate("documents", len(words)):
            concentration = softplus(words.log1p() @ weight) + 0.5
            pyro.sample("theta", dist.Gamma(concentration, rate).to_event(1))

    return Pair(model, guide), counts()


@entry("mean_field", "renyi_ok", "broadcasts", "lazy", latent="theta", observed="words")
def own_entries():
    """A pair around the same functions, whose parameters stand in a store of their own."""
    pair, words = constrained_params()
    return own_store(pair), words


class ModuleModel(PyroModule):
    def __init__(self):
        super().__init__()
        self.decoder = PyroModule[nn.Linear](LATENT, WIDTH)
        self.noise = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(self.decoder(z), self.noise).to_event(1), obs=x)


class ModuleGuide(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = PyroModule[nn.Linear](WIDTH, LATENT)
        self.scale = PyroParam(lambda: torch.ones(LATENT), constraint=constraints.positive, event_dim=1)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc(x), self.scale).to_event(1))


@entry("mean_field", "renyi_ok", "broadcasts", "lazy")
def pyro_modules():
    return Pair(ModuleModel(), ModuleGuide()), real()


@entry("mean_field", "renyi_ok", "broadcasts", "float64")
def double_precision():
    encoder, decoder = Encoder().double(), decoder_net().double()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real().double()
