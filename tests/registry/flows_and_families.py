"""Networks with state, flows, other families, more levels."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import torch
from torch import nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.pairs.pair import Pair
from registry.data import binary, counts, real
from registry.entries import LATENT, WIDTH, entry
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal


@entry("mean_field", "renyi_ok", "buffers", "dropout")
def batch_norm_and_dropout():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(WIDTH, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1))
            self.heads = nn.Linear(16, 2 * LATENT)

        def forward(self, x):
            loc, raw = self.heads(self.body(x)).chunk(2, -1)
            return loc, softplus(raw) + 1e-3

    decoder = nn.Sequential(nn.Linear(LATENT, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, WIDTH))

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return Pair(model, amortised_guide(Normalised())), binary()


@entry("mean_field", "renyi_ok", "broadcasts", "frozen")
def frozen_layer():
    """Features from elsewhere, frozen and never registered (`pyro.module` warns of frozen parameters)."""
    features = nn.Linear(WIDTH, 16).requires_grad_(False)
    encoder, decoder = Encoder(16), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(features(x).tanh())).to_event(1))

    return Pair(model, guide), binary()


@entry("renyi_ok", "broadcasts")
def autoregressive_flow_guide():
    encoder, decoder = Encoder(latent=4), decoder_net(4)
    flow = transforms.affine_autoregressive(4, hidden_dims=[16])

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x, 4))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(*encoder(x)).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    return Pair(model, guide), binary()


@entry("renyi_ok", "broadcasts")
def coupling_flow_prior():
    encoder, decoder = Encoder(), decoder_net()
    couplings = nn.ModuleList([transforms.affine_coupling(LATENT, hidden_dims=[16]) for _ in range(2)])
    steps = [couplings[0], transforms.Permute(torch.tensor([1, 0])), couplings[1]]

    def model(x):
        pyro.module("decoder", decoder)
        pyro.module("prior", couplings)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.TransformedDistribution(standard_normal(x), steps))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), binary()


@entry("mean_field", "renyi_ok", "broadcasts", "lazy")
def student_t():
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        degrees = pyro.param("degrees", torch.tensor(4.0), constraint=constraints.greater_than(2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.StudentT(degrees, decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


@entry("mean_field", "renyi_ok", "broadcasts", "covariates", "lazy")
def negative_binomial():
    """Counts with a size per row, given beside them, as for single cells."""
    encoder, decoder = Encoder(), nn.Sequential(decoder_net(), nn.Softmax(-1))

    def model(x, size):
        pyro.module("decoder", decoder)
        dispersion = pyro.param("dispersion", lambda: torch.ones(WIDTH), constraint=constraints.positive)
        with pyro.plate("cells", len(x)):
            z = pyro.sample("z", standard_normal(x))
            logits = (size.unsqueeze(-1) * decoder(z) + 1e-6).log() - dispersion.log()
            pyro.sample("x", dist.NegativeBinomial(dispersion, logits=logits).to_event(1), obs=x)

    def guide(x, size):
        pyro.module("encoder", encoder)
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x.log1p())).to_event(1))

    return Pair(model, guide), (counts(), counts().sum(-1))


@entry("broadcasts", "renyi_ok", latent="z1 z2")
def hierarchical():
    """Two levels of latents: z2 -> z1 -> x, and back again in the guide."""
    encoder1, encoder2 = Encoder(latent=4), Encoder(4, LATENT)
    level, decoder = Encoder(LATENT, 4), decoder_net(4)

    def model(x):
        pyro.module("level", level)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", standard_normal(x))
            z1 = pyro.sample("z1", dist.Normal(*level(z2)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z1)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder1", encoder1)
        pyro.module("encoder2", encoder2)
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(*encoder1(x)).to_event(1))
            pyro.sample("z2", dist.Normal(*encoder2(z1)).to_event(1))

    return Pair(model, guide), binary()


@entry("renyi_ok", "broadcasts", "lazy")
def mixture_prior():
    """A marginalised mixture as the prior: one site, no enumeration."""
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        logits = pyro.param("logits", torch.zeros(3))
        centres = pyro.param("centres", lambda: torch.randn(3, LATENT))
        components = dist.Normal(centres, 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(logits=logits), components))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), binary()


@entry("mean_field", "renyi_ok", "broadcasts", "building")
def built_in():
    import pyrovae as pv

    likelihood = pv.Bernoulli(pv.MLP(LATENT, [16], WIDTH))
    posterior = pv.DiagNormal(pv.MLP(WIDTH, [16], 2 * LATENT))
    return pv.VAE(prior=pv.StandardNormal(LATENT), likelihood=likelihood, posterior=posterior), binary()
