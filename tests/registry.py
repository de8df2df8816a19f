"""The one registry of pairs: every style of model and guide, written as Pyro users write them.

Nothing here but `built_in` uses the building arm. A test takes the pairs it can work on by their traits,
`@pytest.mark.parametrize("entry", pairs(without={"full_data"}))`, and builds a fresh one by `entry.make()`.

Traits:
    mean_field       `TraceMeanField_ELBO` is right (reparameterised, closed or sampled KL site by site).
    renyi_ok         `RenyiELBO` is right: reparameterised, local sites only, no scale, nothing enumerated.
    broadcasts       model and guide run, and mean the same, in an outer plate (vectorised particles).
    covariates       more than one argument, one of which is not observed.
    keywords         the data are a dict.
    global           has global sites.
    subsampled       the data plate has the size of the data set and the batch as its subsample.
    full_data        takes all rows and draws its own subsample: never cut its data into batches.
    no_latent        no latent site.
    local_autoguide  an autoguide holds one parameter per row: it fits one data set only.
    autoguide        (part of) the guide is a Pyro autoguide; it has no parameters before its first call.
    lazy             some parameters do not exist before the first call.
    enumerates       needs `TraceEnum_ELBO`.
    score_function   has a site without reparameterised gradient.
    loss_state       what the loss has seen (a decaying average) changes its gradients.
    auxiliary        guide sites marked `is_auxiliary`.
    shared_auxiliary one auxiliary site serves several latent sites.
    masked           masks of poutine or of `obs_mask`.
    buffers          modules with buffers that training changes.
    dropout          train and eval mode differ by noise.
    frozen           parameters that the author has frozen by `requires_grad_(False)`.
    factor           a `pyro.factor` in the model.
    deterministic    a `pyro.deterministic` in the model.
    scaled           the author scales log-probabilities.
    nested           a plate inside the data plate.
    no_plate_size    the data plate has no size.
    float64          parameters in double precision.
    unvalidated      the author switched validation off, and the data are outside the support.
    building         made by the building arm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    ELBO,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
)
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoGuide, AutoGuideList, AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.pairs.pair import Pair

ROWS = 32
WIDTH = 12
LATENT = 2


@dataclass(frozen=True)
class Entry:
    """One pair: `make()` builds it anew, with its data; the rest says what a trace must show."""

    name: str
    make: Callable[[], tuple[Any, Any]]
    loss: Callable[[], ELBO]
    latent: tuple[str, ...]
    global_sites: tuple[str, ...]
    observed: tuple[str, ...]
    enumerated: tuple[str, ...]  # of `latent`: those that the model enumerates, so the guide lacks them
    auxiliary: tuple[str, ...]
    traits: frozenset[str]

    @property
    def guide_sites(self) -> set[str]:
        """The names of every sample site that the guide must have."""
        return {*self.latent, *self.global_sites, *self.auxiliary} - {*self.enumerated}


REGISTRY: dict[str, Entry] = {}


def entry(*traits: str, latent="z", global_sites="", observed="x", enumerated="", auxiliary="", loss=Trace_ELBO):
    """Register the decorated maker under its own name; sites are given as words."""

    def register(make):
        names = [tuple(text.split()) for text in (latent, global_sites, observed, enumerated, auxiliary)]
        REGISTRY[make.__name__] = Entry(make.__name__, make, loss, *names, frozenset(traits))
        return make

    return register


def pairs(*, having: Collection[str] = (), without: Collection[str] = ()) -> list:
    """The entries with all traits of `having` and none of `without`, for `pytest.mark.parametrize`."""
    chosen = [one for one in REGISTRY.values() if one.traits >= set(having) and not one.traits & set(without)]
    return [pytest.param(one, id=one.name) for one in chosen]


def arguments(data) -> tuple[tuple, dict]:
    """The positional and the keyword arguments that `data` stand for."""
    if isinstance(data, dict):
        return (), dict(data)
    return (tuple(data) if isinstance(data, tuple | list) else (data,)), {}


def rows(data, index):
    """The same data with the rows of `index` only."""
    if isinstance(data, dict):
        return {name: value[index] for name, value in data.items()}
    if isinstance(data, tuple | list):
        return tuple(value[index] for value in data)
    return data[index]


# Data: every call gives the same rows and leaves the global generator alone.


def _factors(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(20)
    z = torch.randn(ROWS, LATENT, generator=generator)
    weights = torch.randn(LATENT, *shape, generator=generator)
    noise = torch.randn(ROWS, *shape, generator=generator)
    return torch.einsum("nk,k...->n...", z, weights) + 0.3 * noise


def real(*shape: int) -> torch.Tensor:
    return _factors(*(shape or (WIDTH,)))


def binary(*shape: int) -> torch.Tensor:
    return (real(*shape) > 0).float()


def grey(*shape: int) -> torch.Tensor:
    return torch.sigmoid(real(*shape))


def counts(*shape: int) -> torch.Tensor:
    return (2 * real(*shape)).exp().clamp(max=20).round()


def labels(count: int) -> torch.Tensor:
    return torch.arange(ROWS) % count


# Networks, as they stand in many a script.


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


# Plain functions and classes.


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


# Parameters.


@entry("mean_field", "renyi_ok", "broadcasts", "lazy", latent="theta", observed="words")
def constrained_params():
    """No module at all: topics on the simplex, positive concentrations, made inside the functions."""

    def model(words):
        topics = pyro.param(
            "topics",
            lambda: torch.ones(LATENT, WIDTH).div(WIDTH),
            constraint=constraints.simplex,
            event_dim=1,
        )
        prior = pyro.param("prior_rate", torch.tensor([0.5, 1.0]), constraint=constraints.positive)
        with pyro.plate("documents", len(words)):
            theta = pyro.sample("theta", dist.Gamma(torch.ones(LATENT), prior).to_event(1))
            pyro.sample("words", dist.Poisson(theta @ topics + 1e-3).to_event(1), obs=words)

    def guide(words):
        weight = pyro.param("guide_weight", lambda: 0.1 * torch.randn(WIDTH, LATENT))
        rate = pyro.param("guide_rate", torch.ones(LATENT), constraint=constraints.greater_than(0.1))
        with pyro.plate("documents", len(words)):
            concentration = softplus(words.log1p() @ weight) + 0.5
            pyro.sample("theta", dist.Gamma(concentration, rate).to_event(1))

    return Pair(model, guide), counts()


class ModuleModel(PyroModule):
    def __init__(self):
        super().__init__()
        self.decoder = PyroModule[nn.Linear](LATENT, WIDTH)
        self.noise = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(self.decoder(z), self.noise).to_event(1), obs=x)


class ModuleGuide(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = PyroModule[nn.Linear](WIDTH, LATENT)
        self.scale = PyroParam(lambda: torch.ones(LATENT), constraint=constraints.positive, event_dim=1)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc(x), self.scale).to_event(1))


@entry("mean_field", "renyi_ok", "broadcasts", "lazy")
def pyro_modules():
    return Pair(ModuleModel(), ModuleGuide()), real()


@entry("mean_field", "renyi_ok", "broadcasts", "float64")
def double_precision():
    encoder, decoder = Encoder().double(), decoder_net().double()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real().double()


# Global sites, subsampling, autoguides.


class BayesianDecoder(PyroModule):
    """Weights with a prior: PyroSample turns them into global sites."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](LATENT, WIDTH)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([WIDTH, LATENT]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 1.0).expand([WIDTH]).to_event(1))

    def forward(self, x):
        weight, bias = self.linear.weight, self.linear.bias  # drawn here, outside the plate
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            z = pyro.sample("z", standard_normal(x))
            loc = z @ weight.transpose(-1, -2) + bias
            return pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)


