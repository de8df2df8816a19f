"""Data outside the support, of another type or on another device."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from registry import LATENT, Encoder, amortised_guide, binary, counts, decoder_net, grey, labels, real, standard_normal
from torch import nn

from broken.entries import broken, sound_model, vae
from pyrovae.pairs.pair import Pair

# Data outside the likelihood's support.


@broken("support", "error", "x", "bernoulli", "binari")
def grey_under_bernoulli():
    # ValueError from log_prob: "to be within the support (Boolean())", with the whole tensor printed.
    return vae(lambda out: dist.Bernoulli(logits=out).to_event(1), grey())


@broken("support", "warning", "x", "bernoulli", "binari")
def grey_under_unvalidated_bernoulli():
    # silent: not a density. Pyro's own VAE example does this.
    return vae(lambda out: dist.Bernoulli(logits=out, validate_args=False).to_event(1), grey())


@broken("support", "error", "x", "bernoulli")
def bytes_under_bernoulli():
    # ValueError as above.
    return vae(lambda out: dist.Bernoulli(logits=out).to_event(1), (255 * grey()).round())


@broken("support", "error", "x", "continuousbernoulli", "0", "1")
def bytes_under_continuous_bernoulli():
    # ValueError "support (Interval(lower_bound=0.0, upper_bound=1.0))".
    return vae(lambda out: dist.ContinuousBernoulli(logits=out).to_event(1), (255 * grey()).round())


@broken("support", "error", "x", "poisson")
def negative_counts():
    # the encoder takes them; ValueError "support (IntegerGreaterThan(lower_bound=0))".
    return vae(lambda out: dist.Poisson(out.exp()).to_event(1), counts() - 3)


@broken("support", "error", "x", "negativebinomial", "integer")
def fractional_counts():
    # ValueError as above.
    return vae(lambda out: dist.NegativeBinomial(3.0, logits=out).to_event(1), counts() + 0.5)


@broken("support", "error", "x", "beta")
def ends_of_the_interval_under_beta():
    # 0 and 1 pass validation, since torch's support of Beta is the closed interval; log_prob is -inf or inf.
    # Warns "Encountered NaN: log_prob_sum at site 'x'"; the next step fails in the guide: "parameter loc ... nan".
    return vae(lambda out: dist.Beta(out.exp(), 1.0).to_event(1), binary())


@broken("support", "warning", "x", "poisson")
def fractional_counts_unvalidated():
    # silent.
    return vae(lambda out: dist.Poisson(out.exp(), validate_args=False).to_event(1), counts() + 0.5)


@broken("support", "error", "label", "categorical", "3")
def label_beyond_the_last_class():
    # ValueError "support (IntegerInterval(lower_bound=0, upper_bound=2))"; without validation an index error.
    classifier, encoder = nn.Linear(LATENT, 3), Encoder()

    def model(x, label):
        pyro.module("classifier", classifier)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("label", dist.Categorical(logits=classifier(z)), obs=label)

    def guide(x, label):
        amortised_guide(encoder)(x)

    return Pair(model, guide), (real(), labels(4))


@broken("support", "error", "x", "gamma", "0")
def zeros_under_gamma():
    # 0 passes validation, since torch's support of Gamma is closed at 0; log_prob is -inf, the loss inf for ever:
    # no error, no warning.
    return vae(lambda out: dist.Gamma(2.0, out.exp()).to_event(1), counts())


@broken("support", "error", "x", "nan")
def missing_values_as_nan():
    # ValueError "support (Real())" at x, the whole tensor printed; without validation: the loss is NaN, one warning.
    class Filled(Encoder):
        def forward(self, x):
            return super().forward(x.nan_to_num())

    x = real()
    x[2, 3] = torch.nan
    return Pair(sound_model(decoder_net()), amortised_guide(Filled())), x


@broken("support", "error", "x", "inf")
def infinite_values():
    # inf passes validation as real: log_prob is -inf, the loss inf; the next step fails in the guide, "parameter loc
    # ... nan", far from the cause.
    class Bounded(Encoder):
        def forward(self, x):
            return super().forward(x.clamp(-5, 5))

    x = real()
    x[2, 3] = torch.inf
    return Pair(sound_model(decoder_net()), amortised_guide(Bounded())), x


# Types and devices.


@broken("dtype", "error", "float64", "float32")
def double_data_into_single_net():
    # RuntimeError "mat1 and mat2 must have the same dtype, but got Double and Float" and a trace, no site name.
    return vae(lambda out: dist.Normal(out, 0.5).to_event(1), real().double())


@broken("dtype", "error", "int64", "float32")
def whole_numbers_into_a_net():
    # RuntimeError "... but got Long and Float".
    return vae(lambda out: dist.Poisson(out.exp()).to_event(1), counts().long())


@broken("dtype", "error", "uint8", "float32")
def bytes_into_a_net():
    # RuntimeError "... but got Byte and Float".
    return vae(lambda out: dist.Bernoulli(logits=out).to_event(1), binary().to(torch.uint8))


@broken("dtype", "error", "x", "uint8")
def bytes_observed_by_bernoulli():
    # RuntimeError "result type Float can't be cast to the desired output type Byte" (Normal and Poisson take uint8;
    # Bernoulli and ContinuousBernoulli take neither uint8 nor int64).
    class Cast(Encoder):
        def forward(self, x):
            return super().forward(x.float())

    model = sound_model(decoder_net(), lambda out: dist.Bernoulli(logits=out).to_event(1))
    return Pair(model, amortised_guide(Cast())), binary().to(torch.uint8)


@broken("dtype", "error", "float64", "float32")
def encoder_in_double():
    # RuntimeError "... but got Double and Float", from the decoder.
    return Pair(sound_model(decoder_net()), amortised_guide(Encoder().double())), real().double()


@broken("dtype", "error", "c", "float32", "int")
def class_numbers_as_floats():
    # RuntimeError "Expected tensor for argument #1 'indices' to have ... Long, Int; but got torch.FloatTensor".
    embedding, decoder, encoder = nn.Embedding(3, 4), decoder_net(LATENT + 4), Encoder()

    def model(x, c):
        pyro.module("decoder", decoder)
        pyro.module("embedding", embedding)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            loc = decoder(torch.cat([z, embedding(c)], -1))
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    def guide(x, c):
        amortised_guide(encoder)(x)

    return Pair(model, guide), (real(), labels(3).float())


@broken("device", "error", "cpu", "meta")
def data_on_another_device():
    # a meta tensor stands for another device; RuntimeError "Tensor on device cpu is not on the expected device meta!".
    return vae(lambda out: dist.Normal(out, 0.5).to_event(1), real().to("meta"))


@broken("device", "error", "cpu", "meta", "decoder")
def decoder_on_another_device():
    # RuntimeError "Tensor on device meta is not on the expected device cpu!".
    return Pair(sound_model(decoder_net().to("meta")), amortised_guide(Encoder())), real()
