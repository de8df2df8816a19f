"""Rubin's rules against figures worked out by hand, and their intervals over many repeats of a known model."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

pooled = pv.tables.pooled


def test_figures_are_those_worked_out_by_hand():
    """Three imputations: within 2, between 1, so that T = 2 + 4/3 and a share of 0.4 is missing."""
    found = pooled([(9.0, 1.0), (10.0, 2.0), (11.0, 3.0)], lambda one: one, level=0.9)
    assert float(found.estimate) == 10
    assert float(found.error) == pytest.approx(math.sqrt(10 / 3))
    assert float(found.degrees) == pytest.approx(2 / 0.4**2)
    gamma = (2 / 3 + 2 / (12.5 + 3)) / (2 / 3 + 1)  # Rubin (1987), with r = 2/3
    assert float(found.missing_information) == pytest.approx(gamma)
    reach = 1.7764 * math.sqrt(10 / 3)  # t with 12.5 degrees of freedom
    assert [float(found.low), float(found.high)] == pytest.approx([10 - reach, 10 + reach], rel=1e-4)


def test_degrees_of_freedom_of_small_samples():
    """Barnard and Rubin: never more than complete data have, and those of complete data where nothing is missing."""
    answers = [(9.0, 1.0), (10.0, 2.0), (11.0, 3.0)]
    observed = 21 / 23 * 20 * 0.6
    assert float(pooled(answers, tuple, complete_degrees=20).degrees) == pytest.approx(1 / (1 / 12.5 + 1 / observed))
    degrees = 1 / (1 / 12.5 + 1 / observed)
    gamma = (2 / 3 + 2 / (degrees + 3)) / (2 / 3 + 1)  # Rubin's with these degrees of freedom: 0.536, and 0.477 without
    missing = pooled(answers, tuple, complete_degrees=20).missing_information
    assert float(missing) == pytest.approx(gamma)
    assert float(missing) == pytest.approx(0.5358, abs=1e-4)
    same = pooled([(1.0, 2.0)] * 5, tuple, complete_degrees=20)
    assert float(same.degrees) == pytest.approx(21 / 23 * 20)
    assert float(same.missing_information) == pytest.approx(0, abs=0.01)
    assert float(pooled([(1.0, 2.0)] * 5, tuple).degrees) == math.inf
    assert float(pooled([(1.0, 2.0)] * 5, tuple).missing_information) == 0


def test_two_imputations_by_hand():
    """Q -1.5457 and -1.428 with errors 0.9723 and 1.041, and 23 complete degrees of freedom."""
    answers = [(-1.5457, 0.9723**2), (-1.428, 1.041**2)]
    found = pooled(answers, tuple, complete_degrees=23)
    within, between = (0.94536729 + 1.083681) / 2, 0.1177**2 / 2
    ratio = 1.5 * between / within
    share = ratio / (1 + ratio)
    degrees = 1 / (share**2 + 1 / (24 / 26 * 23 * (1 - share)))
    assert float(found.degrees) == pytest.approx(degrees)
    assert float(found.degrees) == pytest.approx(20.97, abs=0.01)
    assert float(found.missing_information) == pytest.approx((ratio + 2 / (degrees + 3)) / (ratio + 1))
    assert float(found.missing_information) == pytest.approx(0.0927, abs=1e-4)


def test_several_estimates_by_matrices_and_by_fitted_objects():
    pd = pytest.importorskip("pandas")
    loc, spread = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[4.0, 0.5], [0.5, 9.0]])
    matrix = pooled(loc, lambda one: (one, spread))
    assert matrix.estimate.tolist() == [2, 5]
    assert matrix.error.tolist() == pytest.approx([math.sqrt(4 + 1.5 * 2), 3])

    def fitted(one):
        names = ["slope", "level"]
        return SimpleNamespace(params=pd.Series(one, names), bse=pd.Series([2.0, 3.0], names), df_resid=7.0)

    found = pooled(loc, fitted)
    assert found.names == ("slope", "level")
    assert found.error.tolist() == pytest.approx(matrix.error.tolist())
    assert float(found.degrees[1]) == pytest.approx(8 / 10 * 7)
    shown = str(found).splitlines()
    assert shown[0].split()[0] == "estimate"
    assert shown[1].split()[:2] == ["slope", "2"]


@pytest.mark.slow
def test_a_frame_that_was_imputed_comes_as_frames():
    pd = pytest.importorskip("pandas")
    noise = np.random.default_rng(0)
    frame = pd.DataFrame({"a": noise.normal(size=30), "b": noise.choice(["x", "y"], 30)})
    frame.loc[::4, "b"] = None
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=(4,))
    pv.fit(pair, frame, epochs=1, seed=0, progress=False)
    found = pv.impute(pair, frame, draws=3)
    share = pooled(found, lambda full: ((full["b"] == "x").mean(), 0.25 / 30))
    wanted = np.mean([(full["b"] == "x").mean() for full in found.frames()])
    assert float(share.estimate) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("imputations", "function", "options", "match"),
    [
        ([1.0], lambda one: (one, 1.0), {}, "there is 1 imputation; Rubin's rules compare 2"),
        ([1.0, 2.0], lambda one: one, {}, "the function returned float"),
        ([1.0, 2.0], lambda one: ([one], 1.0), {}, r"shape \(1,\) and a variance of shape \(\)"),
        ([1.0, 2.0], lambda one: (one, -1.0), {}, "variance below 0"),
        ([1.0, math.nan], lambda one: (one, 1.0), {}, "no finite numbers"),
        ([[1.0], [1.0, 2.0]], lambda one: (one, one), {}, "imputation 1 has the estimates"),
        ([1.0, 2.0], lambda one: (one, 0.0), {}, "variance of 0"),
        ([1.0, 2.0], lambda one: (one, 1.0), {"level": 95}, "between 0 and 1"),
        ([1.0, 2.0], lambda one: (one, 1.0), {"complete_degrees": 0}, "above 0"),
    ],
)
def test_what_cannot_be_pooled_is_refused(imputations, function, options, match):
    with pytest.raises(pv.PyrovaeError, match=match):
        pooled(imputations, function, **options)


# --- coverage over repeats of a known model -------------------------------------------------------------
SLOPE, LEVEL, NOISE = 0.7, 0.3, 0.8


def slope(x, y):
    """Least squares: the slope and its variance."""
    centred = x - x.mean()
    squares = (centred**2).sum()
    found = (centred * y).sum() / squares
    rest = y - y.mean() - found * centred
    return float(found), float((rest**2).sum() / (len(x) - 2) / squares)


def posterior(x, y):
    """Of level and slope under a flat prior, the noise known: mean and covariance."""
    design = np.stack([np.ones_like(x), x], 1)
    spread = np.linalg.inv(design.T @ design) * NOISE**2
    return spread @ design.T @ y / NOISE**2, spread


def repeat(noise, rows):
    """A table whose y is missing the more often the larger x is (at random)."""
    x = noise.normal(size=rows)
    y = LEVEL + SLOPE * x + NOISE * noise.normal(size=rows)
    return x, y, noise.random(rows) < 1 / (1 + np.exp(-(x - 0.5)))


def test_intervals_of_a_slope_cover_it_over_500_repeats():
    """Imputations in closed form: level and slope from their posterior, then y given x."""
    noise, covered = np.random.default_rng(0), []
    for _ in range(500):
        x, y, gone = repeat(noise, 60)
        mean, spread = posterior(x[~gone], y[~gone])
        weights = noise.multivariate_normal(mean, spread, 10)
        drawn = weights[:, :1] + weights[:, 1:] * x + NOISE * noise.normal(size=(10, 60))
        found = pooled(np.where(gone, drawn, y), lambda full, x=x: slope(x, full), complete_degrees=58)
        covered.append(float(found.low) < SLOPE < float(found.high))
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.slow
def test_intervals_of_a_slope_cover_it_through_impute():
    """The same by a pair whose weights are a site that rows share: 300 tables at once, each with weights of its own."""
    noise, rows, repeats, draws = np.random.default_rng(1), 40, 300, 5
    tables = [repeat(noise, rows) for _ in range(repeats)]
    known = [posterior(x[~gone], y[~gone]) for x, y, gone in tables]
    loc = torch.tensor(np.stack([mean for mean, _ in known]), dtype=torch.float32)
    spread = torch.tensor(np.stack([one for _, one in known]), dtype=torch.float32)
    x, y, gone = (torch.tensor(np.concatenate(part)) for part in zip(*tables, strict=True))
    table = torch.arange(repeats).repeat_interleave(rows)

    def model(x, table, y):
        weights = pyro.sample("weights", dist.Normal(torch.zeros(repeats, 2), 100.0).to_event(2))
        with pyro.plate("data", len(x)):
            here = weights[..., table, :]
            pyro.sample("y", dist.Normal(here[..., 0] + here[..., 1] * x, NOISE), obs=y)

    def guide(x, table, y):
        pyro.sample("weights", dist.MultivariateNormal(loc, spread).to_event(1))

    found = pv.impute(
        pv.Pair(model, guide), x.float(), table, y.float().masked_fill(gone, math.nan), draws=draws, candidates=30
    )
    full = found.values["y"].reshape(draws, repeats, rows).double().numpy()
    covered = []
    for number, (x, _, _) in enumerate(tables):
        answer = pooled(full[:, number], lambda y, x=x: slope(x, y), complete_degrees=rows - 2)
        covered.append(float(answer.low) < SLOPE < float(answer.high))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.038)  # three standard errors of so many repeats


def test_one_completed_frame_is_no_set_of_imputations():
    import pandas as pd

    with pytest.raises(pv.errors.ArgumentError, match="there is one completed frame"):
        pv.tables.pooled(pd.DataFrame({"a": [1.0, 2.0]}), lambda full: (full["a"].mean(), 1.0))
