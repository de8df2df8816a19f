"""Guides, distributions and handlers of Pyro's documentation, beside amortised networks or alone."""

from __future__ import annotations

import functools

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.transforms import ExpTransform, affine_autoregressive, iterated
from pyro.infer.autoguide import AutoNormal, AutoNormalizingFlow, AutoStructured
from pyro.infer.reparam import LocScaleReparam
from torch import nn

from pyrovae.pairs.pair import Pair
from registry.data import binary, counts, real
from registry.discrete_sites import enumerating
from registry.entries import LATENT, ROWS, entry
from registry.networks import Encoder, amortised_guide, decoder_net, standard_normal

_SPREAD = dist.LogNormal(0.0, 0.5)


def _with_level_and_spread(likelihood, prior=_SPREAD):
    """Rows of three numbers beside two numbers that all rows share."""

    def model(x):
        level = pyro.sample("level", dist.Normal(0.0, 2.0))
        spread = pyro.sample("spread", prior)
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            pyro.sample("x", likelihood(level, spread).to_event(1), obs=x)

    return model


def _normal(level, spread):
    return dist.Normal(level, spread).expand([3])


_shared = functools.partial(
    entry, "global", "subsampled", "autoguide", "lazy", "auxiliary", latent="", global_sites="level spread"
)
_by_normals = functools.partial(_shared, auxiliary="level_unconstrained spread_unconstrained")


@_shared(auxiliary="level_aux spread_aux")
def structured_guide():
    model = _with_level_and_spread(_normal)
    dependencies = {"spread": {"level": "linear"}}
    guide = AutoStructured(model, conditionals={"level": "normal", "spread": "normal"}, dependencies=dependencies)
    return Pair(model, guide), real(3)


@_by_normals()
def zero_inflated():
    model = _with_level_and_spread(
        lambda level, spread: dist.ZeroInflatedPoisson(rate=spread.expand([3]), gate=torch.sigmoid(level).expand([3]))
    )
    return Pair(model, AutoNormal(model)), counts(3)


@_by_normals()
def masked_mixture():
    model = _with_level_and_spread(
        lambda level, spread: dist.MaskedMixture(
            torch.tensor([True, False, True]), _normal(level, spread), _normal(-level, spread)
        )
    )
    return Pair(model, AutoNormal(model)), real(3)


@_by_normals("no_moments")
def transformed_likelihood():
    model = _with_level_and_spread(
        lambda level, spread: dist.TransformedDistribution(_normal(level, spread), [ExpTransform()])
    )
    return Pair(model, AutoNormal(model)), real(3).exp()


@_shared("shared_auxiliary", auxiliary="_AutoNormalizingFlow_latent")
def flow_of_global_sites():
    """An untrained flow draws standard normals, of which an interval makes no heavy tails."""
    model = _with_level_and_spread(_normal, dist.Uniform(0.5, 4.0))
    flow = functools.partial(iterated, 1, functools.partial(affine_autoregressive, hidden_dims=[4]))
    return Pair(model, AutoNormalizingFlow(model, flow)), real(3)


@entry(
    "broadcasts",
    "global",
    "subsampled",
    "autoguide",
    "lazy",
    "auxiliary",
    "constant_mean",
    latent="",
    global_sites="scale factor",
    auxiliary="scale_unconstrained factor_unconstrained",
)
def correlated_features():
    """A covariance of its own prior: scales and the Cholesky factor of a correlation."""

    def model(x):
        scale = pyro.sample("scale", dist.HalfCauchy(torch.ones(3)).to_event(1))
        factor = pyro.sample("factor", dist.LKJCholesky(3, torch.tensor(2.0)))
        with pyro.plate("data", ROWS, subsample_size=len(x)):
            tril = scale.unsqueeze(-1) * factor
            pyro.sample("x", dist.MultivariateNormal(torch.zeros(3), scale_tril=tril), obs=x)

    return Pair(model, AutoNormal(model)), real(3)


def _two_levels(x):
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(level, 2.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


_own_rows = functools.partial(entry, "broadcasts", "autoguide", "local_autoguide", "lazy", "auxiliary")


@_own_rows(
    "global",
    "deterministic",
    latent="z_decentered",
    global_sites="level",
    auxiliary="level_unconstrained z_decentered_unconstrained",
)
def reparametrised():
    model = poutine.reparam(_two_levels, config={"z": LocScaleReparam(0.0)})
    return Pair(model, AutoNormal(model)), real()[:, 0].clone()


@_own_rows("renyi_ok", auxiliary="z_unconstrained", observed="x level", beside_rows="level")
def conditioned_level():
    model = poutine.condition(_two_levels, {"level": torch.tensor(0.7)})
    return Pair(model, AutoNormal(model)), real()[:, 0].clone()


@_own_rows("global", global_sites="level", auxiliary="level_unconstrained z_unconstrained")
def intervened():
    model = poutine.do(_two_levels, {"level": torch.tensor(0.7)})
    return Pair(model, AutoNormal(model)), real()[:, 0].clone()


@entry("broadcasts", "enumerates", latent="z k", loss=enumerating)
def enumerated_guide_beside_a_code():
    """A joint VAE: a code and a class for each row, the class summed out by the guide."""
    encoder, decoder = Encoder(latent=LATENT), decoder_net(LATENT + 3)
    classifier = nn.Linear(12, 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            k = pyro.sample("k", dist.OneHotCategorical(x.new_ones(3) / 3))
            shape = torch.broadcast_shapes(z.shape[:-1], k.shape[:-1])
            code = torch.cat([z.expand(*shape, LATENT), k.expand(*shape, 3)], -1)
            pyro.sample("x", dist.Bernoulli(logits=decoder(code)).to_event(1), obs=x)

    def guide(x):
        pyro.module("classifier", classifier)
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(*encoder(x)).to_event(1))
            pyro.sample("k", dist.OneHotCategorical(logits=classifier(x)), infer={"enumerate": "parallel"})

    return Pair(model, guide), binary()


@entry("renyi_ok", "mean_field", "nested", "broadcasts", observed="x_0 x_1 x_2")
def features_in_a_loop():
    """A sequential plate: each feature has a site of its own."""
    encoder, decoder = Encoder(inputs=3), decoder_net(outputs=3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            loc = decoder(pyro.sample("z", standard_normal(x)))
            for i in pyro.plate("features", 3):
                pyro.sample(f"x_{i}", dist.Normal(loc[..., i], 0.5), obs=x[:, i])

    return Pair(model, amortised_guide(encoder)), real(3)
