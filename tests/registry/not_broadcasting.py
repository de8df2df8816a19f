"""Pairs that do not broadcast over one more leading dim."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.nn.functional import softplus

from pyrovae.pairs.pair import Pair
from registry.data import binary, real
from registry.entries import LATENT, ROWS, WIDTH, entry
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal


@entry("mean_field", "renyi_ok")
def images_by_view():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(LATENT, 4 * 2 * 2)
            self.deconvolution = nn.ConvTranspose2d(4, 1, 2, stride=2)

        def forward(self, z):
            hidden = torch.relu(self.linear(z)).view(-1, 4, 2, 2)
            return self.deconvolution(hidden)

    encoder, decoder = Encoder(16), Decoder()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(3), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x.view(-1, 16))).to_event(1))

    return Pair(model, guide), binary(1, 4, 4)


@entry("mean_field", "renyi_ok", "lazy")
def columns_of_latent():
    """`z[:, 0]` takes another dim as soon as there is one more; the noise differs by row."""
    encoder, decoder = Encoder(), decoder_net(1)

    def model(x):
        pyro.module("decoder", decoder)
        slope = pyro.param("slope", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            scale = softplus(1 + slope * z[:, 1]).unsqueeze(-1)
            pyro.sample("x", dist.Normal(decoder(z[:, 0].unsqueeze(-1)), scale).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


@entry("mean_field", "global", "subsampled", "lazy", global_sites="w")
def product_with_global():
    """`z @ w.T` with a global w: one more leading dim of w, and `.T` is another thing."""
    encoder = Encoder()

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(WIDTH, LATENT), 1.0).to_event(2))
        with pyro.plate("data", size=ROWS, subsample_size=len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(z @ w.T, 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc = pyro.param("w_loc", lambda: 0.1 * torch.randn(WIDTH, LATENT))
        pyro.sample("w", dist.Normal(loc, 0.1).to_event(2))
        with pyro.plate("data", size=ROWS, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(model, guide), real()
