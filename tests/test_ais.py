"""Annealed importance sampling: unbiased both ways on exact answers, over all styles of pair."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from registry import REGISTRY, ROWS, born, pairs, plate_of
from torch import nn

import pyrovae as pv
from pyrovae.evaluation import hamiltonian
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.pair import Pair
from pyrovae.pairs.trace import run
from pyrovae.sampling import sampler as sampler_module
from pyrovae.sampling.densities import of_run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import scorers

QUICK = {"chains": 2, "steps": 4, "leapfrogs": 3}


# --- densities of given values ----------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs())
def test_given_what_the_guide_drew_densities_are_those_of_the_draws(entry):
    pair, args, kwargs = born(entry)
    sampler = Sampler.of(pair, args, kwargs, seed=0, data_plate=plate_of(entry))
    (scorer,) = scorers(sampler)
    if not scorer.sites:
        assert not {*entry.latent} - {*entry.enumerated}
        return
    with sampler.use.quietly(3):
        shared = scorer.shared(range(3))
        runs = scorer.drawn(3, shared)
        values = scorer.values(runs)
        weights = torch.cat([of_run(one, ROWS).log_weights for one in runs])
        scores = scorer.scores(values, shared)
    assert scores.base.shape == scores.target.shape == (3, ROWS)
    torch.testing.assert_close(scores.target - scores.base, weights, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["plain_functions", "enumerated_likelihood", "product_with_global", "images_by_view"])
def test_gradients_pass_through_given_values(name):
    """By rows, where sites are summed out, and in a loop."""
    pair, args, kwargs = born(REGISTRY[name])
    sampler = Sampler.of(pair, args, kwargs, seed=0)
    (scorer,) = scorers(sampler)
    with sampler.use.quietly(3), torch.enable_grad():
        shared = scorer.shared(range(2))
        z = scorer.values(scorer.drawn(2, shared))["z"].detach().requires_grad_()
        (slope,) = torch.autograd.grad(scorer.scores({"z": z}, shared).target.sum(), z)
        ends = [scorer.scores({"z": z.detach() + sign * 1e-2 * slope}, shared).target.sum() for sign in (-1, 1)]
    assert float((ends[1] - ends[0]).detach() / 2e-2) == pytest.approx(float(slope.square().sum()), rel=0.02)


# --- truth ------------------------------------------------------------------------------------------------


def unbiased(log_ratios):
    """Standard score of the mean of ratios that should be 1."""
    ratios = log_ratios.exp()
    assert float(ratios.std() / math.sqrt(len(ratios))) < 0.15
    return float((ratios.mean() - 1) / ratios.std() * math.sqrt(len(ratios)))


@pytest.fixture(scope="module")
def linear():
    weight = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    return pv.truth.LinearGaussian(weight, torch.zeros(4), 0.8)


@pytest.mark.parametrize("start", ["guide", "prior"])
@pytest.mark.slow
def test_both_ways_are_unbiased_and_bracket_the_evidence(linear, start):
    """p(x) from ahead, 1 / p(x) from behind; so their logarithms lie on both sides of the truth."""

    def guide(x):
        posterior = linear.posterior(x)
        with pyro.plate("data", len(x)):
            scale = 1.5 * posterior.variance.sqrt()
            pyro.sample("z", dist.Normal(posterior.mean + 0.3, scale).to_event(1))

    pair = Pair(linear.model, guide)
    drawn = pv.generate(pair, torch.zeros(200, 4), seed=0)
    exact = linear.log_evidence(drawn["x"]).double()
    found = pv.ais(
        pair, drawn["x"], chains=4, steps={"guide": 12, "prior": 60}[start], leapfrogs=3, start=start, reverse=drawn
    )
    assert abs(unbiased(found.lower.value - exact)) < 3.5
    assert abs(unbiased(exact - found.upper.value)) < 3.5
    assert float((found.lower.value - exact).mean()) < 0 < float((found.upper.value - exact).mean())
    assert float((found.upper.value - found.lower.value).mean()) < 2
    assert 0.5 < float(found.acceptance.mean()) < 0.95


@pytest.mark.slow
def test_more_temperatures_close_the_gap(linear):
    drawn = pv.generate(linear, torch.zeros(40, 4), seed=0)
    gaps = []
    for steps in (4, 40):
        found = pv.ais(linear, drawn["x"], chains=2, steps=steps, leapfrogs=3, start="prior", reverse=drawn)
        gaps.append(float((found.upper.value - found.lower.value).mean()))
    assert 0 < gaps[1] < 0.4 * gaps[0]


def test_constrained_sites_are_moved_where_they_are_free():
    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.LogNormal((x + 1).log() - 0.5, 0.7))

    drawn = pv.generate(Pair(model, guide), torch.zeros(200), seed=0)
    exact = dist.NegativeBinomial(2.0, probs=torch.tensor(0.5)).log_prob(drawn["x"]).double()
    for start in ("guide", "prior"):
        found = pv.ais(Pair(model, guide), drawn["x"], chains=2, steps=8, leapfrogs=3, start=start, reverse=drawn)
        assert abs(unbiased(found.lower.value - exact)) < 3.5
        assert abs(unbiased(exact - found.upper.value)) < 3.5


def test_sites_that_the_model_enumerates_are_summed_out():
    @config_enumerate
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            y = pyro.sample("y", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(z + 3 * y, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, 1.0))

    x = torch.linspace(-2, 4, 100)
    parts = torch.stack([dist.Normal(3.0 * y, 1.25**0.5).log_prob(x) + math.log(p) for y, p in ((0, 0.7), (1, 0.3))])
    found = pv.ais(Pair(model, guide), x, chains=4, steps=8, leapfrogs=3)
    assert abs(unbiased(found.lower.value - parts.logsumexp(0).double())) < 3.5
    assert found.upper is None
    with pytest.raises(pv.ArgumentError, match=r"sums out 'y'.*start='guide'"):
        pv.ais(Pair(model, guide), x, start="prior", **QUICK)


@pytest.mark.slow
def test_backwards_both_ways_are_given_the_global_sites():
    pair, args, _ = born(REGISTRY["local_and_global"])
    drawn = pv.generate(pair, *args, seed=0)
    covariance = drawn["w"].T @ drawn["w"] + 0.25 * torch.eye(12)
    exact = dist.MultivariateNormal(torch.zeros(12), covariance).log_prob(drawn["x"]).double()
    found = pv.ais(pair, drawn["x"], chains=2, steps=30, leapfrogs=3, start="prior", reverse=drawn)
    assert float((found.lower.value - exact).mean()) < 0.02
    assert float((found.upper.value - exact).mean()) > -0.02
    assert float((found.upper.value - found.lower.value).mean()) < 1


# --- every style ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs())
def test_every_style_is_annealed_or_refused_in_words(entry):
    pair, args, kwargs = born(entry)
    options = {**QUICK, "data_plate": plate_of(entry)}
    discrete = "score_function" in entry.traits or entry.name.startswith(("enumerated_guide", "some_labels"))
    if discrete or not {*entry.latent} - {*entry.enumerated}:
        with pytest.raises(pv.ArgumentError, match=r"discrete|no local site"):
            pv.ais(pair, *args, **kwargs, **options)
        return
    before = torch.get_rng_state()
    found = pv.ais(pair, *args, **kwargs, **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.lower.value.shape == found.acceptance.shape == (ROWS,)
    assert bool(found.lower.value.isfinite().all())
    assert 0.1 < float(found.acceptance.mean()) <= 1
    same = pv.ais(pair, *args, **kwargs, **options)
    assert torch.equal(found.lower.value, same.lower.value)


def test_validation_is_as_it_was(linear):
    with validation(True):
        pv.ais(linear, linear.sample(3), **QUICK)
        assert pyro.distributions.is_validation_enabled()
        assert pyro.infer.util.is_validation_enabled()


# --- what cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chains": 0}, "chains=0; give a whole number"),
        ({"steps": -1}, "steps=-1"),
        ({"leapfrogs": 1.5}, r"leapfrogs=1\.5"),
        ({"start": "posterior"}, "'guide' or 'prior'"),
        ({"reverse": {"y": torch.zeros(3, 2)}}, r"reverse lacks 'z'.*generate"),
        ({"reverse": {"z": torch.zeros(2, 2)}}, r"reverse has shape \(2, 2\) at 'z'"),
        ({"reverse": {"z": torch.zeros(3, 5)}}, r"the rows 0 to 2 of the data need \(3, 2\)"),
    ],
)
def test_arguments_that_cannot_work_are_refused(linear, options, words):
    with pytest.raises(pv.ArgumentError, match=words):
        pv.ais(linear, linear.sample(3), **{**QUICK, **options})


def test_a_guide_through_auxiliary_sites_needs_the_prior_backwards():
    pair, args, _ = born(REGISTRY["auxiliary_by_hand"])
    drawn = pv.generate(pair, *args, seed=0)
    with pytest.raises(pv.ArgumentError, match=r"reverse lacks 'u'.*start at 'prior'"):
        pv.ais(pair, drawn["x"], reverse=drawn, **QUICK)
    found = pv.ais(pair, drawn["x"], reverse=drawn, start="prior", **QUICK)
    assert float((found.upper.value - found.lower.value).mean()) > 0


def test_a_model_that_forbids_every_draw_is_an_error():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Uniform(torch.zeros(()), 1.0, validate_args=False).expand(z.shape), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(pv.DataError, match="weights are all"):
        pv.ais(Pair(model, guide), torch.full((3,), 2.0), **QUICK)


def test_a_decoder_that_is_wild_far_off_is_survived():
    """Chains that leave the numbers are turned back."""
    net = nn.Linear(1, 1)

    def model(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal((z.exp().exp().exp() * net(z)).squeeze(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.full((1,), -1.0), 0.2).to_event(1))

    run(Pair(model, guide), (torch.ones(5),), {})
    found = pv.ais(Pair(model, guide), torch.ones(5), **QUICK)
    assert bool(found.lower.value.isfinite().all())


def test_the_leapfrog_runs_back_to_where_it_came_from():
    """Only then does a move leave its density as it is."""
    generator = torch.Generator().manual_seed(0)
    position, momentum = torch.randn(2, 3, 4, 2, generator=generator, dtype=torch.float64)

    def ends(position):
        return -position.square().sum(-1) / 2, -position.pow(4).sum(-1)

    start, step = hamiltonian.chains_at(position, ends), torch.full((4, 2), 0.1, dtype=torch.float64)
    there, turned = hamiltonian._leapfrog(start, ends, 0.5, step, momentum, 7)
    back, again = hamiltonian._leapfrog(there, ends, 0.5, step, -turned, 7)
    assert not torch.allclose(there.position, position, atol=1e-2)
    torch.testing.assert_close((back.position, -again), (position, momentum))


def test_every_chain_has_a_global_draw_of_its_own_in_whatever_parts_they_come(monkeypatch):
    """Where the guide is exact given w, a weight is p(x | w): the mean over all chains, and the share of accepted."""
    truth = pv.truth.ShiftedGaussian(torch.ones(2, 1), noise=1.0, spread=2.0)
    x = truth.sample(3)
    monkeypatch.setattr(sampler_module, "_TILE_NUMBERS", 2 * 2 * 256)  # two chains at a time
    found = pv.ais(truth, x, chains=6, steps=2, leapfrogs=2)
    w = pv.posterior(truth, x, draws=6, sites=["mean"])["mean"]
    covariance = truth.weight @ truth.weight.T + torch.eye(2)
    given = dist.MultivariateNormal(w[:, None], covariance).log_prob(x).double()
    torch.testing.assert_close(found.lower.value, given.logsumexp(0) - math.log(6), rtol=0, atol=1e-4)
    assert bool((found.acceptance <= 1).all())


def test_exact_draws_belong_to_their_own_rows(linear, monkeypatch):
    """In one step, the way back is the weight of the draw itself."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.5).to_event(1))

    monkeypatch.setattr(sampler_module, "TILE_ROWS", 4)
    pair = Pair(linear.model, guide)
    drawn = pv.generate(pair, torch.zeros(10, 4), seed=0)
    found = pv.ais(pair, drawn["x"], reverse=drawn, chains=2, steps=1)
    exact = poutine.trace(poutine.condition(linear.model, data={"z": drawn["z"]})).get_trace(drawn["x"])
    exact.compute_log_prob()
    joint = exact.nodes["z"]["log_prob"] + exact.nodes["x"]["log_prob"]
    weight = joint - dist.Normal(torch.zeros(2), 1.5).to_event(1).log_prob(drawn["z"])
    torch.testing.assert_close(found.upper.value, weight.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_triangular_matrices_are_moved_as_vectors():
    """Of a correlation of two, one number is free: its integral by a grid."""

    def model(x):
        with pyro.plate("data", len(x)):
            factor = pyro.sample("factor", dist.LKJCholesky(2, torch.tensor(2.0)))
            pyro.sample("x", dist.MultivariateNormal(torch.zeros(2), scale_tril=factor), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("factor", dist.LKJCholesky(2, torch.tensor(1.0)))

    x = torch.tensor([[1.0, 1.2], [0.5, -2.0], [0.0, 0.3]])
    r = torch.linspace(-0.9995, 0.9995, 4000, dtype=torch.float64)
    prior = (1 - r.square()) / ((1 - r.square()).sum())  # LKJ of concentration 2
    quadratic = (x[:, :1] ** 2 - 2 * r * x[:, :1] * x[:, 1:] + x[:, 1:] ** 2) / (1 - r.square())
    density = (-quadratic / 2 - (1 - r.square()).log() / 2).exp() / (2 * math.pi)
    found = pv.ais(Pair(model, guide), x, chains=100, steps=20, leapfrogs=3)
    exact = (density * prior).sum(1).log()
    assert float(((found.lower.value - exact) / found.lower.error).abs().max()) < 4
    assert float(found.lower.error.max()) < 0.1
