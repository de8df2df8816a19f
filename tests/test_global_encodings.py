"""What is one for all rows has an encoding, too."""

from __future__ import annotations

import pytest
import torch
from registry import born, pairs

import pyrovae as pv


def test_it_is_the_exact_posterior_of_a_guide_that_is():
    truth, x = pv.truth.GammaPoisson(2.0, 1.0), torch.tensor([3.0, 5.0, 4.0])
    found, exact = pv.encode(truth, x)["rate"], truth.posterior(x)
    assert found.mean.shape == found.scale.shape == ()
    assert found.mean == pytest.approx(float(exact.mean), rel=1e-5)
    assert found.scale == pytest.approx(float(exact.stddev), rel=1e-5)


@pytest.mark.parametrize("entry", pairs(having={"global"}))
def test_it_has_the_moments_of_its_draws(entry):
    pair, args, kwargs = born(entry)
    found = pv.encode(pair, *args, draws=200, **kwargs)
    drawn = pv.posterior(pair, *args, draws=200, seed=1, **kwargs)
    assert {*entry.global_sites} <= {*found}
    for site in entry.global_sites:
        error = drawn[site].double().std(0) / 200**0.5
        mean, scale = (part.double() for part in found[site])
        assert torch.all((mean - drawn[site].double().mean(0)).abs() <= 7 * error + 1e-5)
        assert torch.allclose(scale, 200**0.5 * error, rtol=0.35, atol=1e-5)


def test_columns_are_made_of_what_each_row_has():
    entry = next(one.values[0] for one in pairs(having={"global"}, without={"no_latent"}) if one.values[0].latent)
    pair, args, kwargs = born(entry)
    labels = torch.arange(len(next(iter([*args, *kwargs.values()])))) % 2
    assert pv.linear_probe(pair, *args, labels=labels, folds=2, **kwargs).kind == "accuracy"
