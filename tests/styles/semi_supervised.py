"""Labels that are known, drawn, summed out, or known in some rows of a batch."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import nn

import pyrovae as pv
from styles.autoencoders import Coder, joined, pictures
from styles.style import Made, style

CLASSES = 3


class SSVAE(nn.Module):
    """After the example: digits of a class and a style of writing."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder_y = Coder(CLASSES + 2, 6), Coder(6, CLASSES)
        self.encoder_z = Coder(CLASSES + 6, 2, 2)

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data", xs.size(0)):
            zs = pyro.sample("z", dist.Normal(xs.new_zeros(xs.size(0), 2), 1.0).to_event(1))
            probabilities = torch.ones(xs.size(0), CLASSES) / CLASSES
            ys = pyro.sample("y", dist.OneHotCategorical(probabilities), obs=ys)
            logits = self.decoder(joined(zs, ys))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with pyro.plate("data", xs.size(0)):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(logits=self.encoder_y(xs)))
            loc, log_scale = self.encoder_z(joined(xs, ys))
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def labels():
    return torch.eye(CLASSES)[torch.arange(12) % CLASSES]


@style("semi-supervised VAE, labels known", batch=6)
def labels_known():
    net = SSVAE()
    return Made(pv.Pair(net.model, net.guide), (pictures(), labels()))


@style("semi-supervised VAE, labels drawn", batch=6)
def labels_drawn():
    net = SSVAE()
    return Made(pv.Pair(net.model, net.guide), (pictures(),))


@style("semi-supervised VAE, labels summed out", batch=6, loss=lambda: TraceEnum_ELBO(max_plate_nesting=1))
def labels_summed_out():
    net = SSVAE()
    return Made(pv.Pair(net.model, config_enumerate(net.guide)), (pictures(),))


class InOneBatch(nn.Module):
    """Some rows have a label, others none; the mask says which."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = Coder(1, 4), Coder(4, 1, 2)

    def model(self, x, y, known):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(torch.zeros(len(x)), 1.0), obs=y, obs_mask=known)
            pyro.sample("x", dist.Normal(self.decoder(y.unsqueeze(-1)), 0.5).to_event(1), obs=x)

    def guide(self, x, y, known):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)), poutine.mask(mask=~known):
            loc, log_scale = (part.squeeze(-1) for part in self.encoder(x))
            pyro.sample("y_unobserved", dist.Normal(loc, log_scale.exp()))


@style("semi-supervised VAE, some labels of a batch", batch=6)
def labels_of_some():
    y = torch.randn(12)
    x = y.unsqueeze(-1) * torch.tensor([1.0, -1.0, 0.5, 0.2]) + 0.3 * torch.randn(12, 4)
    return Made(InOneBatch(), (x, y, torch.arange(12) % 3 > 0))
