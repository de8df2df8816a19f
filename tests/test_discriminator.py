"""A classifier of real against drawn data, held against density ratios that are known, and draws rejected by it."""

from __future__ import annotations

import logging
from functools import cache

import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import arguments, pairs
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import pyrovae as pv
from pyrovae.pairs.trace import run
from pyrovae.prediction.rejection import bound_of

DRAWN, REAL = dist.Normal(0.0, 1.0), dist.Normal(0.5, 0.8)


def fixed_model(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", DRAWN.expand([2]).to_event(1), obs=x)


def fixed_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))


FIXED = pv.Pair(fixed_model, fixed_guide)


def true_ratio(x):
    return (REAL.log_prob(x) - DRAWN.log_prob(x)).sum(-1)


def real(count, seed=0):
    return 0.5 + 0.8 * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


@cache
def learnt():
    return pv.discriminator(FIXED, real(2_500), rows=2_000)


@pytest.mark.slow
def test_log_ratios_are_those_of_the_two_normals():
    found = learnt()
    assert found.classifier == "NetworkClassifier"
    new = torch.cat([real(500, seed=1), torch.randn(500, 2, generator=torch.Generator().manual_seed(1))])
    apart = found.log_ratio(new) - true_ratio(new)
    assert apart.square().mean().sqrt() < 0.25  # of a ratio whose spread is 1.1
    assert found.calibration_error < 0.03
    assert (found.score - true_ratio(real(2_500))).square().mean().sqrt() < 0.25  # those held out, and the other 500
    assert "told apart with an area of 0.7" in repr(found)


def test_weights_give_the_moments_of_real_data():
    found = learnt()
    weights, x = found.weights[:, None], found.draws["x"]
    assert float(weights.mean()) == pytest.approx(1.0)
    mean = (weights * x).mean(0)
    error = 0.8 / found.ess**0.5
    assert torch.allclose(mean, torch.tensor(0.5, dtype=mean.dtype), atol=4 * error)
    scale = ((weights * x.square()).mean(0) - mean**2).sqrt()
    assert torch.allclose(scale, torch.tensor(0.8, dtype=scale.dtype), atol=0.07)


def test_rejection_draws_have_the_moments_of_real_data(caplog):
    found = learnt()
    with caplog.at_level(logging.INFO, logger="pyrovae"):
        new = pv.generate(FIXED, torch.zeros(3_000, 2), discriminator=found, seed=0)
    x = new["x"]
    assert torch.allclose(x.mean(0), torch.tensor(0.5), atol=0.08)
    assert torch.allclose(x.std(0), torch.tensor(0.8), atol=0.05)
    assert new["z"].shape == (3_000,)
    said = next(record for record in caplog.records if "rejection kept" in record.message)
    assert said.args[0] / 100 == pytest.approx(found.acceptance, abs=0.02)
    assert found.acceptance == pytest.approx(float((-found.bound + true_ratio(found.draws["x"]))
                                                   .clamp(max=0).exp().mean()), abs=0.03)  # fmt: skip
    assert abs(found.area_after - 0.5) < 0.05 < found.area - 0.5
    again = pv.generate(FIXED, torch.zeros(3_000, 2), discriminator=found, seed=0)
    assert torch.equal(again["x"], x)


def test_the_bound_leaves_a_hundredth_of_the_mass_above_it():
    ratios = torch.randn(999, generator=torch.Generator().manual_seed(0)).double()
    bound = bound_of(ratios)
    above = (ratios.exp() - torch.tensor(bound).exp()).clamp(min=0).sum() / ratios.exp().sum()
    lower = ratios.sort().values[int((ratios < bound - 1e-9).sum()) - 1]  # the next one below
    more = (ratios.exp() - lower.exp()).clamp(min=0).sum() / ratios.exp().sum()
    assert above <= 0.01 < more


def covariate_pair():
    def model(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros(len(x)), 1.5), obs=x)

    return pv.Pair(model, lambda x, c: None)


