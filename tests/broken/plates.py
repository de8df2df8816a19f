"""Plates and scales that do not match."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from registry import LATENT, WIDTH, Encoder, amortised_guide, decoder_net, labels, real, standard_normal
from torch import nn

from broken.entries import broken, sound_model
from pyrovae.pairs.pair import Pair

# The scale of the data plate.


@broken("plate-scale", "error", "weight", "data", "1000", "subsample_size", dataset_size=1000)
def global_sites_in_a_plate_of_the_batch():
    # silent: the KL of `weight` counts whole in every batch, 125 times too much at 1000 rows.
    encoder = Encoder()

    def model(x):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(LATENT, WIDTH), 1.0).to_event(2))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(z @ weight, 0.5).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("weight_loc", lambda: torch.randn(LATENT, WIDTH))
        pyro.sample("weight", dist.Normal(loc, 0.1).to_event(2))
        amortised_guide(encoder)(x)

    return Pair(model, guide), real()


@broken("plate-scale", "error", "weight", "data", "1000", "subsample_size", dataset_size=1000)
def bayesian_weights_in_a_plate_of_the_batch():
    # silent, as above.
    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.weight = PyroSample(dist.Normal(0.0, 1.0).expand([WIDTH]).to_event(1))

        def forward(self, c, y):
            loc = c @ self.weight
            with pyro.plate("data", len(c)):
                pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    model = Regression()
    return Pair(model, AutoNormal(model)), (real(), real()[:, 0])


@broken("plate-scale", "error", "weight", "data", "1000", "500", dataset_size=1000)
def plate_size_of_another_data_set():
    # silent: the likelihood counts for 500 rows.
    def model(c, y):
        weight = pyro.sample("weight", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1))
        with pyro.plate("data", 500, subsample_size=len(c)):
            pyro.sample("y", dist.Normal(c @ weight, 1.0), obs=y)

    return Pair(model, AutoNormal(model)), (real(), real()[:, 0])


# Scales.


@broken("one-sided-scale", "error", "z", "guide", "0.1")
def kl_scaled_in_the_model_only():
    # silent: log q counts whole and log p a tenth, no KL at all; the posterior is driven wide. TraceMeanField_ELBO
    # takes the guide's scale alone: it computes the plain ELBO.
    decoder = decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.1):
                z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


@broken("one-sided-scale", "error", "z", "model", "0.1")
def kl_scaled_in_the_guide_only():
    # silent; TraceMeanField_ELBO then weighs the KL by 0.1, as if both sides were scaled.
    return Pair(sound_model(decoder_net()), poutine.scale(amortised_guide(Encoder()), scale=0.1)), real()


@broken("one-sided-scale", "error", "z", "guide", "0.125")
def only_the_model_divided_by_the_batch():
    # silent: log q counts 8 times too much.
    return Pair(poutine.scale(sound_model(decoder_net()), scale=1 / 8), amortised_guide(Encoder())), real()


# Plates that do not match.


def _plate_pair(model_plate, guide_plate, encode=lambda encoder, x, index: encoder(x)):
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with model_plate(x) as index:
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x[index])

    def guide(x):
        pyro.module("encoder", encoder)
        with guide_plate(x) as index:
            pyro.sample("z", dist.Normal(*encode(encoder, x, index)).to_event(1))

    return Pair(model, guide)


def _of_1000(x):
    indices = torch.arange(len(x))
    return pyro.plate("data", 1000, subsample=indices)


@broken("plate-mismatch", "error", "data", "1000", "8")
def plate_size_in_the_model_only():
    # silent: log p counts 125 times, log q once.
    return _plate_pair(_of_1000, lambda x: pyro.plate("data", len(x))), real()


@broken("plate-mismatch", "error", "data", "1000", "8")
def plate_size_in_the_guide_only():
    # silent: log q counts 125 times, so the loss falls without end.
    return _plate_pair(lambda x: pyro.plate("data", len(x)), _of_1000), real()


@broken("plate-mismatch", "error", "data", "-1", "-2")
def plate_dims_differ():
    # ValueError "Model and guide shapes disagree at site 'z': [8, 2] vs [8, 1, 2]".
    plates = (lambda x: pyro.plate("data", len(x), dim=-1), lambda x: pyro.plate("data", len(x), dim=-2))
    column = lambda encoder, x, index: [one.unsqueeze(-2) for one in encoder(x)]  # noqa: E731
    return _plate_pair(*plates, column), real()


@broken("plate-mismatch", "error", "data", "rows")
def plate_names_differ_while_subsampling():
    # warns "Found plate statements in guide but not model: {'rows'}"; the guide encodes other rows than the model
    # decodes.
    model_plate = lambda x: pyro.plate("data", len(x), subsample_size=4)  # noqa: E731
    guide_plate = lambda x: pyro.plate("rows", len(x), subsample_size=4)  # noqa: E731
    return _plate_pair(model_plate, guide_plate, lambda encoder, x, index: encoder(x[index])), real()


@broken("raises", "error", "data", "multiple")
def plate_made_twice():
    # RuntimeError "Multiple sample sites named 'data'". (Without a size, or as one object entered twice, it is fine.)
    encoder = Encoder()

    def guide(x):
        amortised_guide(encoder)(x)
        with pyro.plate("data", len(x)):  # another plate of the same name
            pyro.sample("u", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})

    return Pair(sound_model(decoder_net()), guide), real()


# Masks.


@broken("one-sided-mask", "error", "y_unobserved", "poutine.mask(mask=~obs_mask)")
def guide_draws_what_is_observed_unmasked():
    # silent: log q of labels that are known counts, and no log p; the ELBO lies above the evidence.
    head, encoder, classifier = nn.Linear(LATENT, 1), Encoder(), nn.Linear(WIDTH, 2)
    decoder = decoder_net()

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
            pyro.sample("y_unobserved", dist.Normal(loc, log_scale.exp()))

    return Pair(model, guide), (real(), real(2)[:, 0], labels(2) == 0)


def _masked(program):
    return lambda x, seen: poutine.mask(program, mask=seen)(x)


@broken("one-sided-mask", "error", "z", "poutine.mask", "guide")
def plate_masked_in_the_model_only():
    # silent: log q of rows that are not there counts.
    guide = amortised_guide(Encoder())
    return Pair(_masked(sound_model(decoder_net())), lambda x, seen: guide(x)), (real(), labels(2) == 0)


@broken("one-sided-mask", "error", "z", "poutine.mask", "guide")
def guide_masked_alone():
    # silent: log p of z counts in rows where log q does not.
    model = sound_model(decoder_net())
    return Pair(lambda x, seen: model(x), _masked(amortised_guide(Encoder()))), (real(), labels(2) == 0)
