"""Plain functions, bound methods, partial functions and lambdas."""

from __future__ import annotations

import functools

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

from pyrovae.pairs.pair import Pair
from registry.data import binary, grey, real
from registry.entries import LATENT, WIDTH, entry
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal


@entry("mean_field", "renyi_ok", "broadcasts")
def plain_functions():
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENT), torch.ones(LATENT)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = encoder(x)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return Pair(model, guide), binary()


class TutorialVAE(nn.Module):
    """The class of Pyro's VAE tutorial: bound methods, one module of two registered by each."""

    def __init__(self, z_dim=LATENT, hidden_dim=16, validate_args=None):
        super().__init__()
        self.encoder = Encoder(WIDTH, z_dim, hidden_dim)
        self.decoder = nn.Sequential(decoder_net(z_dim, WIDTH, hidden_dim), nn.Sigmoid())
        self.z_dim = z_dim
        self.validate_args = validate_args

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = x.new_zeros(torch.Size((x.shape[0], self.z_dim)))
            z_scale = x.new_ones(torch.Size((x.shape[0], self.z_dim)))
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder(z)
            likelihood = dist.Bernoulli(loc_img, validate_args=self.validate_args).to_event(1)
            pyro.sample("obs", likelihood, obs=x.reshape(-1, WIDTH))

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


@entry("mean_field", "renyi_ok", "broadcasts", latent="latent", observed="obs", loss=TraceMeanField_ELBO)
def bound_methods():
    return TutorialVAE(), binary()


@entry("mean_field", "renyi_ok", "broadcasts", "unvalidated", latent="latent", observed="obs")
def grey_unvalidated():
    return TutorialVAE(validate_args=False), grey()


@entry("mean_field", "renyi_ok", "broadcasts")
def bound_methods_one_module():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Encoder(), decoder_net()

        def model(self, x):
            pyro.module("both", self)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", standard_normal(x))
                pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x)

        def guide(self, x):
            pyro.module("both", self)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(*self.encoder(x)).to_event(1))

    return Both(), real()


@entry("renyi_ok", "broadcasts", loss=functools.partial(Trace_ELBO, num_particles=3, vectorize_particles=True))
def partial_functions():
    def model(decoder, noise, x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Laplace(decoder(z), noise).to_event(1), obs=x)

    def guide(x, encoder):
        amortised_guide(encoder)(x)

    pair = Pair(functools.partial(model, decoder_net(), 0.5), functools.partial(guide, encoder=Encoder()))
    return pair, real()


@entry("mean_field", "renyi_ok", "broadcasts", loss=functools.partial(RenyiELBO, alpha=0, num_particles=4))
def lambdas():
    encoder, decoder = Encoder(), decoder_net()

    def generative(x, net, noise):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(net(z), noise).to_event(1), obs=x)

    model = lambda x: generative(x, pyro.module("decoder", decoder), 0.5)  # noqa: E731
    guide = lambda x: amortised_guide(encoder)(x)  # noqa: E731
    return Pair(model, guide), real()


@entry("mean_field", "renyi_ok", "broadcasts", "no_plate_size")
def plate_without_size():
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data"):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data"):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(model, guide), real()