@entry(
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    "auxiliary",
    global_sites="linear.weight linear.bias",
    auxiliary="linear.weight_unconstrained linear.bias_unconstrained",
)
def bayesian_decoder():
    class Guide(PyroModule):
        def __init__(self, model):
            super().__init__()
            self.weights = AutoNormal(poutine.block(model, hide=["z", "x"]), init_scale=0.05)
            self.encoder = Encoder()

        def forward(self, x):
            self.weights(x)
            with pyro.plate("data", ROWS, subsample_size=len(x)):
                pyro.sample("z", dist.Normal(*self.encoder(x)).to_event(1))

    model = BayesianDecoder()
    return Pair(model, Guide(model)), real()


@entry(
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    "auxiliary",
    global_sites="linear.weight linear.bias",
    auxiliary="linear.weight_unconstrained linear.bias_unconstrained",
)
def autoguide_list():
    class Local(AutoGuide):
        """The amortised part; the list has made the plate already."""

        def __init__(self, model):
            super().__init__(model)
            self.encoder = Encoder()

        def forward(self, x):
            with self._create_plates(x)["data"]:
                return {"z": pyro.sample("z", dist.Normal(*self.encoder(x)).to_event(1))}

    model = BayesianDecoder()
    guide = AutoGuideList(model)
    guide.append(AutoNormal(poutine.block(model, expose=["linear.weight", "linear.bias"])))
    guide.append(Local(poutine.block(model, expose=["z"])))
    return Pair(model, guide), real()


