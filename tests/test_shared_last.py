"""A guide that draws what all rows share by what it drew for each: neither is drawn given the other."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

NOISE, SPREAD = 0.5, 0.45


def model(x):
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(level, 1.0))
        pyro.sample("x", dist.Normal(z, NOISE), obs=x)


def upwards(x, shared=0.35, noise=0.0):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.8 * x, SPREAD))
    pyro.sample("level", dist.Normal(0.9 * z.mean(-1) + noise * torch.randn(()), shared))


def seen(rows: int = 8) -> torch.Tensor:
    return torch.randn(rows, generator=torch.Generator().manual_seed(rows)) + 1


def evidence(x: torch.Tensor) -> float:
    rows = len(x)
    covariance = torch.eye(rows) * (1 + NOISE**2) + 1
    return float(dist.MultivariateNormal(torch.zeros(rows), covariance).log_prob(x))


def bound(x: torch.Tensor, shared: float = 0.35, draws: int = 20_000) -> torch.Tensor:
    """Draws of log p - log q of everything, in plain torch."""
    z = 0.8 * x + SPREAD * torch.randn(draws, len(x), generator=torch.Generator().manual_seed(0))
    centre = 0.9 * z.mean(1)
    level = centre + shared * torch.randn(draws, generator=torch.Generator().manual_seed(1))
    p = dist.Normal(0.0, 1.0).log_prob(level) + dist.Normal(level[:, None], 1.0).log_prob(z).sum(1)
    q = dist.Normal(centre, shared).log_prob(level) + dist.Normal(0.8 * x, SPREAD).log_prob(z).sum(1)
    return p + dist.Normal(z, NOISE).log_prob(x).sum(1) - q


PAIR = pv.Pair(model, upwards)


@pytest.mark.slow
def test_the_evidence_of_the_whole_is_the_exact_one():
    x = seen()
    found = pv.log_evidence(PAIR, x, draws=2_000, joint=True)
    assert abs(float(found.value) - evidence(x)) < 4 * float(found.error) < 0.8


@pytest.mark.parametrize("rows", [8, 300])  # more than are worked on together
def test_the_elbo_is_the_one_by_hand(rows):
    """Drawn apart, with a sharp guide, it came out ten nats above, and above the evidence."""
    x = seen(rows)
    sharp = pv.Pair(model, lambda x: upwards(x, 0.05))
    found, by_hand = pv.elbo(sharp, x, draws=200).value.sum(), bound(x, 0.05)
    assert abs(float(found - by_hand.mean())) < 5 * float(by_hand.std()) / 200**0.5


def test_draws_of_both_belong_together():
    draws = pv.posterior(pv.Pair(model, lambda x: upwards(x, 0.01)), seen(), draws=200)
    both = torch.stack([draws["level"].flatten(), draws["z"].mean(1)])
    assert torch.corrcoef(both)[0, 1] > 0.95


@pytest.mark.parametrize("question", [pv.log_evidence, pv.psis, pv.uncertainty, pv.inference_gap])
def test_what_is_of_rows_given_it_is_refused_in_words(question):
    with pytest.raises(
        pv.PairError, match="the guide draws 'level', which all rows share, by what it draws for single"
    ):
        question(PAIR, seen())


@pytest.mark.slow
def test_noise_beside_the_sites_is_none_of_that():
    """A level that moves with numbers that are no site's does not hang on the rows' draws."""

    def first(x):
        level = pyro.sample("level", dist.Normal(0.7 + 0.1 * torch.randn(()), 0.35))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x + 0.2 * level, SPREAD))

    x = seen()
    level = torch.linspace(-4, 6, 4_001)
    q = dist.Normal(0.7, (0.35**2 + 0.1**2) ** 0.5).log_prob(level).softmax(0)
    exact = (q * dist.Normal(level, (1 + NOISE**2) ** 0.5).log_prob(x[:, None]).exp()).sum(1).log()
    found = pv.log_evidence(pv.Pair(model, first), x, draws=1_000)
    assert bool(((found.value - exact).abs() < 5 * found.error).all())


def test_what_the_model_draws_last_is_drawn_with_its_rows():
    """The prior of a total that hangs on what single rows have; drawn apart, the two knew nothing of each other."""

    def total(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        pyro.sample("total", dist.Normal(z.sum(-1), 0.1))

    def guide(x):
        total = pyro.sample("total", dist.Normal(x.sum() / 2, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + 0 * total, 1.0))

    draws = pv.prior(pv.Pair(total, guide), seen(), draws=200)
    both = torch.stack([draws["total"].flatten(), draws["z"].sum(1)])
    assert torch.corrcoef(both)[0, 1] > 0.99


def test_rows_under_two_names_are_not_split():
    """What a plate of another name holds for each row is not what all rows share."""

    def two(x):
        with pyro.plate("codes", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("codes", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    with pytest.raises(pv.PairError, match="'z' stands in 'codes', whose length follows the rows"):
        pv.uncertainty(pv.Pair(two, guide), seen(), data_plate="data")
