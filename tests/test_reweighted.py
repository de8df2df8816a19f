"""Priors that are reweighted to where codes lie: Z, evidence and draws by quadrature, and what is refused."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

TRUTH = pv.truth.LinearGaussian(torch.eye(2, 1), torch.zeros(2), 0.5)
X = TRUTH.sample(2_000, seed=0) * 0.3 + torch.tensor([2.0, 0.0])
GRID = torch.linspace(-8, 8, 8_001, dtype=torch.double)[:, None]
STEP = math.log(16 / 8_000)


@pytest.fixture(scope="module")
def found():
    return pv.reweighted(TRUTH, X, draws=200_000)


def log_prior(found):
    """The reweighted density on the grid, by quadrature, and its log Z."""
    unweighted = dist.Normal(0.0, 1.0).log_prob(GRID)[:, 0] + found.factor(GRID.float()).double()
    log_z = float(unweighted.logsumexp(0)) + STEP
    return unweighted - log_z, log_z


def test_the_constant_is_that_of_quadrature_within_its_error(found):
    _, log_z = log_prior(found)
    assert 1e-4 < found.log_z_error < 0.02
    assert abs(found.log_z - log_z) < 4 * found.log_z_error
    assert found.acceptance == pytest.approx(math.exp(log_z - 5.0), rel=0.1)


def test_the_factor_is_the_ratio_of_all_codes_to_the_prior(found):
    """The exact guide's codes of these data are normal; a bounded factor flattens where it comes near its bound."""
    code = pv.encode(TRUTH, X)["z"]
    middle, spread = float(code.mean.mean()), float((code.mean.var() + code.scale.square().mean()).sqrt())
    z = torch.linspace(middle - 2 * spread, middle + spread, 5)[:, None]
    exact = dist.Normal(middle, spread).log_prob(z) - dist.Normal(0.0, 1.0).log_prob(z)
    assert float((found.factor(z) - found.log_z - exact[:, 0]).abs().max()) < 0.4


def test_evidence_and_bound_are_those_of_the_new_prior(found):
    prior, _ = log_prior(found)
    likelihood = dist.Normal(GRID * torch.eye(2, 1, dtype=torch.double)[:, 0], 0.5)
    exact = torch.stack([(prior + likelihood.log_prob(x).sum(-1)).logsumexp(0) + STEP for x in X[:100].double()])
    evidence = pv.log_evidence(found, X[:100], draws=500, seed=0)
    error = (evidence.error.square().mean() / 100).sqrt() + found.log_z_error
    assert abs(float((evidence.value - exact).mean())) < 4 * float(error)
    rise = pv.elbo(found, X, draws=5, seed=0).value.mean() - pv.elbo(TRUTH, X, draws=5, seed=0).value.mean()
    assert float(rise) == pytest.approx(found.gain, abs=5 * found.gain_error)


def test_draws_are_of_the_new_prior(found):
    prior, _ = log_prior(found)
    mean = float((prior.exp() * GRID[:, 0]).sum()) * 16 / 8_000
    spread = (float((prior.exp() * (GRID[:, 0] - mean) ** 2).sum()) * 16 / 8_000) ** 0.5
    z = pv.generate(found, X, seed=0)["z"]
    assert float(z.mean()) == pytest.approx(mean, abs=4 * spread / len(z) ** 0.5)
    assert float(z.std()) == pytest.approx(spread, rel=0.1)


def test_the_same_seed_and_data_give_the_same_prior(found):
    again = pv.reweighted(TRUTH, X, draws=200_000)
    assert (again.log_z, again.gain) == (found.log_z, found.gain)
    assert torch.equal(again.factor(GRID.float()), found.factor(GRID.float()))


def test_codes_like_the_prior_gain_nothing_and_that_is_said():
    with pytest.warns(pv.PyrovaeWarning, match="no better than the former one"):
        found = pv.reweighted(TRUTH, TRUTH.sample(400, seed=1), draws=10_000)
    assert abs(found.gain) < 0.1


def vae(prior):
    torch.manual_seed(0)
    return pv.VAE(prior, pv.Normal(pv.MLP(2, [8], 2), scale=1.0), pv.DiagNormal(pv.MLP(2, [8], 4)))


@pytest.mark.filterwarnings("ignore:reweighted")
@pytest.mark.parametrize("staged", [False, "traced"])
def test_guide_and_likelihood_are_trained_under_it(staged):
    found = pv.reweighted(vae(pv.StandardNormal(2)), X, draws=1_000)
    held = [parameter.clone() for parameter in found.factor.odds.parameters()]
    before = float(pv.elbo(found, X[:64], draws=100, seed=0).value.mean())
    state = torch.get_rng_state()
    pv.fit(found, X[:64], steps=60, learning_rate=1e-2, seed=1, staged=staged, progress=False)
    assert float(pv.elbo(found, X[:64], draws=100, seed=0).value.mean()) > before + 0.1
    assert all(map(torch.equal, held, found.factor.odds.parameters()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:reweighted")
def test_a_learned_prior_is_reweighted_and_not_trained_on():
    inner = vae(pv.FlowPrior.coupling(2, layers=1, hidden=[4]))
    found = pv.reweighted(inner, X, draws=1_000)
    before = pv.elbo(found, X[:20], seed=0).value
    with pytest.raises(pv.PairError, match=r"has parameters of its own.*reweight it again"):
        pv.fit(found, X, steps=1, progress=False)
    with torch.no_grad():
        for parameter in inner.prior.parameters():
            parameter.add_(1.0)
    assert torch.equal(pv.elbo(found, X[:20], seed=0).value, before)  # of the prior as it was


def levels(x):
    with pyro.plate("data", len(x)):
        top = pyro.sample("top", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        low = pyro.sample("low", dist.Normal(top, 1.0).to_event(1))
        pyro.sample("x", dist.Normal(low.expand(-1, 2), 1.0).to_event(1), obs=x)


def both(x):
    with pyro.plate("data", len(x)):
        for name in ("top", "low"):
            pyro.sample(name, dist.Normal(x[:, :1], 1.0).to_event(1))


def test_a_top_level_is_reweighted():
    found = pv.reweighted(pv.Pair(levels, both), X, site="top", draws=10_000)
    assert found.gain > 1
    assert pv.log_evidence(found, X[:5], draws=20).value.isfinite().all()


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda: pv.reweighted(pv.Pair(levels, both), X), pv.ArgumentError, r"site= is left out.*'top', 'low'"),
        (lambda: pv.reweighted(pv.Pair(levels, both), X, site="low"), pv.PairError, "not the same for all rows"),
        (lambda: pv.reweighted(TRUTH, X, site="x"), pv.ArgumentError, r"site='x'.*'z'"),
        (lambda: pv.reweighted(TRUTH, X[:9]), pv.DataError, "9 rows are too few"),
        (lambda: pv.reweighted(pv.reweighted(TRUTH, X, draws=99), X), pv.PairError, "reweighted already"),
        (lambda: pv.reweighted(TRUTH, X, most=0), pv.ArgumentError, "most=0"),
    ],
)
def test_what_cannot_be_is_refused_in_words(ask, error, words):
    with pytest.raises(error, match=words):
        ask()
