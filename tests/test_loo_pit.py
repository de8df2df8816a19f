"""Leave-one-out PIT against closed forms: normals with a shared mean, counts with a shared rate."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

WIDE, BETWEEN, NOISE = 10.0, 0.8, 0.6  # deviations of the shared mean, of a row's latent around it, of the data
ROW = BETWEEN**2 + NOISE**2


def shared(x: torch.Tensor) -> dist.Normal:
    """The posterior of the mean that all rows share, their own latents integrated out."""
    precision = WIDE**-2 + len(x) / ROW
    return dist.Normal(x.sum(0) / ROW / precision, torch.tensor(precision**-0.5))


def hierarchical(*, factor: float = 1.0, point: bool = False) -> pv.Pair:
    """A mean, a latent for each row around it, two columns; the guide is the posterior, but for its width in a row."""

    def model(x):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(2), WIDE).to_event(1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, BETWEEN).to_event(1))
            pyro.sample("x", dist.Normal(z, NOISE).to_event(1), obs=x)

    def guide(x):
        posterior = shared(x)
        at = dist.Delta(posterior.mean) if point else posterior
        mean = pyro.sample("mean", at.to_event(1))
        with pyro.plate("data", len(x)):
            loc = (mean / BETWEEN**2 + x / NOISE**2) / (BETWEEN**-2 + NOISE**-2)
            scale = factor * (BETWEEN**-2 + NOISE**-2) ** -0.5
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return pv.Pair(model, guide)


def rows(count: int) -> torch.Tensor:
    return 3 + ROW**0.5 * torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


def predicted(given: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The distribution function of a new row, given others."""
    posterior = shared(given)
    return dist.Normal(posterior.mean, (posterior.variance + ROW).sqrt()).cdf(at)


@pytest.mark.parametrize(("factor", "draws"), [(1.0, (1_000, 1)), (1.3, (400, 32))])
def test_each_row_stands_where_it_stands_among_predictions_from_the_others(factor, draws):
    x = rows(5)  # few, so that it shows whether a row was left out
    found = pv.loo_pit(hierarchical(factor=factor), x, draws=draws)["x"]
    others = torch.stack([predicted(torch.cat([x[:n], x[n + 1 :]]), x[n]) for n in range(len(x))])
    chance = 0.5 / float(found.ess.min()) ** 0.5
    assert float((found.pit.values - others).abs().max()) < 4 * chance
    left_out, moved = others - predicted(x, x), found.pit.values - predicted(x, x)
    assert 0.5 < float((left_out * moved).sum() / left_out.square().sum()) < 1.5  # 0 where each row predicts itself
    assert found.leaves_out


def test_counts_stand_in_their_step_of_the_negative_binomial_of_the_others():
    truth, x = pv.truth.GammaPoisson(2.0, 1.0), torch.tensor([3.0, 0.0, 4.0, 2.0, 12.0, 3.0, 1.0, 2.0])
    found = pv.loo_pit(truth, x, draws=1_000)["x"]
    for n, count in enumerate(x):
        others = torch.cat([x[:n], x[n + 1 :]])
        share = truth.log_predictive(torch.arange(float(count) + 1), others).exp().cumsum(0)
        lower = float(share[-2]) if count else 0.0
        chance = 2 / float(found.ess[n]) ** 0.5
        assert lower - chance < float(found.pit.values[n]) < float(share[-1]) + chance


def test_a_row_that_decides_what_is_shared_is_said_not_to_be_left_out():
    x = rows(3)
    x[0] = 40.0
    found = pv.loo_pit(hierarchical(), x, draws=300)["x"]
    assert float(found.khat[0]) > 0.7
    assert found.verdict.startswith("cannot be told: ")


@pytest.mark.parametrize(
    "pair", [hierarchical(point=True), pv.truth.LinearGaussian(torch.ones(2, 1), torch.zeros(2), 0.5)]
)
def test_where_nothing_random_is_shared_the_verdict_says_so(pair):
    found = pv.loo_pit(pair, rows(30), draws=100)["x"]
    assert not found.leaves_out
    assert "take rows held out" in found.verdict
    assert bool((found.ess.round() == 100).all())


def test_masked_elements_count_nowhere():
    def model(x, seen):
        mean = pyro.sample("mean", dist.Normal(0.0, WIDE))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, 1.0).expand(x.shape).to_event(1).mask(seen), obs=x)

    def guide(x, seen):
        count = seen.sum() * x.shape[1]
        precision = WIDE**-2 + count
        pyro.sample("mean", dist.Normal(x[seen].sum() / precision, precision**-0.5))

    seen = torch.arange(30) < 20
    found = pv.loo_pit(pv.Pair(model, guide), rows(30), seen, draws=100)["x"]
    assert bool(found.pit.values[20:].isnan().all())
    assert not bool(found.pit.values[:20].isnan().any())


def test_its_picture_has_the_curve_and_the_band():
    (axis,) = pv.loo_pit(pv.truth.GammaPoisson(2.0, 1.0), torch.ones(20), draws=50)["x"].plot().axes
    assert axis.get_title() == "leave-one-out PIT less uniform"
    assert len(axis.lines) == 2
