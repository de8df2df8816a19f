"""New groups against closed forms: their effects come of the model, what all groups share of the guide."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyrovae as pv

WIDE, BETWEEN, NOISE, GROUPS = 5.0, 1.5, 0.5, 4
DRAWS = 1_000
GROUP = torch.arange(24) % GROUPS
X = torch.tensor([1.0, 3.0, 6.0, 2.0])[GROUP] + NOISE * torch.randn(24, generator=torch.Generator().manual_seed(0))


def model(x, group):
    mean = pyro.sample("mean", dist.Normal(0.0, WIDE))
    with pyro.plate("groups", GROUPS):
        effect = pyro.sample("effect", dist.Normal(mean, BETWEEN))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(effect[..., group], NOISE), obs=x)


def posterior() -> dist.MultivariateNormal:
    """Of the mean and the effects, from the first data, in closed form."""
    loading = torch.cat([torch.zeros(24, 1), torch.eye(GROUPS)[GROUP]], 1)
    prior = torch.full((GROUPS + 1, GROUPS + 1), WIDE**2) + BETWEEN**2 * torch.diag(torch.tensor([0.0, 1, 1, 1, 1]))
    precision = torch.linalg.inv(prior) + loading.T @ loading / NOISE**2
    covariance = torch.linalg.inv(precision)
    return dist.MultivariateNormal(covariance @ (loading.T @ X) / NOISE**2, (covariance + covariance.T) / 2)


POSTERIOR = posterior()


def guide(x, group):
    joint = pyro.sample("joint", POSTERIOR, infer={"is_auxiliary": True})
    pyro.sample("mean", dist.Delta(joint[..., 0]))
    with pyro.plate("groups", GROUPS):
        pyro.sample("effect", dist.Delta(joint[..., 1:]))


@pytest.mark.parametrize("new", ["groups", ("effect",)])
@pytest.mark.slow
def test_rows_of_new_groups_have_the_mean_and_the_covariances_of_the_closed_form(new):
    group = torch.tensor([0, 0, 3])  # two rows of one new group, and one of another
    found = pv.generate(pv.Pair(model, guide), torch.zeros(3), group, draws=DRAWS, new=new, seed=0)["x"].double()
    mean, variance = float(POSTERIOR.mean[0]), float(POSTERIOR.variance[0])
    same = variance + BETWEEN**2
    expected = torch.full((3, 3), variance, dtype=torch.float64)
    expected[:2, :2] = same
    expected += torch.diag(torch.tensor([NOISE**2, NOISE**2, BETWEEN**2 + NOISE**2], dtype=torch.float64))
    total = same + NOISE**2
    assert bool(((found.mean(0) - mean).abs() < 4 * (total / DRAWS) ** 0.5).all())
    assert bool(((found.T.cov() - expected).abs() < 4 * total * (2 / DRAWS) ** 0.5).all())
    known = pv.generate(pv.Pair(model, guide), torch.zeros(3), group, draws=100, seed=0)["x"]
    assert float(known[:, 0].mean()) == pytest.approx(float(POSTERIOR.mean[1]), abs=0.3)  # as without `new`


@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal])
def test_an_autoguide_and_more_rows_than_a_tile_holds(kind):
    pair = pv.Pair(model, kind(model))
    pv.fit(pair, (X, GROUP), steps=2, seed=0, progress=False)
    group = torch.arange(600) % GROUPS
    found = pv.generate(pair, torch.zeros(600), group, draws=40, new="groups", seed=0)
    assert found["effect"].shape == (40, GROUPS)
    assert torch.allclose(found["x"], found["effect"][:, group], atol=6 * NOISE)
    assert float((found["effect"] - found["mean"][:, None]).std()) == pytest.approx(BETWEEN, rel=0.3)


def test_what_was_drawn_given_a_new_site_must_be_new_too():
    def slopes(x, group):
        mean = pyro.sample("mean", dist.Normal(0.0, WIDE))
        slope = pyro.sample("slope", dist.Normal(mean, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(slope, NOISE), obs=x)

    pair = pv.Pair(slopes, AutoNormal(slopes))
    pair.guide(X, GROUP)
    with pytest.raises(pv.PairError, match=r"draws 'slope' given 'mean'.*new=\['mean', 'slope'\]"):
        pv.generate(pair, X, GROUP, new="mean")
    assert pv.generate(pair, X, GROUP, new="slope", seed=0)["x"].shape == (24,)


@pytest.mark.parametrize(("new", "words"), [("effects", "has no 'effects'"), (["x"], "'x' is observed")])
def test_other_names_are_refused_with_those_that_there_are(new, words):
    with pytest.raises(pv.ArgumentError, match=rf"{words}.*mean, effect.*groups"):
        pv.generate(pv.Pair(model, guide), X, GROUP, new=new)
