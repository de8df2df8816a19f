"""The registry's counterpart: pairs that are wrong in one way each, for every clause of `check_pair`.

The comment beside each says what Pyro 1.9.2 itself does in one `SVI.step` with `Trace_ELBO`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from registry import (
    LATENT,
    WIDTH,
    Encoder,
    ModuleGuide,
    ModuleModel,
    TutorialVAE,
    amortised_guide,
    binary,
    counts,
    decoder_net,
    grey,
    labels,
    real,
    rows,
    standard_normal,
)
from torch import nn

from pyrovae.pairs.pair import Pair

BATCH = 8


@dataclass(frozen=True)
class Broken:
    """One wrong pair: which clause finds it, how gravely, and what the message must say.

    `make()` leaves the param store as the mistake needs it; `options` go to `check_pair`.
    """

    name: str
    make: Callable[[], tuple[Any, Any]]
    clause: str
    expect: str  # "error" or "warning"
    words: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


BROKEN: dict[str, Broken] = {}


def broken(clause: str, expect: str, *words: str, **options):
    """Register the decorated maker under its own name; its data are cut to a batch of 8 rows."""

    def register(make):
        def batch():
            pair, data = make()
            return pair, (data if isinstance(data, list) else rows(data, slice(BATCH)))

        BROKEN[make.__name__] = Broken(make.__name__, batch, clause, expect, words, options)
        return make

    return register


def broken_pairs(*clauses: str) -> list:
    """The entries of these clauses, or all, for `pytest.mark.parametrize`."""
    chosen = [one for one in BROKEN.values() if not clauses or one.clause in clauses]
    return [pytest.param(one, id=one.name) for one in chosen]


def sound_model(decoder, likelihood=lambda out: dist.Normal(out, 0.5).to_event(1)):
    """What every model here would be without its mistake."""

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", likelihood(decoder(z)), obs=x)

    return model


def vae(likelihood, data):
    """A sound pair but for its likelihood or its data."""
    return Pair(sound_model(decoder_net(), likelihood), amortised_guide(Encoder())), data


# Sites that do not match.


@broken("site-missing-in-guide", "error", "z", "guide")
def guide_forgets_a_site():
    # warns "Found vars in model but not guide: {'z'}" each step; z comes from the prior, and training goes on.
    def guide(x):
        pass

    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-guide", "error", "z", "latent", "guide")
def names_differ():
    # two warnings (vars in guide but not model, vars in model but not guide); the decoder trains on prior draws.
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("latent", dist.Normal(*encoder(x)).to_event(1))

    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-guide", "error", "z2", "guide")
def guide_forgets_the_second_level():
    # warns as above; z2 comes from the prior, its log p cancels nothing and no encoder learns it.
    encoder, level, decoder = Encoder(), Encoder(LATENT), decoder_net()

    def model(x):
        pyro.module("level", level)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", standard_normal(x))
            z = pyro.sample("z", dist.Normal(*level(z2)).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


def _guide_with(more):
    """A sound guide, and one site more inside its plate."""
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))
            more(x)

    return guide


@broken("site-missing-in-model", "error", "u", "is_auxiliary")
def guide_has_one_site_more():
    # warns "Found non-auxiliary vars in guide but not model"; log q(u) stays in the loss.
    guide = _guide_with(lambda x: pyro.sample("u", dist.Normal(0.0, 1.0)))
    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-model", "error", "x", "guide", "observed")
def guide_draws_the_observed_site():
    # warns "Found non-auxiliary vars in guide but not model: {'x'}"; the model keeps the data, log q of a drawn x
    # joins the loss.
    guide = _guide_with(lambda x: pyro.sample("x", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1)))
    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-model", "error", "w", "guide", "obs")
def guide_observes():
    # warns as above, {'w'}; -log q(data) joins the loss.
    guide = _guide_with(lambda x: pyro.sample("w", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), obs=x))
    return Pair(sound_model(decoder_net()), guide), real()


@broken("site-missing-in-model", "error", "x", "guide", "obs")
def both_sides_observe():
    # warns as above, {'x'}; -log q(x) joins the loss.
    guide = _guide_with(lambda x: pyro.sample("x", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), obs=x))
    return Pair(sound_model(decoder_net()), guide), real()


# Event dims.


@broken("to-event", "error", "x", "to_event")
def likelihood_without_to_event():
    # ValueError "Shape mismatch inside plate('data') at site x dim -1, 8 vs 12": to_event is not mentioned.
    return vae(lambda out: dist.Bernoulli(logits=out), binary())


@broken("to-event", "error", "x", "to_event")
def likelihood_without_to_event_square():
    # 8 rows and 8 columns pass the plate; then ValueError "invalid log_prob shape, Expected [8], actual [8, 8]",
    # only with validation on. Without it Trace_ELBO's sum is right all the same.
    decoder = decoder_net(outputs=BATCH)
    model = sound_model(decoder, lambda out: dist.Bernoulli(logits=out))
    return Pair(model, amortised_guide(Encoder(BATCH))), binary(BATCH)


@broken("to-event", "error", "z", "to_event")
def latent_without_to_event():
    # ValueError "Shape mismatch inside plate('data') at site z dim -1, 8 vs 2", from the guide.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), LATENT), 1.0))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)))

    return Pair(model, guide), real()


@broken("to-event", "error", "z", "to_event", "guide")
def guide_alone_without_to_event():
    # the same ValueError, before the model has run.
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)))

    return Pair(sound_model(decoder_net()), guide), real()


@broken("to-event", "error", "x", "to_event(3)")
def images_with_one_event_dim_too_few():
    # batch (8, 1) is broadcast to (8, 8) by the plate; ValueError "invalid log_prob shape, Expected [8], actual
    # [8, 8]", only with validation on. Without it every row counts 8 times.
    decoder = nn.Sequential(decoder_net(outputs=16), nn.Unflatten(-1, (1, 4, 4)))
    model = sound_model(decoder, lambda out: dist.Bernoulli(logits=out).to_event(2))

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Encoder(16)

        def forward(self, x):
            return self.net(x.flatten(-3))

    return Pair(model, amortised_guide(Flat())), binary(1, 4, 4)


@broken("to-event", "error", "x", "to_event", "data")
def to_event_swallows_the_batch():
    # silent. Batch () is expanded by the plate to (8,): the log-probability of the whole batch counts 8 times.
    return vae(lambda out: dist.Normal(out, 0.5).to_event(2), real())


@broken("to-event", "error", "z", "to_event")
def latent_swallows_the_batch():
    # silent, and the loss is right; but z stands outside the plate, so it looks global and follows the batch.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), LATENT), 1.0).to_event(2))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("z", dist.Normal(*encoder(x)).to_event(2))

    return Pair(model, guide), real()


# Batch dims.


@broken("batch-outside-plate", "error", "plate", "z")
def no_plate_at_all():
    # ValueError "at site "z", invalid log_prob shape, Expected [], actual [8]", only with validation on. Without it
    # the loss is right.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), LATENT), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(model, guide), real()


@broken("batch-outside-plate", "error", "plate", "x")
def observation_outside_the_plate():
    # ValueError "at site "x", invalid log_prob shape, Expected [], actual [8]", only with validation on.
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
        pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


@broken("batch-outside-plate", "error", "plate", "z", "guide")
def guide_without_plate():
    # ValueError as above at "z", from the guide.
    encoder = Encoder()

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(sound_model(decoder_net()), guide), real()


@broken("shape", "error", "y")
def column_against_vector():
    # net(c) is (8, 1), y is (8,): the plate broadcasts to (8, 8), then ValueError "invalid log_prob shape,
    # Expected [8], actual [8, 8]", only with validation on. Without it: trains on the outer product.
    net = nn.Linear(WIDTH, 1)

    def model(c, y):
        pyro.module("net", net)
        with pyro.plate("data", len(c)):
            pyro.sample("y", dist.Normal(net(c), 1.0), obs=y)

    def guide(c, y):
        pass

    return Pair(model, guide), (real(), real()[:, 0])


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


# Names in the param store.


def _train(pair, *batch):
    SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(*batch)


@broken("module-name-taken", "error", "decoder", "name")
def second_model_in_one_process():
    # silent: no parameter of the second moves, nor does any of the first. (pyro.module returns a copy that holds
    # the stored parameters, which this class throws away.)
    _train(TutorialVAE(), binary())
    return TutorialVAE(), binary()


@broken("module-name-taken", "error", "decoder", "name")
def deep_copy():
    # silent, as above: the copy never trains.
    first = TutorialVAE()
    _train(first, binary())
    return copy.deepcopy(first), binary()


@broken("module-name-taken", "error", "decoder", "name")
def second_model_of_another_size():
    # silent, as above, though the stored shapes differ.
    _train(TutorialVAE(hidden_dim=8), binary())
    return TutorialVAE(), binary()


@broken("module-name-taken", "error", "decoder.weight", "name")
def second_pyro_module():
    # silent: its nn.Parameters do not move; its PyroParams are the first pair's, which it reads and trains on.
    _train(Pair(ModuleModel(), ModuleGuide()), real())
    return Pair(ModuleModel(), ModuleGuide()), real()


@broken("module-name-taken", "error", "net", "name")
def one_name_for_encoder_and_decoder():
    # silent: the guide runs first, so the encoder trains and the decoder does not, though the shapes differ.
    encoder, decoder = Encoder(), Encoder(LATENT, WIDTH)

    def model(x):
        pyro.module("net", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z)[0], 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder, name="net")), real()


@broken("module-name-taken", "error", "net", "name")
def one_name_for_two_decoders():
    # silent: the first trains, the second does not.
    first, second = decoder_net(outputs=WIDTH), decoder_net(outputs=WIDTH)

    def model(x):
        pyro.module("net", first)
        pyro.module("net", second)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(first(z), second(z).exp()).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


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


# Models that read what they observe.


@broken("reads-observed", "warning", "x", "obs")
def autoregressive_decoder():
    # silent: it works, but prior draws conditioned on x hold the data.
    decoder = decoder_net(LATENT + WIDTH)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            shifted = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], -1)
            logits = decoder(torch.cat([z, shifted], -1))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), binary()


@broken("reads-observed", "warning", "x", "obs")
def size_factor_from_the_counts():
    # silent, as above.
    decoder = nn.Sequential(decoder_net(), nn.Softmax(-1))

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            rate = x.sum(-1, keepdim=True) * decoder(z) + 1e-6
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), counts()


@broken("reads-observed", "warning", "z", "x")
def prior_from_the_data():
    # silent: the prior may follow the posterior, so the rate says nothing.
    prior, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("prior", prior)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(*prior(x)).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


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


# Signatures.


@broken("signature", "error", "guide", "c")
def guide_takes_less():
    # TypeError "guide() takes 1 positional argument but 2 were given".
    model = sound_model(decoder_net())
    return Pair(lambda x, c: model(x), amortised_guide(Encoder())), (real(), labels(3))


@broken("signature", "error", "model", "c")
def model_takes_less():
    # TypeError as above; the guide has run by then.
    guide = amortised_guide(Encoder())
    return Pair(sound_model(decoder_net()), lambda x, c: guide(x)), (real(), labels(3))


@broken("signature", "error", "guide", "model", "order")
def arguments_in_another_order():
    # both are 12 wide: silent, the guide encodes c.
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())
    return Pair(lambda x, c: model(x), lambda c, x: guide(x)), (real(), real().flip(0))


@broken("signature", "error", "guide", "image")
def keywords_differ():
    # TypeError "got an unexpected keyword argument 'image'".
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())
    return Pair(lambda image: model(image), lambda x: guide(x)), {"image": real()}


@broken("signature", "error", "model", "2")
def more_data_than_arguments():
    # TypeError "takes 1 positional argument but 2 were given".
    pair, x = vae(lambda out: dist.Normal(out, 0.5).to_event(1), real())
    return pair, (x, labels(3))


# Parameters that nothing trains.


class WithUnusedLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = decoder_net()
        self.forgotten = nn.Linear(3, 3)

    def forward(self, z):
        return self.net(z)


@broken("no-gradient", "warning", "decoder", "forgotten.weight")
def unused_layer():
    # silent: the optimiser is given the parameter and finds no gradient.
    return Pair(sound_model(WithUnusedLayer()), amortised_guide(Encoder())), real()


@broken("no-gradient", "warning", "encoder", "hidden.weight")
def detached_encoder():
    # silent: z is no longer trained, the loss falls all the same.
    class Detached(Encoder):
        def forward(self, x):
            return tuple(one.detach() for one in super().forward(x))

    return Pair(sound_model(decoder_net()), amortised_guide(Detached())), real()


@broken("no-gradient", "warning", "noise")
def parameter_read_as_a_number():
    # a UserWarning of torch ("Converting a tensor with requires_grad=True to a scalar"), once per process.
    decoder = decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        noise = pyro.param("noise", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), float(noise)).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


@broken("no-gradient", "warning", "decoder")
def decoder_under_no_grad():
    # silent: neither the decoder nor the encoder (but by its KL) learns.
    decoder = decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            with torch.no_grad():
                loc = decoder(z)
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


@broken("unregistered", "error", "pyro.module", "sequential")
def module_never_registered():
    # silent: the decoder never trains. (Under a PyroModule the module is found without pyro.module.)
    decoder = decoder_net()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(Encoder())), real()


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


# Nothing observed.


@broken("nothing-observed", "error", "obs=")
def forgotten_obs():
    # warns "Found vars in model but not guide: {'x'}"; trains on nothing.
    decoder = decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1))

    return Pair(model, amortised_guide(Encoder())), real()


@broken("nothing-observed", "error", "obs=")
def observation_left_at_its_default():
    # the same warning.
    decoder = decoder_net()

    def model(c, x=None):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(c)):
            z = pyro.sample("z", standard_normal(c))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(c, x=None):
        net(c)

    net = amortised_guide(Encoder())
    return Pair(model, guide), real()


# Shapes.


@broken("shape", "error", "12", "10")
def wrong_number_of_columns():
    # RuntimeError "mat1 and mat2 shapes cannot be multiplied (8x10 and 12x16)", no site name.
    return vae(lambda out: dist.Normal(out, 0.5).to_event(1), real(10))


@broken("shape", "error", "x", "1", "12")
def likelihood_of_one_column():
    # silent: one mean is broadcast over the 12 columns (event shape [1], validation lets it pass).
    return Pair(sound_model(decoder_net(outputs=1)), amortised_guide(Encoder())), real()


@broken("shape", "error", "z", "1", "2")
def latent_of_one_column_in_the_guide():
    # ValueError "Model and guide shapes disagree at site 'z': [8, 2] vs [8, 1]"; without validation log p(z) is
    # broadcast, silently.
    return Pair(sound_model(decoder_net(latent=1)), amortised_guide(Encoder(latent=1))), real()


@broken("shape", "error", "z", "2", "3")
def latent_sizes_differ():
    # ValueError "... [8, 2] vs [8, 3]".
    return Pair(sound_model(decoder_net(latent=3)), amortised_guide(Encoder(latent=3))), real()


@broken("shape", "error", "8", "7")
def arguments_of_unequal_length():
    # RuntimeError "Sizes of tensors must match except in dimension 1. Expected size 8 but got size 7".
    decoder, encoder = decoder_net(LATENT + WIDTH), Encoder()

    def model(x, c):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, c], -1)), 0.5).to_event(1), obs=x)

    def guide(x, c):
        amortised_guide(encoder)(x)

    return Pair(model, guide), [real()[:BATCH], real()[: BATCH - 1]]


# Randomness.


@broken("fixed-seed", "warning", "seed")
def seed_inside_the_model():
    # silent: the same draw in every step.
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())

    def seeded(x):
        pyro.set_rng_seed(0)
        guide(x)

    return Pair(model, seeded), real()
