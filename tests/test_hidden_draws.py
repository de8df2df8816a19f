"""A model that draws its latent itself and takes the KL off by a factor: a bound, and no importance weights."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

X = torch.randn(6, generator=torch.Generator().manual_seed(0)) * 2


def by_hand(x):
    """z ~ N(0, 1), x ~ N(z, 1), and the exact posterior as what it draws from."""
    mean, scale = x / 2, torch.tensor(0.5).sqrt()
    z = mean + scale * torch.randn_like(x)
    with pyro.plate("data", len(x)):
        pyro.factor("kl", -0.5 * (mean**2 + scale**2 - 1) + scale.log())
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def nothing(x):
    pass


def noisy(x):
    z = torch.randn_like(x)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


EXACT = dist.Normal(0.0, 2**0.5).log_prob(X)


def test_the_bound_stands():
    """It is the evidence, since the guide is the posterior: what weights would be worth lies above it."""
    found = pv.elbo(pv.Pair(by_hand, nothing), X, draws=2_000)
    assert bool(((found.value - EXACT).abs() < 5 * found.error).all())


@pytest.mark.parametrize("question", [pv.log_evidence, pv.psis, lambda *asked: pv.log_evidence(*asked, joint=True)])
def test_weights_are_refused_in_words(question):
    with pytest.raises(pv.PairError, match=r"draws random numbers that are no sites, and has a pyro\.factor, 'kl'"):
        question(pv.Pair(by_hand, nothing), X)


@pytest.mark.slow
def test_noise_of_the_model_alone_is_summed_out():
    found = pv.log_evidence(pv.Pair(noisy, nothing), X, draws=2_000)
    assert bool(((found.value - EXACT).abs() < 5 * found.error).all())


def test_a_factor_without_noise_is_part_of_the_model():
    def penalised(x):
        with pyro.plate("data", len(x)):
            pyro.factor("more", torch.full((len(x),), -0.5))
            pyro.sample("x", dist.Normal(0.0, 2**0.5), obs=x)

    assert torch.allclose(
        pv.log_evidence(pv.Pair(penalised, nothing), X, draws=2).value.float(), EXACT - 0.5, atol=1e-5
    )
