"""Risk against coverage, and thresholds that hold a risk, against known answers."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from registry import REGISTRY, born

import pyrovae as pv
from pyrovae.errors import ArgumentError, PairError


def labelled(rows: int, seed: int = 0):
    """A binary label whose exact log-odds are x; nothing is latent."""

    def model(x, label):
        with pyro.plate("data", len(x)):
            pyro.sample("label", dist.Bernoulli(logits=x), obs=label)

    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(rows, generator=generator)
    label = (torch.rand(rows, generator=generator) < x.sigmoid()).float()
    return pv.Pair(model, lambda x, label: None), x, label


# The curve


def test_the_curve_of_exact_probabilities_is_what_they_say():
    pair, x, label = labelled(4_000)
    result = pv.selective(pair, x, label, site="label", draws=2)
    error = 1 - x.abs().sigmoid()
    assert torch.allclose(result.confidence.float(), 1 - error, atol=1e-5)
    assert torch.equal(result.prediction, (x > 0).long())
    expected = error[error.argsort()].cumsum(0) / torch.arange(1, 4_001)
    # Each point is a mean of k losses of mean `expected`.
    deviation = (expected * (1 - expected) / torch.arange(1, 4_001)).sqrt()
    assert bool(((result.risk - expected).abs() < 4 * deviation + 0.01)[50:].all())
    assert result.best < result.area < float(result.loss.mean())
    assert float(result.risk[-1]) == pytest.approx(float(result.loss.double().mean()))


def test_perfect_confidence_has_the_best_area_and_none_has_the_mean_risk():
    loss = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0])
    perfect = pv.SelectivePrediction.of(-loss, loss)
    assert perfect.area == pytest.approx(perfect.best)
    assert perfect.best == pytest.approx((1 / 4 + 2 / 5) / 5)
    none = pv.SelectivePrediction.of(torch.ones(5), loss)
    assert none.risk.tolist() == pytest.approx([0.4] * 5)


def test_rows_without_an_answer_are_left_out():
    curve = pv.SelectivePrediction.of(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.0, math.nan, 1.0]))
    assert curve.risk.tolist() == [0.0, 0.5]
    pair, (x, label, known), _ = born(REGISTRY["masked_rows"])
    result = pv.selective(pair, x, label, known, site="label", draws=5)
    assert torch.equal(result.loss.isnan(), ~known)
    assert len(result.coverage) == int(known.sum())
    assert bool(result.confidence.isfinite().all())


def test_numbers_are_predicted_by_their_mean_and_trusted_by_their_spread():
    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(2 * x + z, x.abs()), obs=y)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    generator = torch.Generator().manual_seed(0)
    x, z, noise = torch.randn(3, 2_000, generator=generator)
    y = 2 * x + z + x.abs() * noise
    result = pv.selective(pv.Pair(model, guide), x, y, site="y", draws=400)
    spread = (1 + x.square()).sqrt()
    assert torch.allclose(-result.confidence.float(), spread, rtol=0.3)
    assert bool(((result.prediction - 2 * x).abs() < 5 * spread / 20).all())
    assert float(result.risk[-1]) == pytest.approx(2.0, rel=0.2)  # E(1 + x²)
    assert result.area < 0.8 * float(result.risk[-1])
    with pytest.raises(ArgumentError, match="tolerance="):
        result.hand_over(0.1)
    bounded = pv.selective(pv.Pair(model, guide), x, y, site="y", draws=100, tolerance=2.0)
    assert set(bounded.loss.unique().tolist()) == {0.0, 1.0}
    assert 0 < bounded.hand_over(0.1).share < 0.8


@pytest.mark.parametrize("enumerated", [False, True])
def test_a_latent_class_is_compared_with_the_truth_given_beside(enumerated):
    probabilities = torch.tensor([[0.9, 0.9, 0.2], [0.1, 0.3, 0.8]])
    truth = pv.truth.DiscreteMixture(torch.tensor([0.5, 0.5]), probabilities)
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(2, (1_000,), generator=generator)
    x = (torch.rand(1_000, 3, generator=generator) < probabilities[z]).float()
    pair = pv.Pair(config_enumerate(truth.model), lambda x: None) if enumerated else truth
    result = pv.selective(pair, x, site="z", truth=z, draws=400)
    exact = truth.posterior(x).probs
    tolerance = 0.1 if enumerated else 1e-5  # the share of draws, or the guide's own probabilities
    assert torch.allclose(result.confidence.float(), exact.max(-1).values, atol=tolerance)
    assert float(result.loss.mean()) == pytest.approx(float(1 - exact.max(-1).values.mean()), abs=0.04)


# Handing over


def test_the_risk_of_those_kept_is_too_high_as_seldom_as_promised():
    broken, shares = 0, []
    _, many, _ = labelled(20_000, seed=10_000)
    surest = many.abs().sigmoid()
    for seed in range(300):
        _, x, label = labelled(400, seed)
        curve = pv.SelectivePrediction.of(x.abs().sigmoid(), ((x > 0) != label).float())
        kept = curve.hand_over(0.05, certainty=0.8)
        shares.append(kept.share)
        above = surest > kept.threshold
        # The risk above the threshold over all data: the mean of exact errors.
        broken += bool(above.any()) and float((1 - surest[above]).mean()) > 0.05
    assert 0 < broken / 300 <= 0.2 + 3 * 0.023
    # Without doubt about it, what has a risk of 0.05 could be kept: see how much doubt costs.
    exact = (1 - surest.sort(descending=True).values).cumsum(0) / torch.arange(1, 20_001)
    assert float((exact > 0.05).double().mean()) < sum(shares) / 300 < 0.8


def test_more_risk_or_less_certainty_leave_less_to_a_person():
    _, x, label = labelled(2_000)
    curve = pv.SelectivePrediction.of(x.abs().sigmoid(), ((x > 0) != label).float())
    shares = [curve.hand_over(risk).share for risk in (0.02, 0.05, 0.1, 0.4)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0
    assert curve.hand_over(0.05, certainty=0.5).share <= shares[1]
    kept = curve.hand_over(0.05)
    assert kept.risk < 0.05
    assert float((curve.confidence > kept.threshold).double().mean()) == pytest.approx(1 - kept.share)


def test_where_no_bound_holds_all_goes_to_a_person():
    curve = pv.SelectivePrediction.of(torch.rand(20), torch.ones(20))
    kept = curve.hand_over(0.1)
    assert kept.share == 1
    assert kept.threshold == math.inf
    assert math.isnan(kept.risk)


def test_equal_confidences_are_kept_or_left_together():
    curve = pv.SelectivePrediction.of(torch.ones(100), torch.zeros(100))
    assert curve.hand_over(0.1).share == 0
    curve = pv.SelectivePrediction.of(torch.ones(100), (torch.arange(100) < 50).float())
    assert curve.hand_over(0.1).share == 1


# Any site, and bad input


def test_any_observed_site_that_the_guide_does_not_see():
    for name, site in (("keywords", "label"), ("auto_normal", "y"), ("maximum_likelihood", "y")):
        pyro.clear_param_store()
        pair, args, kwargs = born(REGISTRY[name])
        state = torch.get_rng_state()
        result = pv.selective(pair, *args, site=site, draws=5, **kwargs)
        assert len(result.risk) == 32
        assert bool(result.loss.isfinite().all())
        assert torch.equal(torch.get_rng_state(), state)


def test_bad_input_is_refused_in_words():
    pair, args, _ = born(REGISTRY["plain_functions"])
    with pytest.raises(PairError, match="the guide looks at 'x'"):
        pv.selective(pair, *args, site="x")
    with pytest.raises(ArgumentError, match="site='label' is no observed site of the pair; it has 'x'"):
        pv.selective(pair, *args, site="label")
    with pytest.raises(ArgumentError, match="site='x' is no latent site"):
        pv.selective(pair, *args, site="x", truth=torch.zeros(32))
    with pytest.raises(ArgumentError, match="for 32 rows of data"):
        pv.selective(pair, *args, site="z", truth=torch.zeros(3, 2))
    pair, x, label = labelled(20)
    with pytest.raises(ArgumentError, match="draws=0"):
        pv.selective(pair, x, label, site="label", draws=0)
    with pytest.raises(ArgumentError, match="tolerance=1 is for numbers"):
        pv.selective(pair, x, label, site="label", tolerance=1)
    result = pv.selective(pair, x, label, site="label", draws=2)
    for options in ({"risk": 0.0}, {"risk": 1.5}, {"risk": 0.1, "certainty": 1.0}):
        with pytest.raises(ArgumentError, match=f"{list(options)[-1]}="):
            result.hand_over(**options)
    with pytest.raises(ArgumentError, match="one number of each"):
        pv.SelectivePrediction.of(torch.zeros(3), torch.zeros(4))


def test_the_curve_draws_itself():
    pair, x, label = labelled(50)
    figure = pv.selective(pair, x, label, site="label", draws=2).plot()
    assert "area" in figure.axes[0].get_title()


@pytest.mark.parametrize("numbers", [{"risk": "a"}, {"risk": None}, {"risk": 0.1, "certainty": "sure"}])
def test_risks_are_numbers(numbers):
    curve = pv.SelectivePrediction.of(torch.tensor([0.9, 0.8]), torch.tensor([0.0, 1.0]))
    with pytest.raises(pv.ArgumentError, match="give a number between 0 and 1"):
        curve.hand_over(**numbers)
