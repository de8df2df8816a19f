"""Discrete sites: enumerated in the model or in the guide, or with the score function."""

from __future__ import annotations

import functools

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, TraceGraph_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta
from torch import nn
from torch.distributions import constraints

from pyrovae.pairs.pair import Pair
from registry.data import binary, real
from registry.entries import LATENT, ROWS, WIDTH, entry
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal

enumerating = functools.partial(TraceEnum_ELBO, max_plate_nesting=1)


@entry("broadcasts", "enumerates", "lazy", latent="y z", enumerated="y", loss=enumerating)
def enumerated_prior():
    """A mixture prior, its component summed out in the model: the contraction holds latent sites only."""
    encoder, decoder = Encoder(), decoder_net()

    @config_enumerate
    def model(x):
        pyro.module("decoder", decoder)
        weights = pyro.param("weights", torch.ones(3) / 3, constraint=constraints.simplex)
        centres = pyro.param("centres", lambda: torch.randn(3, LATENT))
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(weights))
            z = pyro.sample("z", dist.Normal(centres[y], 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), binary()


@entry("broadcasts", "enumerates", "lazy", latent="y", enumerated="y", loss=enumerating)
def enumerated_mixture():
    """A plain mixture by maximum likelihood: the contraction holds the observed site; the guide is empty."""

    def model(x):
        weights = pyro.param("weights", torch.ones(3) / 3, constraint=constraints.simplex)
        centres = pyro.param("centres", lambda: torch.randn(3, WIDTH))
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(centres[y], scale).to_event(1), obs=x)

    def guide(x):
        pass

    return Pair(model, guide), real()


@entry(
    "enumerates",
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    "point",
    latent="y",
    enumerated="y",
    global_sites="weights scale centres",
    loss=enumerating,
)
def enumerated_mixture_map():
    """Pyro's Gaussian-mixture tutorial: point estimates of global sites by AutoDelta."""

    @config_enumerate
    def model(x):
        weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
        with pyro.plate("components", 2):
            centres = pyro.sample("centres", dist.Normal(0.0, 10.0))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            y = pyro.sample("y", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(centres[y], scale), obs=x)

    guide = AutoDelta(poutine.block(model, expose=["weights", "centres", "scale"]))
    return Pair(model, guide), real()[:, 0]


@entry("broadcasts", "enumerates", "lazy", latent="y z", enumerated="y", loss=enumerating)
def enumerated_likelihood():
    """Local z in the guide, y summed out in the likelihood: the contraction holds the observed site."""
    encoder, decoder = Encoder(), decoder_net()

    @config_enumerate
    def model(x):
        pyro.module("decoder", decoder)
        shifts = pyro.param("shifts", lambda: torch.randn(2, WIDTH))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            y = pyro.sample("y", dist.Bernoulli(0.3)).long()
            pyro.sample("x", dist.Normal(decoder(z) + shifts[y], 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


def concatenate(*tensors):
    """`torch.cat` over the last dim, leading dims broadcast: enumeration adds some."""
    leading = torch.broadcast_shapes(*(one.shape[:-1] for one in tensors))
    return torch.cat([one.expand(*leading, one.shape[-1]) for one in tensors], -1)


def _labelled(guide_strategy):
    """A guide with a discrete site q(y | x) q(z | x, y), summed out in the guide."""
    classifier, encoder, decoder = nn.Linear(WIDTH, 3), Encoder(WIDTH + 3), decoder_net(LATENT + 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(3) / 3))
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(concatenate(y, z))).to_event(1), obs=x)

    def guide(x):
        pyro.module("classifier", classifier)
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(logits=classifier(x)))
            pyro.sample("z", dist.Normal(*encoder(concatenate(x, y))).to_event(1))

    return Pair(model, config_enumerate(guide, guide_strategy)), binary()


@entry("enumerates", "broadcasts", latent="y z", loss=enumerating)
def enumerated_guide():
    """In parallel, as in Pyro's semi-supervised VAE."""
    return _labelled("parallel")


@entry("enumerates", "broadcasts", latent="y z", loss=enumerating)
def enumerated_guide_sequential():
    return _labelled("sequential")


def _binary_latent(infer):
    """A Bernoulli latent: the gradient of its encoder is a score-function estimate."""
    encoder, decoder = nn.Linear(WIDTH, 4), decoder_net(4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(4)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(b)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=encoder(x)).to_event(1), infer=infer(x))

    return Pair(model, guide), binary()


@entry("score_function", "broadcasts", latent="b")
def score_function():
    return _binary_latent(lambda x: {})


@entry("broadcasts", "score_function", "loss_state", "lazy", latent="b", loss=TraceGraph_ELBO)
def score_function_average_baseline():
    baseline = {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}
    return _binary_latent(lambda x: {"baseline": baseline})


@entry("broadcasts", "score_function", latent="b", loss=TraceGraph_ELBO)
def score_function_neural_baseline():
    class Baseline(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(WIDTH, 1)

        def forward(self, x):
            return self.net(x).squeeze(-1)

    net = Baseline()

    def infer(x):
        pyro.module("baseline", net)
        return {"baseline": {"nn_baseline": net, "nn_baseline_input": x}}

    return _binary_latent(infer)