def _regression(c, y):
    """Bayesian logistic regression: global sites only, the batch a subsample of the data set."""
    weight = pyro.sample("weight", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1))
    bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
    with pyro.plate("data", ROWS, subsample_size=len(c)):
        pyro.sample("y", dist.Bernoulli(logits=(c * weight).sum(-1) + bias), obs=y)


@entry(
    "broadcasts",
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    "auxiliary",
    "covariates",
    latent="",
    global_sites="weight bias",
    observed="y",
    auxiliary="weight_unconstrained bias_unconstrained",
)
def auto_normal():
    c = real()
    return Pair(_regression, AutoNormal(_regression)), (c, (c[:, 0] > 0).float())


@entry(
    "broadcasts",
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    "auxiliary",
    "shared_auxiliary",
    "covariates",
    latent="",
    global_sites="weight bias",
    observed="y",
    auxiliary="_AutoDiagonalNormal_latent",
)
def auto_diagonal_normal():
    c = real()
    return Pair(_regression, AutoDiagonalNormal(_regression)), (c, (c[:, 0] > 0).float())


@entry(
    "global",
    "full_data",
    "autoguide",
    "local_autoguide",
    "lazy",
    "auxiliary",
    global_sites="centre",
    auxiliary="centre_unconstrained z_unconstrained",
)
def auto_normal_local():
    """An autoguide over local sites too: no amortisation, one parameter per row."""

    def model(x):
        centre = pyro.sample("centre", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(x), subsample_size=8) as index:
            z = pyro.sample("z", dist.Normal(centre, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x[index])

    return Pair(model, AutoNormal(model)), real()[:, 0] + 2


@entry("mean_field", "global", "subsampled", "lazy", global_sites="w", loss=TraceMeanField_ELBO)
def local_and_global():
    encoder = Encoder()

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(LATENT, WIDTH), 1.0).to_event(2))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(z @ w, 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc = pyro.param("w_loc", lambda: 0.1 * torch.randn(LATENT, WIDTH))
        scale = pyro.param("w_scale", lambda: torch.full((LATENT, WIDTH), 0.1), constraint=constraints.positive)
        pyro.sample("w", dist.Normal(loc, scale).to_event(2))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(model, guide), real()


@entry("mean_field", "full_data")
def subsample_by_index():
    """All rows go in; the plate draws which are used (Pyro's SVI tutorial, part II)."""
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x), subsample_size=8) as index:
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x[index])

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x), subsample_size=8) as index:
            pyro.sample("z", dist.Normal(*encoder(x[index])).to_event(1))

    return Pair(model, guide), binary()


