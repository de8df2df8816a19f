"""Guides, distributions and handlers of Pyro's documentation have the figures of plain Pyro."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormalMessenger
from pyro.infer.reparam import SplitReparam
from pyro.optim import Adam
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


def two_levels(x):
    level = pyro.sample("level", Normal(0.0, 1.0).expand([2]).to_event(1))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", Normal(level, 2.0).to_event(1))
        pyro.sample("x", Normal(z, 1.0).to_event(1), obs=x)


LINES = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("staged", [False, "traced"])
def test_a_guide_that_runs_the_model_itself_trains_as_under_plain_svi(staged):
    """`SVI` takes the traces of an `AutoNormalMessenger` from the guide, without what is observed."""

    def losses_of(train):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        return train(AutoNormalMessenger(two_levels))

    def plain(guide):
        svi = SVI(two_levels, guide, Adam({"lr": 0.05}), Trace_ELBO())
        return [svi.step(LINES) for _ in range(4)]

    def ours(guide):
        options = {"optim": Adam({"lr": 0.05}), "batch_size": 6, "seed": 3, "staged": staged}
        return [6 * step.loss for step in pv.steps(pv.Pair(two_levels, guide), LINES, steps=4, **options)]

    assert losses_of(ours) == pytest.approx(losses_of(plain), rel=1e-5)


@pytest.mark.slow
def test_figures_of_a_guide_that_runs_the_model_itself():
    guide = AutoNormalMessenger(two_levels)
    guide(LINES)
    pair = pv.Pair(two_levels, guide)
    with torch.no_grad():
        losses = torch.tensor([Trace_ELBO().loss(two_levels, guide, LINES) for _ in range(60)])
    found = pv.elbo(pair, LINES, draws=200)
    error = float(losses.std()) / math.sqrt(60) + float(found.error.square().sum().sqrt())
    assert float(found.value.sum()) == pytest.approx(-float(losses.mean()), abs=4 * error)
    assert set(pv.posterior(pair, LINES, draws=2)) == {"level", "z"}


def test_a_site_in_parts_has_the_evidence_of_the_whole():
    """The parts of a `SplitReparam` stand under improper priors, and the whole is scored beside them."""
    model = poutine.reparam(two_levels, config={"z": SplitReparam([1, 1], -1)})

    def guide(x):
        pyro.sample("level", Normal(0.3, 0.2).expand([2]).to_event(1))
        with pyro.plate("data", len(x)):
            for i in range(2):
                pyro.sample(f"z_split_{i}", Normal(0.8 * x[:, i : i + 1], 0.8**0.5).to_event(1))

    found = pv.log_evidence(pv.Pair(model, guide), LINES, draws=300)
    given = Normal(0.3 + 0.2 * torch.randn(2000, 1, 2), math.sqrt(5)).log_prob(LINES).sum(-1)
    exact = given.logsumexp(0) - math.log(2000)
    assert float((found.value - exact).abs().max()) < 0.1


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
