"""The linear state space model: exact answers against dense formulas, estimators against the answers."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyrovae as pv

DOUBLE = torch.float64
TRANSITION = torch.tensor([[0.9, 0.2], [-0.3, 0.8]], dtype=DOUBLE)
WEIGHT = torch.tensor([[1.0, 0.0], [0.5, -1.0], [0.3, 0.7]], dtype=DOUBLE)


def state_space(**options):
    return pv.truth.LinearStateSpace(TRANSITION, WEIGHT, torch.tensor([0.5, 0.3]), 0.4, **options)


def with_gaps(rows: int = 5, steps: int = 6):
    x = state_space().sample(rows, steps, seed=1)
    x[0, 2:4] = x[1, 0, 1] = x[2, 1:, 0] = math.nan
    return x, torch.tensor([6, 4, 6, 1, 3])


def joint(truth, steps: int):
    """Mean and covariance of (z, x) of all steps, by the formula z = (I - A)^-1 noise."""
    k, d = 2, 3
    moved = torch.kron(torch.diag(torch.ones(steps - 1, dtype=DOUBLE), -1), TRANSITION)
    sources = torch.block_diag(truth.initial, *[torch.diag(truth.drift.square())] * (steps - 1))
    whole = torch.linalg.inv(torch.eye(steps * k, dtype=DOUBLE) - moved)
    z = whole @ sources @ whole.T
    weights = torch.kron(torch.eye(steps, dtype=DOUBLE), WEIGHT)
    return z, weights, weights @ z @ weights.T + 0.16 * torch.eye(steps * d, dtype=DOUBLE)


def test_the_filter_agrees_with_one_large_normal():
    truth, (x, lengths) = state_space(), with_gaps()
    z, weights, covariance = joint(truth, 6)
    found, posterior, cells = truth.log_evidence(x, lengths), truth.posterior(x, lengths), truth.cells(x, lengths)
    for row, length in enumerate(lengths):
        seen = (~x[row].isnan() & (torch.arange(6) < length).unsqueeze(-1)).flatten()
        values, block = x[row].flatten()[seen], covariance[seen][:, seen]
        exact = dist.MultivariateNormal(torch.zeros_like(values), block).log_prob(values)
        assert float(found[row]) == pytest.approx(float(exact), abs=1e-9)
        gain = torch.linalg.solve(block, weights[seen] @ z).T
        smoothed = z - gain @ weights[seen] @ z
        assert torch.allclose(posterior.mean[row].flatten(), gain @ values, atol=1e-9)
        assert torch.allclose(posterior.variance[row].flatten(), smoothed.diagonal(), atol=1e-9)
        spread = (weights @ smoothed @ weights.T).diagonal() + 0.16
        assert torch.allclose(cells.variance[row].flatten(), spread, atol=1e-9)
        assert torch.allclose(cells.mean[row].flatten(), weights @ gain @ values, atol=1e-9)


def test_the_guide_is_exact_and_padding_is_nothing():
    truth, (x, lengths) = state_space(), with_gaps()
    garbage = x.clone()
    garbage[1, 4:], garbage[3, 1:], garbage[4, 3:] = 1e20, -7.0, math.nan
    wide = torch.cat([garbage, torch.full((5, 3, 3), math.inf, dtype=DOUBLE)], 1)
    exact = truth.log_evidence(x, lengths)
    for data in (garbage, wide):
        guide = poutine.trace(truth.guide).get_trace(data, lengths)
        model = poutine.trace(poutine.replay(truth.model, guide)).get_trace(data, lengths)
        model.compute_log_prob()
        guide.compute_log_prob()
        weights = sum(model.nodes[name]["log_prob"] for name in "zx") - guide.nodes["z"]["log_prob"]
        assert torch.allclose(weights, exact, atol=1e-9)
    alone = [truth.log_evidence(x[row : row + 1, :length]) for row, length in enumerate(lengths)]
    assert torch.allclose(torch.cat(alone), exact, atol=1e-9)


def test_every_estimator_sees_the_evidence():
    truth, (x, lengths) = state_space(), with_gaps()
    exact = truth.log_evidence(x, lengths)
    for found in (pv.log_evidence(truth, x, lengths, draws=3), pv.elbo(truth, x, lengths, draws=3)):
        assert torch.allclose(found.value, exact, atol=1e-6)
    assert pv.rate_distortion(truth, x, lengths).elbo == pytest.approx(float(exact.mean()), abs=1e-6)


def test_draws_are_those_of_the_model():
    x = state_space().sample(20_000, 4)
    _, _, covariance = joint(state_space(), 4)
    assert torch.allclose(torch.cov(x.flatten(1).T), covariance, atol=0.05)
    state = torch.get_rng_state()
    assert torch.equal(state_space().sample(3, 4, seed=3), state_space().sample(3, 4, seed=3))
    assert torch.equal(state, torch.get_rng_state())
    own = state_space(initial=torch.eye(2)).sample(20_000, 1)[:, 0]
    assert torch.allclose(torch.cov(own.T), WEIGHT @ WEIGHT.T + 0.16 * torch.eye(3, dtype=DOUBLE), atol=0.05)


@pytest.mark.slow
def test_gaps_and_what_follows_are_drawn_from_their_posterior():
    """90 % intervals of imputed gaps and of forecasts cover 90 % of what was hidden (1,600 cells, so to 0.8 %)."""
    truth = state_space()
    whole = truth.sample(100, 12, seed=5)
    x = whole.clone()
    x[:, 3:7] = math.nan  # a gap
    x[:, 10:, 0] = math.nan
    x[:, 11] = math.nan  # and a forecast
    found = pv.impute(truth, x, draws=150)
    assert float(found.khat.max()) < 0.7
    lower, upper = found.values["x"].quantile(torch.tensor([0.05, 0.95], dtype=DOUBLE), 0)
    holes = found.missing["x"]
    assert torch.equal(holes, x.isnan())
    covered = ((whole > lower) & (whole < upper))[holes].double().mean()
    assert 0.88 < float(covered) < 0.92
    mean = found.values["x"].mean(0)
    exact = truth.cells(x)
    assert float((mean - exact.mean)[holes].abs().div(exact.variance.sqrt()[holes]).max()) < 5 / math.sqrt(150)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda x: state_space().log_evidence(x[..., :2]), r"shape \(rows, steps, 3\)"),
        (lambda x: state_space().log_evidence(x, torch.tensor([6, 0, 6, 6, 6])), "row 1 is 0"),
        (lambda x: state_space().log_evidence(x, torch.tensor([6, 6, 7, 6, 6])), "row 2 is 7"),
        (lambda x: pv.elbo(state_space(), x, torch.tensor([6, 6, 1.5, 6, 6])), "row 2 is 1.5"),
        (lambda x: pv.elbo(state_space(), x, torch.full((5, 1), 6)), "one number a series"),
        (lambda x: pv.elbo(state_space(), torch.full_like(x, math.nan)), "row 0 are missing"),
        (lambda _: pv.truth.LinearStateSpace(torch.eye(2), WEIGHT), "no covariance that it keeps"),
        (lambda _: pv.truth.LinearStateSpace(torch.eye(3), WEIGHT), r"got shapes \(3, 3\)"),
        (lambda _: pv.truth.LinearStateSpace(TRANSITION, WEIGHT, -1.0), "drift= takes a positive number"),
    ],
)
def test_what_cannot_be_is_refused_in_words(ask, words):
    with pytest.raises(pv.PyrovaeError, match=words):
        ask(with_gaps()[0])
