"""Plates, masks, auxiliary sites, factors, scales."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import nn

from pyrovae.pairs.pair import Pair
from registry.data import binary, labels, real
from registry.entries import LATENT, ROWS, WIDTH, entry
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal
from registry.plain_functions import bound_methods_one_module


@entry("broadcasts", "renyi_ok", "mean_field", "nested")
def nested_plates():
    """The data plate at dim -2, one of features at -1: no `to_event` on the observed site."""
    encoder, decoder = Encoder(latent=1), decoder_net(1)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("features", WIDTH, dim=-1):
                pyro.sample("x", dist.Bernoulli(logits=decoder(z)), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(*encoder(x)))

    return Pair(model, guide), binary()


@entry(
    "broadcasts",
    "mean_field",
    "nested",
    "global",
    "subsampled",
    "lazy",
    global_sites="loading",
    loss=TraceMeanField_ELBO,
)
def crossed_plates():
    """Factor analysis: one loading per feature, outside the data plate but inside that of features."""
    encoder = Encoder(latent=1)

    def model(x):
        features = pyro.plate("features", WIDTH, dim=-1)
        with features:
            loading = pyro.sample("loading", dist.Normal(0.0, 1.0))
        with pyro.plate("data", ROWS, subsample_size=len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with features:
                pyro.sample("x", dist.Normal(z * loading, 0.5), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("features", WIDTH, dim=-1):
            pyro.sample("loading", dist.Normal(pyro.param("loading_loc", lambda: 0.1 * torch.randn(WIDTH)), 0.1))
        with pyro.plate("data", ROWS, subsample_size=len(x), dim=-2):
            pyro.sample("z", dist.Normal(*encoder(x)))

    return Pair(model, guide), real()


@entry("renyi_ok", "broadcasts", "auxiliary", auxiliary="u")
def auxiliary_by_hand():
    """The guide draws u and says what that means for z > 0, as Pyro's autoguides do."""
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(x.new_full((LATENT,), 2.0), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            normal = dist.Normal(*encoder(x)).to_event(1)
            u = pyro.sample("u", normal, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u.exp(), log_density=-u.sum(-1), event_dim=1))

    return Pair(model, guide), real()


@entry("mean_field", "renyi_ok", "broadcasts", "covariates", "masked", observed="x label")
def masked_rows():
    """Rows without a label count for nothing at that site."""
    encoder, decoder, classifier = Encoder(), decoder_net(), nn.Linear(LATENT, 3)

    def model(x, label, known):
        pyro.module("decoder", decoder)
        pyro.module("classifier", classifier)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)
            with poutine.mask(mask=known):
                pyro.sample("label", dist.Categorical(logits=classifier(z)), obs=label)

    def guide(x, label, known):
        amortised_guide(encoder)(x)

    return Pair(model, guide), (real(), labels(3), labels(2) == 0)


@entry("broadcasts", "renyi_ok", "mean_field", "covariates", "masked", "nested")
def masked_elements():
    """Missing entries: a mask on each element, so the features stand in a plate."""
    encoder, decoder = Encoder(), decoder_net()

    def model(x, seen):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1, LATENT), 1.0).to_event(1))
            with pyro.plate("features", WIDTH, dim=-1):
                loc = decoder(z.squeeze(-2))
                pyro.sample("x", dist.Normal(loc, 0.5).mask(seen), obs=x)

    def guide(x, seen):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), dim=-2):
            loc, scale = encoder(x * seen)
            pyro.sample("z", dist.Normal(loc.unsqueeze(-2), scale.unsqueeze(-2)).to_event(1))

    seen = torch.rand(ROWS, WIDTH, generator=torch.Generator().manual_seed(3)) < 0.8
    return Pair(model, guide), (real() * seen, seen)


