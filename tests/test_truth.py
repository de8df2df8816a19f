"""Models with known answers: the answers hold to machine precision, each against another way to them."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate

import pyrovae as pv
from pyrovae.models.truth.beta_bernoulli import BetaBernoulli
from pyrovae.models.truth.discrete_mixture import DiscreteMixture
from pyrovae.models.truth.gamma_poisson import GammaPoisson
from pyrovae.models.truth.linear_gaussian import LinearGaussian

DOUBLE = torch.float64


def linear():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 2, generator=generator, dtype=DOUBLE)
    return LinearGaussian(weight, torch.arange(4.0, dtype=DOUBLE) / 10, 0.5)


def mixture():
    probabilities = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.3, 0.6]], dtype=DOUBLE)
    return DiscreteMixture(torch.tensor([0.3, 0.7], dtype=DOUBLE), probabilities)


TRUTHS = {
    "LinearGaussian": (linear(), linear().sample(20)),
    "BetaBernoulli": (BetaBernoulli(2.0, 3.0), BetaBernoulli().sample(20).double()),
    "GammaPoisson": (GammaPoisson(2.0, 0.5), GammaPoisson().sample(20).double()),
    "DiscreteMixture": (mixture(), mixture().sample(20)),
}
each = pytest.mark.parametrize(("truth", "x"), TRUTHS.values(), ids=TRUTHS.keys())


@each
def test_guide_is_exact(truth, x):
    """log p(x, z) - log q(z | x) is the evidence, whatever z is drawn: an estimator without variance."""
    for _ in range(5):
        guide = poutine.trace(truth.guide).get_trace(x)
        model = poutine.trace(poutine.replay(truth.model, guide)).get_trace(x)
        weight = (model.log_prob_sum() - guide.log_prob_sum()).item()
        assert weight == pytest.approx(truth.log_evidence(x).sum().item(), abs=1e-9)


@each
@pytest.mark.slow
def test_trainable_guide_reaches_the_posterior(truth, x):
    pair = truth.trainable()
    assert isinstance(pair, pv.HasPair)
    discrete = isinstance(truth, DiscreteMixture)
    loss = TraceEnum_ELBO(max_plate_nesting=1) if discrete else Trace_ELBO(8, 1, vectorize_particles=True)
    guide = config_enumerate(pair.guide) if discrete else pair.guide
    svi = SVI(pair.model, guide, pyro.optim.ClippedAdam({"lr": 0.1, "lrd": 0.99}), loss)
    for _ in range(350):
        svi.step(x)
    gap = truth.log_evidence(x).sum().item() + loss.loss(pair.model, guide, x)
    assert abs(gap) < 0.02 * len(x)


@each
def test_sample_has_a_seed_of_its_own(truth, x):
    state = torch.get_rng_state()
    assert torch.equal(truth.sample(5, seed=3), truth.sample(5, seed=3))
    assert not torch.equal(truth.sample(50, seed=3), truth.sample(50, seed=4))
    assert torch.equal(state, torch.get_rng_state())


def test_linear_gaussian_evidence_and_posterior():
    truth, x = linear(), linear().sample(3)
    covariance = truth.weight @ truth.weight.T + 0.25 * torch.eye(4, dtype=DOUBLE)
    centred = x - truth.mean
    quadratic = (centred @ torch.linalg.inv(covariance) * centred).sum(-1)
    expected = -0.5 * (quadratic + torch.logdet(covariance) + 4 * math.log(2 * math.pi))
    assert torch.allclose(truth.log_evidence(x), expected, atol=1e-12)
    # The posterior by conditioning the joint normal of (z, x), another formula than the one in use.
    gain = truth.weight.T @ torch.linalg.inv(covariance)
    assert torch.allclose(truth.posterior(x).mean, centred @ gain.T, atol=1e-12)
    expected = torch.eye(2, dtype=DOUBLE) - gain @ truth.weight
    assert torch.allclose(truth.posterior(x).covariance_matrix[0], expected, atol=1e-12)


def test_linear_gaussian_sample_moments():
    truth, x = linear(), linear().sample(100_000)
    assert torch.allclose(x.mean(0), truth.mean, atol=0.03)
    covariance = truth.weight @ truth.weight.T + 0.25 * torch.eye(4, dtype=DOUBLE)
    assert torch.allclose(torch.cov(x.T), covariance, atol=0.08)


def test_maximum_likelihood_is_a_maximum():
    """No step in any direction has higher evidence, and the gradient is zero."""
    x = linear().sample(200)
    best = LinearGaussian.maximum_likelihood(x, 2)
    parts = [part.clone().requires_grad_() for part in (best.weight, best.mean, best.noise)]
    # A parameter of its own constructor would cut the graph at `noise`; the formula is the same.
    covariance = parts[0] @ parts[0].T + parts[2] ** 2 * torch.eye(4, dtype=DOUBLE)
    evidence = torch.distributions.MultivariateNormal(parts[1], covariance).log_prob(x).mean()
    assert evidence.item() == pytest.approx(best.log_evidence(x).mean().item(), abs=1e-12)
    assert all(grad.abs().max() < 1e-10 for grad in torch.autograd.grad(evidence, parts))
    for seed in range(10):
        noise = 0.05 * torch.randn(4, 2, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
        other = LinearGaussian(best.weight + noise, best.mean, best.noise)
        assert other.log_evidence(x).mean() < best.log_evidence(x).mean()
    gram = best.weight.T @ best.weight
    assert gram[0, 1].abs() < 1e-12


def test_vae_holds_the_maximum():
    """With the closed-form weights its ELBO is the highest evidence, with no gap at all."""
    x = linear().sample(50)
    best, vae = LinearGaussian.maximum_likelihood(x, 2), linear().vae()
    assert {p.dtype for p in vae.parameters()} == {DOUBLE}
    posterior = best.posterior(x)
    encoder, decoder = vae.posterior.network.layers[0], vae.likelihood.network.layers[0]
    gram = best.weight.T @ best.weight + best.noise**2 * torch.eye(2, dtype=DOUBLE)
    gain = torch.linalg.solve(gram, best.weight.T)
    bound = 20 / math.pi

    def unbounded(value):
        return bound * torch.tan(value / bound)

    with torch.no_grad():
        decoder.weight.copy_(best.weight)
        decoder.bias.copy_(best.mean)
        vae.likelihood.scale.log_ratio.copy_(unbounded(best.noise.log()))
        encoder.weight.zero_()
        encoder.weight[:2] = gain
        encoder.bias[:2] = -gain @ best.mean
        encoder.bias[2:] = unbounded(posterior.variance[0].log() / 2)
    loss = Trace_ELBO().loss(vae.model, vae.guide, x)
    assert -loss == pytest.approx(best.log_evidence(x).sum().item(), abs=1e-9)


def test_global_evidence_by_quadrature():
    x = TRUTHS["BetaBernoulli"][1]
    p = torch.linspace(1e-9, 1 - 1e-9, 200_001, dtype=DOUBLE)
    prior = torch.distributions.Beta(torch.tensor(2.0, dtype=DOUBLE), torch.tensor(3.0, dtype=DOUBLE))
    density = prior.log_prob(p) + x.sum() * p.log() + (len(x) - x.sum()) * (1 - p).log()
    evidence = torch.trapezoid(density.exp(), p).log()
    assert BetaBernoulli(2.0, 3.0).log_evidence(x).item() == pytest.approx(evidence.item(), abs=1e-6)
    x = TRUTHS["GammaPoisson"][1]
    rate = torch.linspace(1e-9, 40, 400_001, dtype=DOUBLE)
    prior = torch.distributions.Gamma(torch.tensor(2.0, dtype=DOUBLE), torch.tensor(0.5, dtype=DOUBLE))
    density = prior.log_prob(rate) + x.sum() * rate.log() - len(x) * rate - (x + 1).lgamma().sum()
    evidence = torch.trapezoid(density.exp(), rate).log()
    assert GammaPoisson(2.0, 0.5).log_evidence(x).item() == pytest.approx(evidence.item(), abs=1e-6)


@pytest.mark.parametrize("name", ["BetaBernoulli", "GammaPoisson"])
def test_predictive_is_a_ratio_of_evidences(name):
    truth, x = TRUTHS[name]
    expected = [truth.log_evidence(torch.cat([x, new[None]])) - truth.log_evidence(x) for new in x[:4]]
    assert torch.allclose(truth.log_predictive(x[:4], x), torch.stack(expected), atol=1e-9)


@pytest.mark.parametrize("make", [BetaBernoulli, GammaPoisson])
def test_size_scales_the_plate(make):
    x = make().sample(5)
    trace = poutine.trace(make(size=50).model).get_trace(x)
    assert trace.nodes["x"]["scale"] == 10


def test_discrete_mixture_by_enumeration():
    truth = mixture()
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=DOUBLE)] * 3)
    assert truth.log_evidence(x).exp().sum().item() == pytest.approx(1, abs=1e-12)
    model = config_enumerate(truth.model, "parallel")
    enumerated = TraceEnum_ELBO(max_plate_nesting=1).loss(model, lambda x: None, x)
    assert -enumerated == pytest.approx(truth.log_evidence(x).sum().item(), abs=1e-12)
    assert torch.allclose(truth.sample(50_000).mean(0), truth.weights @ truth.probabilities, atol=0.02)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LinearGaussian(torch.zeros(3), torch.zeros(3), 1.0), r"weight \(d, k\)"),
        (lambda: LinearGaussian(torch.zeros(3, 2), torch.zeros(2), 1.0), r"\(3, 2\), \(2,\)"),
        (lambda: LinearGaussian(torch.zeros(3, 2), torch.zeros(3), 0.0), "positive noise"),
        (lambda: LinearGaussian.maximum_likelihood(torch.randn(9, 3), 3), "less than the 3 columns"),
        (lambda: DiscreteMixture(torch.ones(2), torch.ones(3, 2)), r"\(2,\) and \(3, 2\)"),
    ],
)
def test_errors_in_words(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make()
