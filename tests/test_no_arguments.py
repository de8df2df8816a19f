"""Pairs without arguments, which hold their data themselves: one pass is one step, and the whole is one datum."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

import pyrovae as pv

Y = torch.tensor([1.2, 0.7, 2.1, 1.0])
QUIET = {"progress": False, "seed": 0}
EVIDENCE = float(dist.MultivariateNormal(torch.zeros(4), torch.ones(4, 4) + torch.eye(4)).log_prob(Y))
MEAN, DEVIATION = float(Y.sum()) / 5, math.sqrt(1 / 5)


def model():
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("seen", 4):
        pyro.sample("y", dist.Normal(level, 1.0), obs=Y)


@pytest.fixture(scope="module", name="pair")
def _pair():
    pyro.clear_param_store()
    pair = pv.Pair(model, AutoNormal(model))
    pv.fit(pair, steps=1500, learning_rate=pv.linear(0.05, 0.001, steps=1500), **QUIET)
    store = pyro.get_param_store().get_state()
    return pair, store


def kept(made):
    pair, store = made
    pyro.get_param_store().set_state(store)
    return pair


def test_it_is_trained_as_plain_svi_does():
    pair = pv.Pair(model, AutoNormal(model))
    losses = [step.loss for step in pv.steps(pair, steps=5, learning_rate=0.01, **QUIET)]
    pyro.clear_param_store()
    plain = AutoNormal(model)
    pyro.set_rng_seed(0)
    svi = SVI(model, plain, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    expected = [svi.step() for _ in range(5)]
    assert [loss / losses[0] for loss in losses] == pytest.approx([loss / expected[0] for loss in expected], rel=1e-4)


@pytest.mark.slow
def test_figures_and_draws_are_those_of_the_closed_form(pair):
    pair = kept(pair)
    joint = pv.log_evidence(pair, draws=2_000, joint=True)
    assert float((joint.value - EVIDENCE).abs()) < 5 * float(joint.error) + 0.02
    level = pv.posterior(pair, draws=4_000)["level"]
    assert float(level.mean()) == pytest.approx(MEAN, abs=0.06)
    assert float(level.std()) == pytest.approx(DEVIATION, abs=0.06)
    assert pv.posterior_predictive(pair, draws=3)["y"].shape == (3, 4)
    assert pv.log_likelihood(pair, draws=3)["y"].shape == (3, 4)
    assert float(pv.uncertainty(pair, draws=50)["y"].epistemic[0]) == pytest.approx(DEVIATION**2, abs=0.15)
    assert set(pv.prior(pair, draws=3)) >= {"level"}
    with pytest.raises(pv.ArgumentError, match="joint=True"):
        pv.log_evidence(pair)


@pytest.mark.slow
def test_it_is_saved_resumed_and_staged(pair, tmp_path):
    pair = kept(pair)
    before = pv.posterior(pair, draws=5, seed=0)["level"]
    pv.save(pair, tmp_path / "pair.safetensors")
    pyro.get_param_store()["AutoNormal.locs.level"] = torch.tensor(9.0)
    pv.load(pair, tmp_path / "pair.safetensors")
    assert torch.equal(pv.posterior(pair, draws=5, seed=0)["level"], before)
    ends = []
    for stops in ((20,), (10, 20)):
        pyro.clear_param_store()
        fresh = pv.Pair(model, AutoNormal(model))
        for steps in stops:
            folder = tmp_path / str(len(stops))
            pv.fit(fresh, steps=steps, checkpoint=folder, resume=True, staged=False, **QUIET)
        ends.append(float(pyro.param("AutoNormal.locs.level").detach()))
    assert ends[0] == ends[1]
    pyro.clear_param_store()
    run = pv.fit(pv.Pair(model, AutoNormal(model)), steps=20, staged="traced", **QUIET)
    assert run.route.startswith("traced")
    assert float(pyro.param("AutoNormal.locs.level").detach()) == pytest.approx(ends[0], rel=1e-5)


def test_a_pair_that_takes_data_is_not_trained_without():
    vae = pv.VAE(
        pv.StandardNormal(2), pv.Normal(pv.MLP(2, [4], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [4], 4))
    )  # fmt: skip
    for ask in (lambda: pv.fit(vae, steps=1, **QUIET), lambda: pv.elbo(vae)):
        with pytest.raises(pv.PairError, match="missing"):
            ask()
    with pytest.raises(pv.DataError, match="validation"):
        pv.fit(pv.Pair(model, AutoNormal(model)), steps=1, validation=Y, **QUIET)


def test_one_that_was_never_fitted_is_saved_and_loaded_without_data(tmp_path):
    def guide():
        pyro.sample("level", dist.Normal(pyro.param("loc", torch.tensor(0.5)), 1.0))

    pair = pv.Pair(model, guide)
    pv.save(pair, tmp_path / "pair.safetensors")
    pyro.get_param_store()["loc"] = torch.tensor(9.0)
    pv.load(pair, tmp_path / "pair.safetensors")
    assert pyro.param("loc").item() == 0.5
