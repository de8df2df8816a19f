"""Heavy tails, mixtures that find their size, posteriors that bend or have several modes: truth and words."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from components import Constant

import pyrovae as pv
from pyrovae.models.conditionals.mixture_normal import DiagNormalMixture


def square(step: float = 0.04, side: float = 10.0) -> torch.Tensor:
    axis = torch.arange(-side, side, step)
    return torch.cartesian_prod(axis, axis)


# --- priors -----------------------------------------------------------------------------------------------
def test_the_degrees_of_freedom_are_learned():
    torch.manual_seed(0)
    codes = dist.StudentT(3.0, 0.0, 1.0).sample((2000, 2))
    prior = pv.StudentPrior(2, df=pv.LearnedScale(initial=20.0))
    optim = torch.optim.Adam(prior.parameters(), 0.05)
    for _ in range(100):
        optim.zero_grad()
        (-prior().log_prob(codes).mean()).backward()
        optim.step()
    assert float(prior.df().detach()) == pytest.approx(3.0, rel=0.15)


def test_sticks_are_those_of_a_dirichlet_process():
    """v = F^-1(Φ(a)) with a standard normal is Beta(1, γ): so are the mean weights."""
    torch.manual_seed(0)
    prior = pv.StickBreakingMixture(4, 2, concentration=3.0)
    assert torch.allclose(prior.weights(), torch.full((4,), 0.25), atol=3e-3)
    drawn = []
    for _ in range(1500):
        torch.nn.init.normal_(prior.sticks)
        drawn.append(prior.weights())
    share = 1 / (1 + 3.0)  # the mean of Beta(1, γ)
    expected = torch.tensor([share, share * (1 - share), share * (1 - share) ** 2, (1 - share) ** 3])
    assert torch.allclose(torch.stack(drawn).mean(0), expected, atol=0.04)


def clusters(count: int, rows: int = 1000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    centres = 2.5 * torch.randn(count, 10, generator=generator)
    return centres[torch.randint(count, (rows,), generator=generator)] + 0.5 * torch.randn(
        rows, 10, generator=generator
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 6])
def test_a_mixture_finds_the_number_of_clusters(count):
    torch.manual_seed(0)
    x = clusters(count)
    prior = pv.StickBreakingMixture(12, 2)
    vae = pv.VAE(
        prior,
        pv.Normal(pv.MLP(2, [32], 10), scale=pv.LearnedScale()),
        pv.DiagNormal(pv.MLP(10, [32], 4)),
    )
    pair = pv.recipes.bayesian_mixture(vae, rows=len(x))
    pv.fit(pair, x, steps=5000, batch_size=250, learning_rate=5e-3, seed=0, progress=False)
    with pv.epistemic.at_mean(pair):
        assert prior.used(0.02) == count


# --- posteriors -------------------------------------------------------------------------------------------
def test_gradients_of_a_mixtures_draws_are_those_of_its_moments():
    torch.manual_seed(0)
    loc, log_scale = (torch.randn(3, 2).double().requires_grad_() for _ in range(2))
    scale, weights = (0.3 * log_scale).exp(), torch.tensor([0.2, 0.5, 0.3]).double()
    mixture = DiagNormalMixture(dist.Categorical(weights), dist.Normal(loc, scale).to_event(1))
    z = mixture.rsample(torch.Size([200_000]))
    value = (z[:, 0] ** 2 * z[:, 1] + z[:, 1] ** 2).mean()
    found = torch.autograd.grad(value, [loc, log_scale], retain_graph=True)
    moments = (loc[:, 0] ** 2 + scale[:, 0] ** 2) * loc[:, 1] + loc[:, 1] ** 2 + scale[:, 1] ** 2
    exact = torch.autograd.grad((weights * moments).sum(), [loc, log_scale])
    for one, other in zip(found, exact, strict=True):
        assert torch.allclose(one, other, atol=0.03)


POSTERIORS = {
    "IAF": lambda: pv.IAF(pv.MLP(3, [8], 2 * 2 + 4), 2, context=4, hidden=[8]),
    "MixtureNormal": lambda: pv.MixtureNormal(pv.MLP(3, [8], 2 * 3 * 2), 3),
}
each = pytest.mark.parametrize("make", POSTERIORS.values(), ids=POSTERIORS)


@each
def test_its_density_integrates_to_one(make):
    torch.manual_seed(0)
    posterior = make()
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        points = square()
        mass = posterior(torch.randn(3)).log_prob(points).exp().sum() * 0.04**2
    assert mass == pytest.approx(1, abs=5e-3)


@each
def test_draws_have_the_density_that_their_values_have(make):
    torch.manual_seed(0)
    posterior, x = make(), torch.randn(5, 3)
    fn = posterior(x)
    z = fn.rsample(torch.Size([7]))
    assert torch.allclose(fn.log_prob(z), posterior(x).log_prob(z.detach().clone()), atol=1e-4)


def test_a_draw_of_an_iaf_is_scored_without_its_inverse(monkeypatch):
    posterior, x = POSTERIORS["IAF"](), torch.randn(5, 3)
    from pyrovae.models.conditionals.autoregressive_step import AutoregressiveStep

    monkeypatch.setattr(AutoregressiveStep, "_inverse", lambda self, y: pytest.fail("the inverse was asked for"))
    fn = posterior(x)
    fn.log_prob(fn.rsample()).sum().backward()
    with torch.no_grad():
        fn = posterior(x)
        fn.log_prob(fn.rsample())


def two_ways(posterior) -> tuple[float, float]:
    """A datum that |z| made: two modes, or a bend. The gap of a trained posterior, and the exact evidence."""
    torch.manual_seed(0)

    def ring(z):
        return z.square().sum(-1, keepdim=True)

    ring.output_shape, ring.input_dims = (1,), 1
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(ring, scale=0.5), posterior)
    x = torch.full((64, 1), 3.0)
    pv.fit(vae, x, steps=400, batch_size=64, learning_rate=0.03, seed=0, progress=False, staged=False)
    points = square()
    exact = (vae.prior().log_prob(points) + vae.likelihood(points).log_prob(x[:1])).logsumexp(0) + 2 * math.log(0.04)
    return float(exact - pv.elbo(vae, x, draws=50, seed=0).value.mean()), float(exact)


@pytest.mark.slow
def test_they_come_nearer_to_a_ring_than_a_normal():
    normal, _ = two_ways(pv.DiagNormal(Constant(4, 0.1)))
    mixture, _ = two_ways(pv.MixtureNormal(Constant(2 * 6 * 2, torch.cat([torch.randn(12), torch.zeros(12)])), 6))
    flow, _ = two_ways(pv.IAF(Constant(2 * 2 + 2, 0.1), 2, context=2, layers=4, hidden=[32]))
    assert normal > 1.0
    assert mixture < 0.5 * normal
    assert flow < normal - 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.StudentPrior(3, df=0.0), "df=0.0"),
        (lambda: pv.StudentPrior(3, df=None), "df=None"),
        (lambda: pv.StickBreakingMixture(1, 3), "components=1"),
        (lambda: pv.StickBreakingMixture(5, 3, concentration=0), "concentration=0"),
        (lambda: pv.IAF(pv.MLP(3, [], 18), 1), "none before it"),
        (lambda: pv.IAF(pv.MLP(3, [], 18), 2), r"2 \* 2 \+ 16 = 20"),
        (lambda: pv.IAF(pv.MLP(3, [], 20), 2, hidden=[]), "the width of one layer"),
        (lambda: pv.MixtureNormal(pv.MLP(3, [], 10), 1), "components=1"),
        (lambda: pv.MixtureNormal(pv.MLP(3, [], 11), 2), r"2 \* components \* d"),
        (lambda: pv.recipes.bayesian_mixture(_plain(), rows=5), "give a VAE with pv.StickBreakingMixture"),
        (lambda: pv.epistemic.at_mean(_plain()).__enter__(), "normal posterior over weights"),
    ],
)
def test_errors_in_words(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make()


def _plain() -> pv.VAE:
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
