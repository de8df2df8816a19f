"""Networks, as they stand in many a script."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import nn
from torch.nn.functional import softplus

from registry.entries import LATENT, WIDTH


class Encoder(nn.Module):
    def __init__(self, inputs=WIDTH, latent=LATENT, hidden=16):
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.loc = nn.Linear(hidden, latent)
        self.log_scale = nn.Linear(hidden, latent)

    def forward(self, x):
        hidden = softplus(self.hidden(x))
        return self.loc(hidden), torch.exp(self.log_scale(hidden))


def decoder_net(latent=LATENT, outputs=WIDTH, hidden=16):
    return nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def standard_normal(x, latent=LATENT):
    return dist.Normal(x.new_zeros(latent), x.new_ones(latent)).to_event(1)


def amortised_guide(encoder, name="encoder"):
    """The guide that most scripts share: one Normal latent, its parameters from an encoder."""

    def guide(x):
        pyro.module(name, encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return guide
