"""Generated against real data, and what a linear model reads off an encoding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from registry import arguments, pairs
from scipy.stats import norm

import pyrovae as pv
from pyrovae.evaluation.resemblance import _discrepancy, _mmd, _near, classified, compare
from pyrovae.pairs.pair import Pair
from pyrovae.pairs.trace import run


def normal(count, shift=0.0, seed=0, columns=2):
    return np.random.default_rng(seed).normal(size=(count, columns)) + shift


def linear(noise=0.5):
    weight = torch.tensor([[2.0, 0.0], [0.0, 1.5], [1.0, -1.0]])
    return pv.truth.LinearGaussian(weight, torch.zeros(3), noise)


def test_the_discrepancy_is_the_unbiased_estimate():
    x, y = normal(7, seed=1), normal(7, 1.0, seed=2)

    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / 3.0)

    n = len(x)
    within = [sum(k(s[i], s[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1)) for s in (x, y)]
    across = sum(k(a, b) for a in x for b in y) / n**2
    both = np.concatenate([x, y])
    kernel = np.exp(-((both[:, None] - both[None]) ** 2).sum(-1) / 3.0)
    np.fill_diagonal(kernel, 0)
    assert _mmd(kernel, np.repeat([1.0, -1.0], n)) == pytest.approx(sum(within) - 2 * across, abs=1e-12)


@pytest.mark.slow
def test_p_values_of_one_distribution_are_spread_over_0_to_1():
    found = [compare(normal(60, seed=2 * i), normal(60, seed=2 * i + 1)) for i in range(30)]
    for values in ([f.discrepancy.p_value for f in found], [f.classifier.p_value for f in found]):
        assert 0.25 < np.mean(values) < 0.75
        assert min(values) < 0.35
        assert max(values) > 0.65


@pytest.mark.slow
def test_a_shift_is_seen_as_far_as_it_can_be():
    found = compare(normal(1_000, columns=1), normal(1_000, 2.0, seed=1, columns=1))
    assert found.classifier.accuracy == pytest.approx(0.841, abs=0.035)  # of the best classifier: Phi(1)
    assert found.classifier.p_value < 1e-6
    assert found.discrepancy.p_value < 0.01


def test_a_mode_that_is_never_drawn_costs_recall_and_coverage():
    real, drawn = np.concatenate([normal(200), normal(200, 50.0, seed=1)]), normal(400, seed=2)
    near = _near(real, drawn)
    assert near.recall == pytest.approx(0.5, abs=0.05)
    assert near.coverage == pytest.approx(0.5, abs=0.05)
    assert near.precision > 0.95


def test_drawn_data_that_do_not_exist_cost_precision_and_density():
    real, drawn = normal(400), np.concatenate([normal(200, seed=1), normal(200, 50.0, seed=2)])
    near = _near(real, drawn)
    assert near.precision == pytest.approx(0.5, abs=0.05)
    assert near.recall > 0.9
    assert near.density == pytest.approx(0.5, abs=0.15)


@pytest.mark.slow
def test_the_true_model_is_not_told_from_its_data_and_a_wrong_one_is():
    x = linear().sample(400, seed=0)
    right, wrong = pv.resemblance(linear(), x, seed=1), pv.resemblance(linear(noise=2.0), x, seed=1)
    assert right.discrepancy.p_value > 0.02
    assert right.classifier.p_value > 0.02
    assert right.neighbourhoods.coverage > 0.85
    assert wrong.discrepancy.p_value < 0.01
    assert wrong.neighbourhoods.precision < right.neighbourhoods.precision


def test_features_of_the_callers_decide_what_is_compared():
    x = linear().sample(300, seed=0)
    wrong = linear(noise=2.0)
    blind = pv.resemblance(wrong, x, features=lambda rows: torch.rand(len(rows), 2).numpy())
    assert blind.classifier.p_value > 0.01
    with pytest.raises(pv.ArgumentError, match="keep the rows"):
        pv.resemblance(wrong, x, features=lambda rows: rows[:5])


@pytest.mark.parametrize("entry", pairs(without={"no_latent"}))
def test_any_pair_is_compared_with_its_data(entry):
    torch.manual_seed(0)
    pair, data = entry.make()
    args, kwargs = arguments(data)
    run(pair, args, kwargs)
    found = pv.resemblance(pair, *args, **kwargs)
    assert found.rows == 32
    assert 0 <= found.neighbourhoods.coverage <= 1


def test_what_cannot_be_compared_is_refused_in_words():
    x = linear().sample(40, seed=0)
    with pytest.raises(pv.ArgumentError, match=r"site='y'.*those are: x"):
        pv.resemblance(linear(), x, site="y")
    with pytest.raises(pv.DataError, match="too few"):
        pv.resemblance(linear(), x[:5])
    with pytest.raises(pv.DataError, match="not finite"):
        compare(np.full((20, 2), np.nan), normal(20))
    with pytest.raises(pv.DataError, match="one shape"):
        compare(normal(20), normal(20)[:, :1])


# --- probes -------------------------------------------------------------------------------------------


def encoded(count=300):
    """Data whose latent is nearly seen, and that latent."""
    truth = linear(noise=0.01)
    z = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    return truth, z @ truth.weight.T, z


def test_a_number_that_is_linear_in_the_latent_is_read_off():
    truth, x, z = encoded()
    probe = pv.linear_probe(truth, x, labels=z @ torch.tensor([1.0, -2.0]))
    assert probe.kind == "R2"
    assert probe.score > 0.999


def test_noise_explains_as_much_as_it_should():
    truth, x, z = encoded(2_000)
    noise = torch.randn(2_000, generator=torch.Generator().manual_seed(1))
    labels = z[:, 0] + noise
    probe = pv.linear_probe(truth, x, labels=labels)
    assert probe.score == pytest.approx(float(1 - noise.var() / labels.var()), abs=3 * probe.error)
    assert 0.005 < probe.error < 0.05


def test_classes_are_scored_against_chance():
    truth, x, z = encoded()
    seen = pv.linear_probe(truth, x, labels=(z[:, 0] > 0).long())
    blind = pv.linear_probe(truth, x, labels=torch.randint(2, (300,), generator=torch.Generator().manual_seed(2)))
    assert seen.kind == "accuracy"
    assert seen.score > 0.97
    assert abs(blind.score - 0.5) < 0.12
    assert blind.chance == pytest.approx(0.5, abs=0.08)


def test_labels_that_do_not_fit_are_refused_in_words():
    truth, x, _ = encoded(30)
    with pytest.raises(pv.DataError, match="29 labels for 30 rows"):
        pv.linear_probe(truth, x, labels=torch.zeros(29))
    with pytest.raises(pv.DataError, match="rarest"):
        pv.linear_probe(truth, x, labels=torch.zeros(30, dtype=torch.long))
    with pytest.raises(pv.DataError, match="not finite"):
        pv.linear_probe(truth, x, labels=torch.full((30,), float("nan")))
    empty = Pair(lambda x: None, lambda x: None)
    with pytest.raises(pv.ArgumentError, match="no local latent"):
        pv.linear_probe(empty, x, labels=torch.zeros(30))


def test_neighbours_by_hand():
    """Each ball reaches to the fifth neighbour of its own kind: real ones 3 to 5 far, generated ones 0.05."""
    real, drawn = np.arange(6.0)[:, None], 9.5 + 0.01 * np.arange(6.0)[:, None]
    near = _near(real, drawn)
    assert (near.precision, near.recall) == (1.0, 0.0)  # all lie within 5 of the last real one, and none the other way
    assert near.density == pytest.approx(6 / (5 * 6))
    assert near.coverage == pytest.approx(1 / 6)


def test_p_values_and_width_are_those_of_their_formulas():
    real, drawn = normal(100, columns=1), normal(100, 9.0, seed=1, columns=1)
    found = compare(real, drawn)
    assert found.discrepancy.p_value == 1 / 201  # none of 200 permutations, and the data themselves
    distances = np.abs(np.concatenate([real, drawn]) - np.concatenate([real, drawn]).T)[np.triu_indices(200, 1)]
    assert found.discrepancy.bandwidth == pytest.approx(np.sqrt(np.median(distances**2) / 2))
    one = classified(normal(100, seed=3), normal(100, 0.3, seed=4), 0)
    hits = round(200 * one.accuracy)
    assert one.p_value == pytest.approx(norm.sf((hits - 100) / np.sqrt(50)))


def test_values_are_measured_by_the_real_datas_spread():
    weight = torch.tensor([[2.0, 0.0], [0.0, 1.5], [1.0, -1.0]])
    pairs_ = [pv.truth.LinearGaussian(scale * weight, torch.zeros(3), scale * 0.5) for scale in (1.0, 64.0)]
    widths = [pv.resemblance(one, one.sample(40)).discrepancy.bandwidth for one in pairs_]
    assert widths[0] == pytest.approx(widths[1], rel=1e-4)


@pytest.mark.parametrize("rows", [0, -5, 2.5, True])
def test_rows_are_a_whole_number(rows):
    truth = linear()
    with pytest.raises(pv.ArgumentError, match="rows="):
        pv.resemblance(truth, truth.sample(20), rows=rows)


def test_the_discrepancy_of_four_points_by_hand():
    found = _discrepancy(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]]), seed=0)
    near, mid, far = (math.exp(-squared / 2.5) for squared in (1, 4, 9))  # 2.5: the median of the six squared distances
    assert found.value == pytest.approx(2 * near - (near + 2 * mid + far) / 2)
    assert found.bandwidth == pytest.approx(math.sqrt(2.5 / 2))
