"""Sequences: hidden Markov models, deep Markov models, forecasts."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.forecast import ForecastingModel
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta, AutoNormal
from pyro.ops.indexing import Vindex
from torch import nn

import pyrovae as pv
from styles.autoencoders import Coder, joined
from styles.style import BOTH, SHARED, Made, style


def ragged(sequences: int = 4, steps: int = 3, width: int = 2):
    lengths = 2 + torch.arange(sequences) % (steps - 1)
    return (torch.rand(sequences, steps, width) > 0.5).float(), lengths


@config_enumerate
def hmm(sequences, lengths):
    """Model 1 of the examples: hidden states in parallel over sequences of several lengths."""
    with poutine.mask(mask=True):
        moves = pyro.sample("probs_x", dist.Dirichlet(0.9 * torch.eye(3) + 0.1).to_event(1))
        tones = pyro.sample("probs_y", dist.Beta(0.9, 0.9).expand([3, 2]).to_event(2))
    tones_plate = pyro.plate("tones", 2, dim=-1)
    with pyro.plate("sequences", len(sequences), dim=-2):
        x = torch.zeros((), dtype=torch.long)
        for t in pyro.markov(range(sequences.shape[1])):
            with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                x = pyro.sample(f"x_{t}", dist.Categorical(Vindex(moves)[x]))
                with tones_plate as tone:
                    pyro.sample(f"y_{t}", dist.Bernoulli(Vindex(tones)[x, tone]), obs=sequences[:, t])


def forward_algorithm(pair, data):
    at = poutine.trace(pair.guide).get_trace(*data).nodes
    moves, tones, found = at["probs_x"]["value"], at["probs_y"]["value"], []
    for sequence, length in zip(*data, strict=True):
        state = moves[0]
        for t in range(int(length)):
            state = (moves[0] if t == 0 else state @ moves) * dist.Bernoulli(tones).log_prob(sequence[t]).sum(-1).exp()
        found.append(state.sum().log())
    return torch.stack(found)


POINT = "which all data share, at one point"


@style(
    "HMM, summed out (AutoDelta)",
    plate="sequences",
    nesting=2,
    loss=lambda: TraceEnum_ELBO(max_plate_nesting=2),
    enumerates=True,
    draws=10,
    grid=(4, 10),
    exact=forward_algorithm,
    refused={
        "elbo": (POINT, "the guide is a point, which has no density"),
        "log_evidence of all": (POINT, "the guide is a point, which has no density"),
        "rate_distortion": (POINT, "the guide is a point, which has no density"),
    },
)
def hmm_at_a_point():
    return Made(pv.Pair(hmm, AutoDelta(poutine.block(hmm, expose=["probs_x", "probs_y"]))), ragged())


class DMM(nn.Module):
    """A deep Markov model of ragged sequences: transitions and emissions are networks, the guide reads backwards."""

    def __init__(self):
        super().__init__()
        self.transition, self.emission = Coder(2, 2, 2), Coder(2, 3)
        self.rnn, self.combiner = nn.GRU(3, 4, batch_first=True), Coder(6, 2, 2)
        self.start = nn.Parameter(torch.zeros(2))

    def model(self, sequences, backwards, mask):
        pyro.module("dmm", self)
        with pyro.plate("sequences", len(sequences)):
            z = self.start.expand(len(sequences), 2)
            for t in pyro.markov(range(sequences.shape[1])):
                loc, log_scale = self.transition(z)
                with poutine.mask(mask=mask[:, t]):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, log_scale.exp()).to_event(1))
                    emitted = dist.Bernoulli(logits=self.emission(z)).to_event(1)
                    pyro.sample(f"x_{t}", emitted, obs=sequences[:, t])

    def guide(self, sequences, backwards, mask):
        pyro.module("dmm", self)
        states = self.rnn(backwards)[0].flip(1)
        with pyro.plate("sequences", len(sequences)):
            z = self.start.expand(len(sequences), 2)
            for t in pyro.markov(range(sequences.shape[1])):
                loc, log_scale = self.combiner(joined(z, states[:, t]))
                with poutine.mask(mask=mask[:, t]):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, log_scale.exp()).to_event(1))


@style("deep Markov model, ragged sequences", plate="sequences", batch=4)
def deep_markov_model():
    sequences, lengths = ragged(8, 3, 3)
    mask = torch.arange(3) < lengths.unsqueeze(-1)
    net = DMM()
    return Made(net, ((sequences * mask.unsqueeze(-1)), sequences.flip(1), mask), (net,))


def hmm_as_one_distribution(x):
    """Hidden states summed out by the distribution itself."""
    moves = pyro.sample("moves", dist.Dirichlet(torch.eye(2) + 1.0).to_event(1))
    with pyro.plate("states", 2):
        locs = pyro.sample("locs", dist.Normal(torch.tensor([-1.0, 1.0]), 0.5))
    with pyro.plate("sequences", len(x)):
        start, emitted = torch.tensor([0.0, 0.0]), dist.Normal(locs.unsqueeze(-2), 1.0)
        pyro.sample("x", dist.DiscreteHMM(start, moves.log().unsqueeze(-3), emitted, duration=x.shape[-1]), obs=x)


@style(
    "HMM as one distribution (AutoNormal)",
    plate="sequences",
    grid=SHARED,
    refused={
        "uncertainty": ("has no mean and variance", "a `DiscreteHMM` has no mean and variance"),
    },
)
def hmm_of_a_distribution():
    x = torch.randn(5, 4) + torch.tensor([-1.0, 1.0]).repeat(2)
    return Made(pv.Pair(hmm_as_one_distribution, AutoNormal(hmm_as_one_distribution)), (x,))


class Trend(ForecastingModel):
    """A level that walks at random, a weight of the covariates, noise."""

    def model(self, zero_data, covariates):
        data_dim, features = zero_data.size(-1), covariates.size(-1)
        bias = pyro.sample("bias", dist.Normal(0.0, 10.0).expand([data_dim]).to_event(1))
        weight = torch.zeros(0)
        if features:
            weight = pyro.sample("weight", dist.Normal(0.0, 0.1).expand([features]).to_event(1))
        scale = pyro.sample("scale", dist.LogNormal(-1.0, 1.0))
        with self.time_plate:
            step = pyro.sample("step", dist.Normal(0.0, 0.2))
        level = step.cumsum(-1).unsqueeze(-1) + (weight * covariates).sum(-1, keepdim=True) + bias
        self.predict(dist.Normal(0.0, scale.unsqueeze(-1)), level)


TIED = "belongs to several rows together"


@style(
    "forecasting, without covariates",
    plate="time",
    grid=BOTH,
    refused={
        "log_evidence": (TIED, "one observation belongs to all rows together, so that none has an evidence of its own")
    },
)
def forecast():
    model = Trend()
    x = torch.arange(6.0).unsqueeze(-1)
    return Made(pv.Pair(model, AutoNormal(model)), (0.3 * torch.randn(6, 1) + 0.1 * x, torch.zeros(6, 0)))