@entry("broadcasts", "renyi_ok", "mean_field", "covariates", "masked", latent="z y_unobserved", observed="x y_observed")
def observation_mask():
    """`obs_mask`: labels that are not known are latent, `y_unobserved`, and the guide draws them."""
    encoder, decoder = Encoder(), decoder_net()
    head, classifier = nn.Linear(LATENT, 1), nn.Linear(WIDTH, 2)

    def model(x, y, known):
        pyro.module("decoder", decoder)
        pyro.module("head", head)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            y = pyro.sample("y", dist.Normal(head(z).squeeze(-1), 0.5), obs=y, obs_mask=known)
            pyro.sample("x", dist.Normal(decoder(z) + y.unsqueeze(-1), 0.5).to_event(1), obs=x)

    def guide(x, y, known):
        pyro.module("encoder", encoder)
        pyro.module("classifier", classifier)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))
            loc, log_scale = classifier(x).unbind(-1)
            with poutine.mask(mask=~known):
                pyro.sample("y_unobserved", dist.Normal(loc, log_scale.exp()))

    return Pair(model, guide), (real(), real(2)[:, 0], labels(2) == 0)


@entry("mean_field", "renyi_ok", "broadcasts", "factor", "deterministic")
def deterministic_and_factor():
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            mean = pyro.deterministic("mean", decoder(z), event_dim=1)
            pyro.factor("smoothness", -0.1 * mean.diff(dim=-1).square().sum(-1))
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


@entry("mean_field", "broadcasts", "scaled")
def scaled_by_author():
    """An author's own beta of 0.5, on both sides as it should be."""
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.5):
                z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return Pair(model, poutine.scale(amortised_guide(encoder), scale=0.5)), binary()


@entry("mean_field", "broadcasts", "scaled")
def scaled_to_one_datum():
    """Everything divided by a constant, so that losses read per element."""
    pair, x = bound_methods_one_module()
    scale = poutine.scale(scale=1.0 / WIDTH)
    return Pair(scale(pair.model), scale(pair.guide)), x


@entry("mean_field", "renyi_ok", "broadcasts")
def conditioned():
    """The generative program knows no data; `condition` gives them."""
    encoder, decoder = Encoder(), decoder_net()

    def generative(count):
        pyro.module("decoder", decoder)
        with pyro.plate("data", count):
            z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(LATENT), torch.eye(LATENT)))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1))

    def model(x):
        return poutine.condition(generative, data={"x": x})(len(x))

    return Pair(model, amortised_guide(encoder)), real()


@entry("renyi_ok", "covariates", "masked", latent="z_0 z_1 z_2", observed="x_0 x_1 x_2")
def time_steps():
    """A deep Markov model: sites in a Python loop, sequences of several lengths under a mask."""
    transition, emission = Encoder(LATENT, LATENT), decoder_net(outputs=4)
    combiner = Encoder(LATENT + 4, LATENT)

    def model(x, lengths):
        pyro.module("transition", transition)
        pyro.module("emission", emission)
        with pyro.plate("sequences", len(x)):
            z = x.new_zeros(len(x), LATENT)
            for t in range(x.shape[1]):
                with poutine.mask(mask=t < lengths):
                    z = pyro.sample(f"z_{t}", dist.Normal(*transition(z)).to_event(1))
                    pyro.sample(f"x_{t}", dist.Bernoulli(logits=emission(z)).to_event(1), obs=x[:, t])

    def guide(x, lengths):
        pyro.module("combiner", combiner)
        with pyro.plate("sequences", len(x)):
            z = x.new_zeros(len(x), LATENT)
            for t in range(x.shape[1]):
                with poutine.mask(mask=t < lengths):
                    z = pyro.sample(f"z_{t}", dist.Normal(*combiner(torch.cat([z, x[:, t]], -1))).to_event(1))

    return Pair(model, guide), (binary(3, 4), 1 + labels(3))


@entry("mean_field", "broadcasts", "scaled")
def likelihood_scaled_by_author():
    """The other way to a beta: the likelihood alone is scaled, which is sound."""
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            with poutine.scale(scale=2.0):
                pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), binary()
