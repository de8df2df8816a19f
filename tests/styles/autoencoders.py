"""Autoencoders: plain, conditional, with a flow as prior."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
from pyro.contrib.autoname import scope
from torch import nn

from styles.style import BOTH, Made, style


def pictures(rows: int = 12, width: int = 6) -> torch.Tensor:
    z = torch.randn(rows, 2)
    return (z @ torch.randn(2, width) > 0).float()


class Coder(nn.Module):
    """One hidden layer, and as many outputs as are asked for."""

    def __init__(self, inputs: int, outputs: int, count: int = 1):
        super().__init__()
        self.hidden = nn.Linear(inputs, 8)
        self.heads = nn.ModuleList(nn.Linear(8, outputs) for _ in range(count))

    def forward(self, x):
        found = [head(torch.tanh(self.hidden(x))) for head in self.heads]
        return found if len(found) > 1 else found[0]


def joined(*parts):
    """Side by side, whatever is enumerated to their left."""
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, -1) for part in parts], -1)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Coder(6, 2, 2), Coder(2, 6)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(x.shape[0], 2), x.new_ones(x.shape[0], 2)).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))


@style("VAE", batch=6)
def vae():
    return Made(VAE(), (pictures(),))


class ConditionalVAE(nn.Module):
    """The lower half of a picture, given the upper half: prior and posterior are networks."""

    def __init__(self):
        super().__init__()
        self.prior_net, self.recognition_net = Coder(3, 2, 2), Coder(6, 2, 2)
        self.generation_net = Coder(5, 3)

    def model(self, xs, ys):
        pyro.module("generation_net", self)
        with pyro.plate("data", xs.shape[0]):
            loc, log_scale = self.prior_net(xs)
            zs = pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
            logits = self.generation_net(torch.cat([zs, xs], -1))
            pyro.sample("y", dist.Bernoulli(logits=logits).to_event(1), obs=ys)

    def guide(self, xs, ys):
        with pyro.plate("data", xs.shape[0]):
            loc, log_scale = self.recognition_net(torch.cat([xs, ys], -1))
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


@style("conditional VAE", batch=6)
def conditional_vae():
    return Made(ConditionalVAE(), pictures().split(3, -1))


class FlowPrior(nn.Module):
    """A normalizing flow in the place of the standard normal."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Coder(6, 2, 2), Coder(2, 6)
        self.coupling, self.spline = T.affine_coupling(2, [8]), T.spline(2, count_bins=4)

    def model(self, x):
        pyro.module("flow_vae", self)
        base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.TransformedDistribution(base, [self.coupling, self.spline]))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


@style("VAE with a flow as prior", batch=6)
def flow_prior():
    net = FlowPrior()
    return Made(net, (pictures(),), (net,))


class LinearVAE(nn.Module):
    """Of which the evidence is known: probabilistic principal components."""

    def __init__(self):
        super().__init__()
        self.decoder, self.loc = nn.Linear(1, 3), nn.Linear(3, 1)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def model(self, x):
        pyro.module("linear", self)
        with pyro.plate("data", 10, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", 10, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(self.loc(x), self.log_scale.exp()).to_event(1))


def of_linear(pair, data):
    weight = pair.decoder.weight
    return dist.MultivariateNormal(pair.decoder.bias, weight @ weight.T + 0.25 * torch.eye(3)).log_prob(data[0])


@style("linear VAE, a plate of written size", batch=5, exact=of_linear)
def linear_vae():
    z = torch.randn(10, 1)
    return Made(LinearVAE(), (z @ torch.tensor([[1.0, -0.5, 0.3]]) + 0.4 * torch.randn(10, 3),))


class Scoped:
    """Names of sites by `pyro.contrib.autoname.scope`; the size of all rows is written into the plate."""

    @scope(prefix="outer")
    def model(self, x):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 8):
            z = pyro.sample("z", dist.Normal(level, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    @scope(prefix="outer")
    def guide(self, x):
        level = pyro.sample("level", dist.Normal(pyro.param("level", torch.tensor(0.0)), 0.3))
        with pyro.plate("data", 8):
            pyro.sample("z", dist.Normal((level + 4 * x) / 5, pyro.param("scale", torch.tensor(0.5)).abs()))


@style("scoped names, a plate of the size of all rows", grid=BOTH)
def scoped():
    return Made(Scoped(), (torch.randn(8),))
