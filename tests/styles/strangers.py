"""Styles of Pyro's users that misled: where a latent hides, what is drawn last, families that lack what others have."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.transforms import conditional_planar
from torch import nn

import pyrovae as pv
from styles.style import BOTH, Made, style


class Encoder(nn.Module):
    """Mean and scale of as many latents as are asked for."""

    def __init__(self, inputs: int, latents: int):
        super().__init__()
        self.net = nn.Linear(inputs, 2 * latents)

    def forward(self, x):
        loc, log_scale = self.net(x).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


def autoencoder(x: torch.Tensor, outputs: int, likelihood, posterior=None) -> Made:
    """A pair of a decoder of two latents, and an encoder; `posterior` makes something else of what it says."""
    decoder, encoder = nn.Linear(2, outputs), Encoder(x.shape[1], 2)
    more = [] if posterior is None else [posterior]

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", likelihood(decoder(z)), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        for flow in more:
            pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            drawn = encoder(x)
            for flow in more:
                drawn = dist.ConditionalTransformedDistribution(drawn, [flow]).condition(x)
            pyro.sample("z", drawn)

    return Made(pv.Pair(model, guide), (x,), (decoder, encoder, *more))


@style("a flow without an inverse as guide", batch=5)
def flow_without_inverse():
    flow = conditional_planar(2, 3, [5])
    return autoencoder(torch.randn(10, 3), 3, lambda out: dist.Normal(out, 0.5).to_event(1), flow)


NO_LINE = ("no mean and variance (of a line)", "the variance of an angle is one of a circle, and adds up with no other")


@style("angles", batch=5, refused={"uncertainty": NO_LINE})
def angles():
    x = (torch.rand(10, 2) - 0.5) * 6
    return autoencoder(x, 2, lambda out: dist.VonMises(out, 3.0).to_event(1))


HIDDEN = ("draws random numbers that are no sites", "the latent is no site, so that no draw has a weight")


@style("a KL worked out by hand", batch=5, refused={"log_evidence": HIDDEN, "log_evidence of all": HIDDEN})
def kl_by_hand():
    decoder, encoder = nn.Linear(2, 3), Encoder(3, 2)

    def model(x):
        pyro.module("decoder", decoder)
        pyro.module("encoder", encoder)
        posterior = encoder(x)
        z = posterior.rsample()
        with pyro.plate("data", len(x)):
            prior = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            pyro.factor("kl", -torch.distributions.kl_divergence(posterior, prior))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Made(pv.Pair(model, lambda x: None), (torch.randn(10, 3),), (decoder, encoder))


LAST = ("by what it draws for single rows", "the guide draws what rows share by what it drew for them")


@style("what rows share is drawn last", grid=BOTH, refused={"log_evidence": LAST, "uncertainty": LAST})
def shared_last():
    def model(x):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(level, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.8))
        scale = pyro.param("scale", torch.tensor(0.3), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(slope * x, 0.45))
        pyro.sample("level", dist.Normal(z.mean(-1), scale))

    return Made(pv.Pair(model, guide), (torch.randn(8) + 1,))


@style(
    "survival by a factor for each row",
    batch=5,
    refused={"uncertainty": ("the pair has no observed site", "a factor has no noise")},
)
def survival_by_factor():
    times, censored, encoder = torch.rand(10) * 3 + 0.1, torch.rand(10) < 0.4, Encoder(2, 1)

    def model(times, censored):
        shape = pyro.param("shape", torch.tensor(1.5), constraint=constraints.positive)
        with pyro.plate("data", len(times)):
            frailty = pyro.sample("frailty", dist.LogNormal(0.0, 1.0))
            ended = dist.Weibull(frailty, shape).log_prob(times)
            pyro.factor("times", torch.where(censored, -((times / frailty) ** shape), ended))

    def guide(times, censored):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(times)):
            base = encoder(torch.stack([times.log(), censored.float()], -1)).base_dist
            pyro.sample("frailty", dist.LogNormal(base.loc[:, 0], base.scale[:, 0]))

    return Made(pv.Pair(model, guide), (times, censored), (encoder,))


@style("factors of words and documents, a parameter for each", plate="documents", grid=BOTH, steps=400)
def poisson_factors():
    counts = torch.poisson(torch.rand(9, 2) @ torch.rand(2, 5) * 4)

    def model(x):
        topics = pyro.sample("topics", dist.Gamma(torch.full((2, 5), 0.8), 0.5).to_event(2))
        with pyro.plate("documents", x.shape[0]):
            shares = pyro.sample("shares", dist.Gamma(torch.ones(2), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson(shares @ topics).to_event(1), obs=x)

    def site(name, *shape):
        loc = pyro.param(f"{name} loc", torch.zeros(*shape))
        scale = pyro.param(f"{name} scale", torch.full(shape, 0.3), constraint=constraints.positive)
        return dist.LogNormal(loc, scale)

    def guide(x):
        pyro.sample("topics", site("topics", 2, 5).to_event(2))
        with pyro.plate("documents", x.shape[0]):
            pyro.sample("shares", site("shares", 9, 2).to_event(1))

    return Made(pv.Pair(model, guide), (counts,))


NO_LENGTH = ("has none of its own to be drawn in", "a chain of any length has none of its own to be drawn in")
NO_MOMENTS = ("has no mean and variance", "a `GaussianHMM` has no mean and variance")


@style("series of any length, as one distribution", plate="series", batch=4,
       refused={"posterior_predictive": NO_LENGTH, "uncertainty": NO_MOMENTS})  # fmt: skip
def any_length():
    x, encoder = torch.randn(8, 5, 1).cumsum(1), Encoder(5, 1)

    def model(x):
        step = pyro.param("step", torch.tensor(0.7), constraint=constraints.positive)
        with pyro.plate("series", len(x)):
            level = pyro.sample("level", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            first, more = (dist.Normal(torch.zeros(1), scale).to_event(1) for scale in (1.0, step))
            seen = dist.Normal(level[..., None, :], 0.5).to_event(1)
            pyro.sample("x", dist.GaussianHMM(first, torch.eye(1), more, torch.eye(1), seen), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("series", len(x)):
            pyro.sample("level", encoder(x[..., 0]))

    return Made(pv.Pair(model, guide), (x,), (encoder,))
