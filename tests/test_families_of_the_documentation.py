"""Guides, distributions and handlers of Pyro's documentation have the figures of plain Pyro."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import REGISTRY, born

import pyrovae as pv

Normal = dist.Normal


@pytest.mark.slow
def test_an_intervened_pair_has_the_evidence_of_the_closed_form():
    pair, (x,), _ = born(REGISTRY["intervened"])
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
    pair, (x,), _ = born(REGISTRY["reparametrised"])
    assert set(pv.uncertainty(pair, x, draws=(2, 2))) == set(pv.calibration(pair, x, draws=19)) == {"x"}
    drawn = pv.posterior(pair, x, draws=3)
    torch.testing.assert_close(drawn["z"], drawn["level"][:, None] + 2 * drawn["z_decentered"])
