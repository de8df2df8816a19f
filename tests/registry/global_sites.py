"""Global sites, subsampling, autoguides."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal, AutoGuide, AutoGuideList, AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn
from torch.distributions import constraints

from pyrovae.pairs.pair import Pair
from registry.data import binary, real
from registry.entries import LATENT, ROWS, WIDTH, entry
from registry.networks import Encoder, decoder_net, standard_normal


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
    "broadcasts",
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    "auxiliary",
    "shared_auxiliary",
    latent="",
    global_sites="shares spread",
    auxiliary="_AutoMultivariateNormal_latent",
)
def bounded_global():
    """Global sites on a simplex and in an interval: the autoguide puts a Delta behind a normal vector."""

    def model(x):
        shares = pyro.sample("shares", dist.Dirichlet(torch.full((3,), 2.0)))
        spread = pyro.sample("spread", dist.Uniform(0.5, 4.0))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            mean = (shares * torch.tensor([-1.0, 0.0, 1.0])).sum(-1)
            pyro.sample("x", dist.Normal(mean, spread), obs=x)

    return Pair(model, AutoMultivariateNormal(model)), real()[:, 0]


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
