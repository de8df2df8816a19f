"""The inference gap and its two parts, against closed forms and over all styles of pair."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import REGISTRY, ROWS, born, pairs
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae.evaluation.refinement import refined
from pyrovae.pairs.pair import Pair
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import scorers

QUICK = {"steps": 5, "draws": 8}


@pytest.fixture(scope="module")
def linear():
    weight = torch.tensor([[1.0, 0.3], [0.2, 1.0], [0.5, 0.1], [0.1, 0.6]])  # latents correlate in the posterior
    return pv.truth.LinearGaussian(weight, torch.zeros(4), 0.8)


def off(linear, shift=0.5, factor=2.0):
    """The model, and a diagonal guide that is wrong in a known way: its normals, and the best diagonal ones."""
    posterior = linear.posterior(linear.sample(6))
    deviation = posterior.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()

    def guide(x):
        with pyro.plate("data", len(x)):
            loc = linear.posterior(x).mean + shift
            pyro.sample("z", dist.Normal(loc, factor * deviation[0]).to_event(1))

    wrong = dist.Normal(posterior.mean + shift, factor * deviation).to_event(1)
    best = dist.Normal(posterior.mean, deviation).to_event(1)
    return Pair(linear.model, guide), *(_full(one) for one in (wrong, best)), posterior


def _full(normal):
    return dist.MultivariateNormal(normal.mean, torch.diag_embed(normal.variance))


@pytest.mark.slow
def test_both_parts_are_those_of_the_closed_form(linear):
    """A diagonal normal stays one: approximation is the best one's KL, amortisation what is between."""
    pair, wrong, best, posterior = off(linear)
    x = linear.sample(6)
    gap = pv.inference_gap(pair, x, draws=1500, steps=250)
    missed, least = kl_divergence(wrong, posterior).double(), kl_divergence(best, posterior).double()
    for found, exact in ((gap.total, missed), (gap.approximation, least), (gap.amortisation, missed - least)):
        assert float((found.value - exact).abs().max()) < 4 * float(found.error.max()) + 0.02
        assert float(found.error.max()) < 0.2
    assert float(least.min()) > 0.005
    torch.testing.assert_close(gap.total.value, gap.approximation.value + gap.amortisation.value)
    assert float((gap.evidence.value - linear.log_evidence(x)).abs().max()) < 0.05


@pytest.mark.slow
def test_a_family_that_mixes_dimensions_holds_the_posterior(linear):
    pair, wrong, _, posterior = off(linear)
    gap = pv.inference_gap(pair, linear.sample(6), draws=1500, steps=250, full=True)
    assert float(gap.approximation.value.abs().max()) < 0.01
    assert float((gap.amortisation.value - kl_divergence(wrong, posterior)).abs().max()) < 4 * float(
        gap.amortisation.error.max()
    )


def test_the_exact_posterior_has_no_gap(linear):
    gap = pv.inference_gap(linear, linear.sample(6), draws=300, steps=20)
    assert float(gap.total.value.abs().max()) < 4 * float(gap.total.error.max()) < 0.2
    assert float(gap.elbo.error.max()) < 1e-6


def test_evidence_may_come_from_elsewhere(linear):
    pair, _, best, posterior = off(linear)
    x = linear.sample(6)
    gap = pv.inference_gap(pair, x, draws=1000, steps=100, evidence=linear.log_evidence(x))
    assert torch.equal(gap.evidence.value, linear.log_evidence(x).double())
    assert float((gap.approximation.value - kl_divergence(best, posterior)).abs().max()) < 0.05
    lower = pv.ais(pair, x, chains=2, steps=4, leapfrogs=2).lower
    assert torch.equal(pv.inference_gap(pair, x, evidence=lower, **QUICK).evidence.error, lower.error)
    with pytest.raises(pv.ArgumentError, match=r"evidence has shape \(5,\); there are 6 data"):
        pv.inference_gap(pair, x, evidence=torch.zeros(5), **QUICK)