@pytest.mark.slow
def test_covariates_belong_to_the_ratio_and_stay_where_they_are():
    c = torch.arange(1_200) % 2 * 2.0 - 1.0
    x = c + 0.7 * torch.randn(1_200, generator=torch.Generator().manual_seed(0))
    found = pv.discriminator(covariate_pair(), x, c, rows=1_000)
    new = pv.generate(covariate_pair(), x, c, discriminator=found, seed=0)["x"]
    for value in (-1.0, 1.0):
        assert float(new[c == value].mean()) == pytest.approx(value, abs=0.15)


def test_what_has_learnt_its_rows_by_heart_is_caught_and_said():
    truth = pv.truth.LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5)
    x = truth.sample(300)
    by_heart = pv.discriminator(truth, x, classifier=DecisionTreeClassifier(random_state=0))
    assert by_heart.own_loss < 0.01
    assert by_heart.overfitted
    assert by_heart.verdict.startswith("overfitted: log loss")
    assert by_heart.weights.min() > 0.5  # calibrated, it says little
    with pytest.warns(pv.PyrovaeWarning, match="the discriminator is overfitted"):
        pv.generate(truth, x[:5], discriminator=by_heart)
    sober = pv.discriminator(truth, x, classifier=LogisticRegression())
    assert not sober.overfitted
    assert sober.verdict.startswith("real and drawn are not told apart")


@pytest.mark.parametrize("ask", [pv.discriminator, pv.resemblance])
def test_rows_that_repeat_are_known_by_heart_and_that_is_said(ask):
    few = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))  # as the pair draws them
    with pytest.warns(pv.PyrovaeWarning, match="120 of 180 real rows repeat others, and of 180 drawn ones none does"):
        ask(FIXED, few.repeat(3, 1))


@pytest.mark.parametrize("ask", [pv.discriminator, pv.resemblance])
def test_rows_of_few_values_may_repeat(ask):  # a warning is an error here
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(0.5 * torch.ones(4)).to_event(1), obs=x)

    ask(pv.Pair(model, lambda x: None), (torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) < 0.1).float())


def test_scores_that_are_all_alike_tell_nothing_apart():
    found = pv.discriminator(FIXED, real(40), classifier=DummyClassifier())
    assert found.area == 0.5
    assert "not told apart" in found.verdict


def test_what_cannot_be_compared_is_refused_in_words():
    x = real(40)
    with pytest.raises(pv.ArgumentError, match="give an object with fit"):
        pv.discriminator(FIXED, x, classifier=LogisticRegression)
    with pytest.raises(pv.ArgumentError, match=r"site='y'.*those are: x"):
        pv.discriminator(FIXED, x, site="y")
    with pytest.raises(pv.DataError, match="too few"):
        pv.discriminator(FIXED, x[:5])
    with pytest.raises(pv.DataError, match="not finite"):
        pv.discriminator(FIXED, x, features=lambda rows: rows.log())
    found = pv.discriminator(FIXED, x, classifier=LogisticRegression())
    with pytest.raises(pv.ArgumentError, match="leave draws out"):
        pv.generate(FIXED, x, discriminator=found, draws=2)
    with pytest.raises(pv.ArgumentError, match=r"what pv\.discriminator\(pair, data\) returns"):
        pv.generate(FIXED, x, discriminator=LogisticRegression())
    wide = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 2)))
    with pytest.raises(pv.ArgumentError, match="has learnt rows of 2 numbers, and these have 5"):
        pv.generate(wide, 3, discriminator=found)
    with pytest.raises(pv.ArgumentError, match="Discriminator is not a pair"):
        pv.log_evidence(found, x)  # a ratio is no density


@pytest.mark.parametrize("entry", pairs(without={"no_latent"}))
@pytest.mark.filterwarnings("ignore:the discriminator is overfitted")
def test_any_pair_is_told_from_its_data_and_drawn_by_rejection(entry):
    torch.manual_seed(0)
    pair, data = entry.make()
    args, kwargs = arguments(data)
    run(pair, args, kwargs)
    found = pv.discriminator(pair, *args, classifier=LogisticRegression(), **kwargs)
    assert found.score.shape == (32,)
    assert found.score.isfinite().all()
    if found.ess < 10:
        with pytest.raises(pv.PairError, match="the draws are worth"):
            pv.generate(pair, *args, discriminator=found, seed=0, **kwargs)
        return
    new = pv.generate(pair, *args, discriminator=found, seed=0, **kwargs)
    assert {len(value) for value in new.values()} == {32}