@entry("mean_field", "full_data", "global", "lazy", global_sites="shift")
def subsample_statement():
    """All rows go in; `pyro.subsample` picks those of the plate."""
    encoder, decoder = Encoder(), decoder_net()

    def model(x):
        pyro.module("decoder", decoder)
        shift = pyro.sample("shift", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1))
        with pyro.plate("data", ROWS, subsample_size=8):
            batch = pyro.subsample(x, event_dim=1)
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(decoder(z) + shift, 0.5).to_event(1), obs=batch)

    def guide(x):
        pyro.module("encoder", encoder)
        scale = pyro.param("shift_scale", lambda: torch.ones(WIDTH), constraint=constraints.positive)
        pyro.sample("shift", dist.Normal(pyro.param("shift_loc", torch.zeros(WIDTH)), scale).to_event(1))
        with pyro.plate("data", ROWS, subsample_size=8):
            pyro.sample("z", dist.Normal(*encoder(pyro.subsample(x, event_dim=1))).to_event(1))

    return Pair(model, guide), real()


# Discrete sites.

enumerating = functools.partial(TraceEnum_ELBO, max_plate_nesting=1)


@entry("broadcasts", "enumerates", "lazy", latent="y z", enumerated="y", loss=enumerating)
def enumerated_prior():
    """A mixture prior, its component summed out in the model: the contraction holds latent sites only."""
    encoder, decoder = Encoder(), decoder_net()

    @config_enumerate
    def model(x):
        pyro.module("decoder", decoder)
        weights = pyro.param("weights", torch.ones(3) / 3, constraint=constraints.simplex)
        centres = pyro.param("centres", lambda: torch.randn(3, LATENT))
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(weights))
            z = pyro.sample("z", dist.Normal(centres[y], 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), binary()


@entry("broadcasts", "enumerates", "lazy", latent="y", enumerated="y", loss=enumerating)
def enumerated_mixture():
    """A plain mixture by maximum likelihood: the contraction holds the observed site; the guide is empty."""

    def model(x):
        weights = pyro.param("weights", torch.ones(3) / 3, constraint=constraints.simplex)
        centres = pyro.param("centres", lambda: torch.randn(3, WIDTH))
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(centres[y], scale).to_event(1), obs=x)

    def guide(x):
        pass

    return Pair(model, guide), real()


@entry(
    "enumerates",
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    latent="y",
    enumerated="y",
    global_sites="weights scale centres",
    loss=enumerating,
)
def enumerated_mixture_map():
    """Pyro's Gaussian-mixture tutorial: point estimates of global sites by AutoDelta."""

    @config_enumerate
    def model(x):
        weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
        with pyro.plate("components", 2):
            centres = pyro.sample("centres", dist.Normal(0.0, 10.0))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            y = pyro.sample("y", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(centres[y], scale), obs=x)

    guide = AutoDelta(poutine.block(model, expose=["weights", "centres", "scale"]))
    return Pair(model, guide), real()[:, 0]


@entry("broadcasts", "enumerates", "lazy", latent="y z", enumerated="y", loss=enumerating)
def enumerated_likelihood():
    """Local z in the guide, y summed out in the likelihood: the contraction holds the observed site."""
    encoder, decoder = Encoder(), decoder_net()

    @config_enumerate
    def model(x):
        pyro.module("decoder", decoder)
        shifts = pyro.param("shifts", lambda: torch.randn(2, WIDTH))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            y = pyro.sample("y", dist.Bernoulli(0.3)).long()
            pyro.sample("x", dist.Normal(decoder(z) + shifts[y], 0.5).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


def concatenate(*tensors):
    """`torch.cat` over the last dim, leading dims broadcast: enumeration adds some."""
    leading = torch.broadcast_shapes(*(one.shape[:-1] for one in tensors))
    return torch.cat([one.expand(*leading, one.shape[-1]) for one in tensors], -1)


def _labelled(guide_strategy):
    """A guide with a discrete site q(y | x) q(z | x, y), summed out in the guide."""
    classifier, encoder, decoder = nn.Linear(WIDTH, 3), Encoder(WIDTH + 3), decoder_net(LATENT + 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(3) / 3))
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(concatenate(y, z))).to_event(1), obs=x)

    def guide(x):
        pyro.module("classifier", classifier)
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(logits=classifier(x)))
            pyro.sample("z", dist.Normal(*encoder(concatenate(x, y))).to_event(1))

    return Pair(model, config_enumerate(guide, guide_strategy)), binary()


