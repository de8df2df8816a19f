"""Observations that belong to several rows: their evidence is that of the whole."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

X = torch.linspace(-1.0, 2.0, 10)


def amortised(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x, 0.75))


def joint_observation(x):
    """One normal vector outside the plate of the latents."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.MultivariateNormal(z, torch.eye(len(x))), obs=x)


def random_walk(x):
    """Every row looks at the steps before it."""
    with pyro.plate("data", len(x)):
        step = pyro.sample("z", dist.Normal(0.0, 0.5))
        pyro.sample("x", dist.Normal(step.cumsum(-1), 1.0), obs=x)


def steps(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.1 * x, 0.45))


def penalised(x):
    """Rows of their own, and a factor of all of them."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    pyro.factor("together", dist.Normal(0.0, 1.0).log_prob(z.sum(-1)))


def of_walk(x):
    lower = torch.ones(len(x), len(x)).tril()
    return dist.MultivariateNormal(torch.zeros(len(x)), 0.25 * lower @ lower.T + torch.eye(len(x))).log_prob(x)


def of_penalised(x):
    n = len(x)
    precision = 2 * torch.eye(n) + torch.ones(n, n)
    constant = dist.Normal(0.0, 1.0).log_prob(x).sum() + 2 * dist.Normal(0.0, 1.0).log_prob(torch.zeros(())) / 2
    return constant + 0.5 * x @ torch.linalg.solve(precision, x) - 0.5 * torch.logdet(precision)


TIED = {
    "joint": (joint_observation, amortised, lambda x: dist.Normal(0.0, 2**0.5).log_prob(x).sum()),
    "walk": (random_walk, steps, of_walk),
    "factor": (penalised, amortised, of_penalised),
}
OF_EACH = {
    "evidence": lambda pair: pv.log_evidence(pair, X),
    "psis": lambda pair: pv.psis(pair, X),
    "annealed": lambda pair: pv.ais(pair, X, chains=2, steps=3),
    "gap": lambda pair: pv.inference_gap(pair, X, steps=2, draws=4),
    "novelty": lambda pair: pv.novelty(pair, X, calibration=X),
}


@pytest.mark.parametrize("figure", OF_EACH)
@pytest.mark.parametrize("name", TIED)
def test_rows_that_are_tied_have_no_evidence_of_their_own(name, figure):
    model, guide, _ = TIED[name]
    with pytest.raises(pv.PyrovaeError, match="belongs to several rows together"):
        OF_EACH[figure](pv.Pair(model, guide))


@pytest.mark.parametrize("name", TIED)
@pytest.mark.slow
def test_all_rows_together_have_the_exact_evidence(name):
    model, guide, exact = TIED[name]
    pair = pv.Pair(model, guide)
    found = pv.log_evidence(pair, X, joint=True, draws=1000)
    assert abs(float(found.value - exact(X))) < 4.5 * float(found.error)
    assert float(found.error) < 0.2


def test_the_rate_of_rows_that_are_tied_is_that_of_all_of_them():
    pair = pv.Pair(joint_observation, amortised)
    whole = pv.elbo(pair, X, draws=100).value.mean()
    assert pv.rate_distortion(pair, X, draws=100, batch_size=4).elbo == pytest.approx(float(whole), abs=0.15)


def test_rows_beyond_one_tile_stay_together():
    x = torch.linspace(-1.0, 1.0, 300)

    def exact_guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, 0.5**0.5))

    found = pv.log_evidence(pv.Pair(joint_observation, exact_guide), x, joint=True, draws=2)
    assert float(found.value) == pytest.approx(float(dist.Normal(0.0, 2**0.5).log_prob(x).sum()), rel=1e-5)


def test_what_is_observed_beside_the_rows_leaves_them_their_own():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("beside", dist.Normal(w, 1.0), obs=torch.tensor(0.4))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(w, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        w = pyro.sample("w", dist.Normal(0.2, 0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((w + x) / 2, 0.5**0.5))

    found = pv.log_evidence(pv.Pair(model, guide), X, draws=500)
    exact = dist.Normal(0.2, (2 + 0.01) ** 0.5).log_prob(X)
    torch.testing.assert_close(found.value.float(), exact, atol=0.03, rtol=0)
