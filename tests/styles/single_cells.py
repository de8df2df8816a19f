"""Counts of genes in cells: scANVI, with its author's scale and the classifier's part of the loss."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import nn

import pyrovae as pv
from styles.autoencoders import Coder, joined
from styles.style import Made, style

GENES, TYPES = 5, 3
SCALE = 1 / 60


class ScANVI(nn.Module):
    """A latent code of the cell, one of what its type leaves, and the size of its library."""

    def __init__(self, *, labelled: bool):
        super().__init__()
        self.labelled = labelled
        self.z2_decoder, self.x_decoder = Coder(2 + TYPES, 2, 2), Coder(2, GENES, 2)
        self.z2l_encoder, self.classifier = Coder(GENES, 3, 2), Coder(2, TYPES)
        self.z1_encoder, self.theta = Coder(2 + TYPES, 2, 2), nn.Parameter(torch.zeros(GENES))

    def model(self, x, y):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=SCALE):
            z1 = pyro.sample("z1", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(TYPES)), obs=y if self.labelled else None)
            loc, log_scale = self.z2_decoder(joined(z1, y))
            z2 = pyro.sample("z2", dist.Normal(loc, log_scale.exp()).to_event(1))
            size = pyro.sample("l", dist.LogNormal(torch.tensor([1.5]), 0.5).to_event(1))
            rate, gate = self.x_decoder(z2)
            mean = size * torch.softmax(rate, -1)
            logits = (mean + 1e-4).log() - self.theta
            likelihood = dist.ZeroInflatedNegativeBinomial(
                gate_logits=gate, total_count=self.theta.exp(), logits=logits, validate_args=False
            )
            pyro.sample("x", likelihood.to_event(1), obs=x)

    def guide(self, x, y):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=SCALE):
            loc, log_scale = self.z2l_encoder(x.log1p())
            z2 = pyro.sample("z2", dist.Normal(loc[..., :2], log_scale[..., :2].exp()).to_event(1))
            pyro.sample("l", dist.LogNormal(loc[..., 2:] + 1, (log_scale[..., 2:] - 1).exp()).to_event(1))
            kinds = dist.OneHotCategorical(logits=self.classifier(z2))
            if self.labelled:
                pyro.factor("classification_loss", 10 * kinds.log_prob(y), has_rsample=False)
            else:
                y = pyro.sample("y", kinds)
            loc, log_scale = self.z1_encoder(joined(z2, y))
            pyro.sample("z1", dist.Normal(loc, log_scale.exp()).to_event(1))


def cells():
    return torch.poisson(torch.rand(10, GENES) * 4), torch.eye(TYPES)[torch.arange(10) % TYPES]


@style("scANVI, labelled, with its author's scale", plate="batch", batch=5, draws=24)
def scanvi_labelled():
    net = ScANVI(labelled=True)
    return Made(pv.Pair(net.model, net.guide), cells())


@style("scANVI, types summed out", plate="batch", batch=5, draws=24, loss=lambda: TraceEnum_ELBO(max_plate_nesting=1))
def scanvi_summed_out():
    net = ScANVI(labelled=False)
    return Made(pv.Pair(net.model, config_enumerate(net.guide)), cells())