@entry("enumerates", "broadcasts", latent="y z", loss=enumerating)
def enumerated_guide():
    """In parallel, as in Pyro's semi-supervised VAE."""
    return _labelled("parallel")


@entry("enumerates", "broadcasts", latent="y z", loss=enumerating)
def enumerated_guide_sequential():
    return _labelled("sequential")


def _binary_latent(infer):
    """A Bernoulli latent: the gradient of its encoder is a score-function estimate."""
    encoder, decoder = nn.Linear(WIDTH, 4), decoder_net(4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(4)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(b)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=encoder(x)).to_event(1), infer=infer(x))

    return Pair(model, guide), binary()


@entry("score_function", "broadcasts", latent="b")
def score_function():
    return _binary_latent(lambda x: {})


@entry("broadcasts", "score_function", "loss_state", "lazy", latent="b", loss=TraceGraph_ELBO)
def score_function_average_baseline():
    baseline = {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}
    return _binary_latent(lambda x: {"baseline": baseline})


@entry("broadcasts", "score_function", latent="b", loss=TraceGraph_ELBO)
def score_function_neural_baseline():
    class Baseline(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(WIDTH, 1)

        def forward(self, x):
            return self.net(x).squeeze(-1)

    net = Baseline()

    def infer(x):
        pyro.module("baseline", net)
        return {"baseline": {"nn_baseline": net, "nn_baseline_input": x}}

    return _binary_latent(infer)


# Arguments: covariates, keywords, none of them latent.


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


# Pairs that do not broadcast over one more leading dim.


@entry("mean_field", "renyi_ok")
def images_by_view():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(LATENT, 4 * 2 * 2)
            self.deconvolution = nn.ConvTranspose2d(4, 1, 2, stride=2)

        def forward(self, z):
            hidden = torch.relu(self.linear(z)).view(-1, 4, 2, 2)
            return self.deconvolution(hidden)

    encoder, decoder = Encoder(16), Decoder()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(3), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x.view(-1, 16))).to_event(1))

    return Pair(model, guide), binary(1, 4, 4)


@entry("mean_field", "renyi_ok", "lazy")
def columns_of_latent():
    """`z[:, 0]` takes another dim as soon as there is one more; the noise differs by row."""
    encoder, decoder = Encoder(), decoder_net(1)

    def model(x):
        pyro.module("decoder", decoder)
        slope = pyro.param("slope", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            scale = softplus(1 + slope * z[:, 1]).unsqueeze(-1)
            pyro.sample("x", dist.Normal(decoder(z[:, 0].unsqueeze(-1)), scale).to_event(1), obs=x)

    return Pair(model, amortised_guide(encoder)), real()


@entry("mean_field", "global", "subsampled", "lazy", global_sites="w")
def product_with_global():
    """`z @ w.T` with a global w: one more leading dim of w, and `.T` is another thing."""
    encoder = Encoder()

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(WIDTH, LATENT), 1.0).to_event(2))
        with pyro.plate("data", size=ROWS, subsample_size=len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", dist.Normal(z @ w.T, 0.5).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc = pyro.param("w_loc", lambda: 0.1 * torch.randn(WIDTH, LATENT))
        pyro.sample("w", dist.Normal(loc, 0.1).to_event(2))
        with pyro.plate("data", size=ROWS, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))

    return Pair(model, guide), real()


# Plates, masks, auxiliary sites, factors.


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


# Networks with state, flows, other families, more levels.


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
