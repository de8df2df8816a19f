from __future__ import annotations

import numpy as np
import pytest

from pyrovae.generations import psislw

# The seam


@pytest.mark.parametrize("shape", [0.3, 0.6, 0.9])
def test_smoothed_weights_know_the_shape_of_their_tail(shape):
    """Weights of a Pareto distribution have its shape; taken the wrong way up they would have none."""
    weights = 1 + np.random.default_rng(0).pareto(1 / shape, size=(40, 4000))
    smoothed, khat = psislw(np.log(weights))
    assert abs(khat.mean() - shape) < 4 * khat.std() / np.sqrt(len(khat))
    np.testing.assert_allclose(np.exp(smoothed).sum(-1), 1, rtol=1e-9)
    order = np.argsort(weights[0])
    assert (np.diff(smoothed[0, order]) >= -1e-12).all()


def test_weights_without_a_tail():
    """All the same, too few, or all alike at the top: no fit, and no error in either generation."""
    alike, khat = psislw(np.full((2, 100), 3.0))
    assert (khat == -np.inf).all()
    np.testing.assert_allclose(alike, -np.log(100))
    few, khat = psislw(np.array([0.0, 1.0, 2.0]))
    assert all(psislw(np.arange(float(count)))[1] == np.inf for count in range(2, 20))
    assert khat == np.inf
    np.testing.assert_allclose(np.exp(few), np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum())
    tied = np.r_[np.zeros(900), np.ones(100)]
    assert psislw(tied)[1] == np.inf
