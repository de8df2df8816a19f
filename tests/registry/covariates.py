"""Arguments: covariates, keywords, none of them latent."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyrovae.pairs.pair import Pair
from registry.data import grey, labels, real
from registry.entries import LATENT, WIDTH, entry
from registry.networks import Encoder, decoder_net, standard_normal


@entry("mean_field", "renyi_ok", "covariates")
def covariates():
    """A conditional VAE; `torch.cat` of two tensors does not broadcast."""
    encoder, decoder = Encoder(WIDTH + 3), decoder_net(LATENT + 3)

    def model(x, c):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, c], -1)), 0.5).to_event(1), obs=x)

    def guide(x, c):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(torch.cat([x, c], -1))).to_event(1))

    return Pair(model, guide), (real(), nn.functional.one_hot(labels(3), 3).float())


@entry("mean_field", "renyi_ok", "broadcasts", "keywords", observed="image label")
def keywords():
    """Two observed sites, one of them of integers; the data are a dict, the plate has a dim."""
    encoder, decoder, classifier = Encoder(16), decoder_net(outputs=16), nn.Linear(LATENT, 3)

    def model(*, image, label):
        pyro.module("decoder", decoder)
        pyro.module("classifier", classifier)
        with pyro.plate("data", label.shape[0], dim=-1):
            z = pyro.sample("z", standard_normal(image))
            pixels = decoder(z).unflatten(-1, (1, 4, 4))
            pyro.sample("image", dist.ContinuousBernoulli(logits=pixels).to_event(3), obs=image)
            pyro.sample("label", dist.Categorical(logits=classifier(z)), obs=label)

    def guide(*, image, label):
        pyro.module("encoder", encoder)
        with pyro.plate("data", label.shape[0], dim=-1):
            pyro.sample("z", dist.Normal(*encoder(image.flatten(-3))).to_event(1))

    return Pair(model, guide), {"image": grey(1, 4, 4), "label": labels(3)}


@entry("mean_field", "broadcasts", "covariates", "no_latent", "lazy", latent="", observed="y")
def maximum_likelihood():
    net = nn.Linear(WIDTH, 1)

    def model(c, y):
        pyro.module("net", net)
        log_scale = pyro.param("log_scale", torch.tensor(0.0))
        with pyro.plate("data", len(c)):
            pyro.sample("y", dist.Normal(net(c).squeeze(-1), log_scale.exp()), obs=y)

    def guide(c, y):
        pass

    return Pair(model, guide), (real(), real(2)[:, 0])