def test_constrained_sites_are_moved_where_they_are_free():
    """A gamma posterior, and a log-normal guide: what is left is the KL of the best log-normal."""

    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.LogNormal(torch.ones_like(x), 1.0))

    x = torch.tensor([0.0, 3.0, 9.0])
    exact = dist.NegativeBinomial(2.0, probs=torch.tensor(0.5)).log_prob(x).double()
    gap = pv.inference_gap(Pair(model, guide), x, draws=2000, steps=150)
    assert float((gap.evidence.value - exact).abs().max()) < 0.03
    # The best log-normal matches E[log rate] + s^2 / 2 and s^2 = 1 / concentration.
    concentration = (2 + x).double()
    posterior = torch.distributions.Gamma(concentration, torch.tensor(2.0))
    scale = concentration.rsqrt()
    loc = (concentration / 2).log() - scale.square() / 2
    best = torch.distributions.LogNormal(loc, scale)
    draws = best.sample((20000,))
    least = (best.log_prob(draws) - posterior.log_prob(draws)).mean(0)
    assert float((gap.approximation.value - least).abs().max()) < 0.05
    assert float(gap.amortisation.value.min()) > 0.1


def test_the_refinement_leaves_the_pair_as_it_is(linear):
    pair, args, kwargs = born(REGISTRY["built_in"])
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    gradients = [parameter.grad for parameter in pair.parameters()]
    state = torch.get_rng_state()
    one, other = (pv.inference_gap(pair, *args, **kwargs, **QUICK) for _ in range(2))
    assert torch.equal(one.total.value, other.total.value)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    assert gradients == [parameter.grad for parameter in pair.parameters()]
    assert pyro.infer.util.is_validation_enabled()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("entry", pairs())
def test_every_style_is_refined_or_refused_in_words(entry, full):
    pair, args, kwargs = born(entry)
    options = {**QUICK, "full": full, "data_plate": "data" if "nested" in entry.traits else None}
    discrete = "score_function" in entry.traits or entry.name.startswith(("enumerated_guide", "some_labels"))
    if discrete or not {*entry.latent} - {*entry.enumerated}:
        with pytest.raises(pv.ArgumentError, match=r"pathwise gradients, which|no local site"):
            pv.inference_gap(pair, *args, **kwargs, **options)
        return
    gap = pv.inference_gap(pair, *args, **kwargs, **options)
    for estimate in gap:
        assert estimate.value.shape == estimate.error.shape == (ROWS,)
        assert bool(estimate.value.isfinite().all())
    # Five steps are enough to see the ELBO of an untrained guide rise.
    error = float(gap.amortisation.error.square().sum().sqrt()) / ROWS
    assert float(gap.amortisation.value.mean()) > -4 * error


@pytest.mark.parametrize("options", [{"draws": 0}, {"steps": 0}, {"draws": 1.5}, {"steps": True}])
def test_numbers_are_whole(linear, options):
    with pytest.raises(pv.ArgumentError, match="give a whole number, 1 at least"):
        pv.inference_gap(linear, linear.sample(3), **{**QUICK, **options})


def test_figures_are_averages_over_several_global_draws():
    """Given w the guide is exact, so that each figure is the mean of log p(x | w)."""
    truth = pv.truth.ShiftedGaussian(torch.ones(2, 1), noise=1.0, spread=2.0)
    x = truth.sample(3)
    gap = pv.inference_gap(truth, x, draws=32, steps=1)
    w = pv.posterior(truth, x, draws=16, sites=["mean"])["mean"]
    covariance = truth.weight @ truth.weight.T + torch.eye(2)
    given = dist.MultivariateNormal(w[:, None], covariance).log_prob(x).double()
    torch.testing.assert_close(gap.elbo.value, given.mean(0), rtol=0, atol=1e-4)
    torch.testing.assert_close(gap.elbo.error, given.std(0) / 4, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(gap.total.error, (gap.evidence.error.square() + gap.elbo.error.square()).sqrt())


def test_what_is_refined_serves_all_global_draws():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 3.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + w, 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(0.0, 3.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 0.5**0.5))

    x = torch.tensor([0.0, 2.0])
    sampler = Sampler.of(Pair(model, guide), (x,), {}, seed=0)
    (scorer,) = scorers(sampler)
    with sampler.use.quietly(0):
        change = refined(scorer, steps=160, draws=8, full=False)["z"]
    w = pv.posterior(Pair(model, guide), x, draws=16, sites=["w"])["w"]
    best = ((x - w[:, None]) / 2).mean(0)  # of a posterior N((x - w) / 2, 1/2) for each w
    assert float(w.std()) > 1.5
    torch.testing.assert_close(change.middle + change.spread * change.shift, best, rtol=0, atol=0.15)
