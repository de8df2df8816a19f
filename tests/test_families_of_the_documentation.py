"""Guides, distributions and handlers of Pyro's documentation that the registry lacks have the figures of plain Pyro."""

from __future__ import annotations

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import ExpTransform, affine_autoregressive, iterated
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal, AutoNormalizingFlow, AutoStructured
from pyro.infer.reparam import LocScaleReparam

import pyrovae as pv

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) + 1
COUNTS = X.abs().round()
Normal = dist.Normal


def with_level_and_spread(likelihood):
    def model(x):
        level = pyro.sample("level", Normal(0.0, 2.0))
        spread = pyro.sample("spread", dist.LogNormal(0.0, 0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("x", likelihood(level, spread).to_event(1), obs=x)

    return model


def normal(level, spread):
    return Normal(level, spread).expand([3])


def zero_inflated(level, spread):
    return dist.ZeroInflatedPoisson(rate=spread.expand([3]), gate=torch.sigmoid(level).expand([3]))


def masked_mixture(level, spread):
    return dist.MaskedMixture(torch.tensor([True, False, True]), normal(level, spread), normal(-level, spread))


def transformed(level, spread):
    return dist.TransformedDistribution(normal(level, spread), [ExpTransform()])


def correlated(x):
    scale = pyro.sample("scale", dist.HalfCauchy(torch.ones(3)).to_event(1))
    factor = pyro.sample("factor", dist.LKJCholesky(3, torch.tensor(2.0)))
    with pyro.plate("data", len(x)):
        tril = scale.unsqueeze(-1) * factor
        pyro.sample("x", dist.MultivariateNormal(torch.zeros(3), scale_tril=tril), obs=x)


def two_levels(x):
    level = pyro.sample("level", Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", Normal(level, 2.0))
        pyro.sample("x", Normal(z, 1.0), obs=x)


def structured(model):
    return AutoStructured(
        model,
        conditionals={"level": "normal", "spread": "normal"},
        dependencies={"spread": {"level": "linear"}},
    )


def flow(model):
    return AutoNormalizingFlow(model, partial(iterated, 1, partial(affine_autoregressive, hidden_dims=[4])))


PAIRS = {
    "structured guide": (with_level_and_spread(normal), structured, X),
    "flow as guide": (with_level_and_spread(normal), flow, X),
    "zero-inflated": (with_level_and_spread(zero_inflated), AutoNormal, COUNTS),
    "masked mixture": (with_level_and_spread(masked_mixture), AutoNormal, X),
    "transformed": (with_level_and_spread(transformed), AutoNormal, X.exp()),
    "LKJ": (correlated, AutoNormal, X),
    "reparametrised": (poutine.reparam(two_levels, config={"z": LocScaleReparam(0.0)}), AutoNormal, X[:, 0].clone()),
    "conditioned": (poutine.condition(two_levels, {"level": torch.tensor(0.7)}), AutoNormal, X[:, 0].clone()),
    "intervened": (poutine.do(two_levels, {"level": torch.tensor(0.7)}), AutoNormal, X[:, 0].clone()),
}


@pytest.mark.parametrize(
    "name", ["intervened", *(pytest.param(n, marks=pytest.mark.slow) for n in PAIRS if n != "intervened")]
)
def test_the_elbo_is_that_of_plain_pyro(name):
    model, make, x = PAIRS[name]
    pyro.set_rng_seed(0)
    pair = pv.Pair(model, make(model))
    with torch.no_grad():
        pair.guide(x)
        losses = torch.tensor([Trace_ELBO().loss(pair.model, pair.guide, x) for _ in range(100)])
    found = pv.rate_distortion(pair, x, draws=100, seed=0).elbo * len(x)
    error = float(losses.std()) / math.sqrt(50)  # of a difference
    assert found == pytest.approx(-float(losses.mean()), abs=4.5 * error)


@pytest.mark.slow
def test_an_intervened_pair_has_the_evidence_of_the_closed_form():
    model, make, x = PAIRS["intervened"]
    pair = pv.Pair(model, make(model))
    pv.fit(pair, x, steps=200, learning_rate=0.05, seed=0, staged=False, progress=False)
    found = pv.log_evidence(pair, x, draws=500, seed=0)
    exact = Normal(0.7, math.sqrt(5)).log_prob(x)  # level given, 2 and 1 added up
    assert float(found.value.sum()) == pytest.approx(float(exact.sum()), abs=0.5)


def test_a_subsample_beside_the_rows_has_no_evidence():
    def model(x):
        level = pyro.sample("level", Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-2), pyro.plate("places", 6, subsample_size=3, dim=-1) as places:
            pyro.sample("x", Normal(level, 1.0), obs=x[:, places])

    pair, x = pv.Pair(model, lambda x: pyro.sample("level", Normal(0.0, 0.2))), torch.randn(40, 6)
    for ask in (pv.log_evidence, pv.psis):
        for joint in (False, True):
            with pytest.raises(pv.PairError, match="draws 3 of the 6 places of the plate 'places'"):
                ask(pair, x, draws=25, joint=joint)
    assert pv.elbo(pair, x, draws=25).value.shape == (40,)


VALUES = {
    "posterior_predictive": pv.posterior_predictive,
    "log_likelihood": pv.log_likelihood,
    "uncertainty": pv.uncertainty,
    "calibration": pv.calibration,
    "to_arviz": pv.to_arviz,
    "reconstruct": pv.reconstruct,
    "novelty": lambda pair, x, draws: pv.novelty(pair, x, calibration=x, draws=draws),
}


@pytest.mark.parametrize("ask", VALUES.values(), ids=VALUES)
def test_values_of_a_subsample_beside_the_rows_have_no_places(ask):
    networks = torch.nn.ModuleDict({"encoder": torch.nn.Linear(6, 1), "decoder": torch.nn.Linear(1, 6)})

    def model(x):
        pyro.module("networks", networks)
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", Normal(torch.zeros(1), 1.0))
            with pyro.plate("places", 6, subsample_size=3, dim=-1) as places:
                pyro.sample("x", Normal(networks["decoder"](z)[..., places], 1.0), obs=x[:, places])

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", Normal(networks["encoder"](x), 0.5))

    pair, x = pv.Pair(model, guide), torch.randn(8, 6)
    with pytest.raises(pv.PairError, match="draws 3 of the 6 places of the plate 'places'"):
        ask(pair, x, draws=5)
    assert pv.encode(pair, x)["z"].mean.shape == (8, 1)  # z has its place in every draw
    assert pv.elbo(pair, x, draws=5).value.shape == (8,)


def test_what_a_reparametrisation_computes_is_not_observed():
    model, make, x = PAIRS["reparametrised"]
    pair = pv.Pair(model, make(model))
    pair.guide(x)
    assert set(pv.uncertainty(pair, x, draws=(2, 2))) == set(pv.calibration(pair, x, draws=19)) == {"x"}
    drawn = pv.posterior(pair, x, draws=3)
    torch.testing.assert_close(drawn["z"], drawn["level"][:, None] + 2 * drawn["z_decentered"])
