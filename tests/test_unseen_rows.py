"""Rows of which nothing is observed: the prior is their posterior, and their evidence is 1, whatever the guide is."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from test_masked import NOISE, TIED, WEIGHT, WIDTH, factorised, joint

import pyrovae as pv

DRAWS = 2_000


def far(x):
    """A guide that was trained on full rows may be anything on an empty one."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.full((2,), 2.0), 0.1).to_event(1))


def with_an_empty_row(rows=3):
    x = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(0))
    x[1] = math.nan
    return x


@pytest.mark.parametrize("model", [factorised, joint])
@pytest.mark.parametrize("of_all", [False, True])
def test_their_evidence_is_that_of_nothing(model, of_all):
    pair, x = pv.masked(pv.Pair(model, far)), with_an_empty_row()
    found = pv.log_evidence(pair, x, draws=50)
    assert found.value[1] == 0.0
    assert found.error[1] == 0.0
    assert bool((found.value[[0, 2]] < 0).all())
    if of_all:
        whole = pv.log_evidence(pair, x, draws=50, joint=True)
        assert float(whole.value) == pytest.approx(float(found.value.sum()))


@pytest.mark.parametrize(("model", "noise"), [(factorised, NOISE), (joint, TIED)])
def test_they_are_drawn_as_the_model_draws_them(model, noise, caplog):
    x = torch.full((4, WIDTH), math.nan)
    found = pv.impute(pv.Pair(model, far), x, draws=DRAWS)
    values, whole = found.values["x"], WEIGHT @ WEIGHT.T + noise
    assert float((values.mean(0) / (whole.diagonal() / DRAWS).sqrt()).abs().max()) < 4.5
    assert torch.allclose(torch.cov(values.flatten(0, 1).T), whole, atol=0.2)
    assert bool((found.khat == -math.inf).all())
    assert "stand badly" not in caplog.text


def test_rows_beside_them_are_as_they_were():
    x = with_an_empty_row()
    known = torch.tensor([True, False, True])
    x[0, 2] = math.nan
    found = pv.impute(pv.Pair(factorised, far), x, draws=30)
    filled = torch.where(known[:, None], x, torch.zeros(()))
    beside = pv.impute(pv.Pair(factorised, far), filled, draws=30)
    assert torch.equal(found.values["x"][:, known], beside.values["x"][:, known])


def test_what_counts_beside_the_data_is_something_seen():
    """A factor of the author's is evidence, too: of E exp(z) under N(0, 1) the logarithm is a half."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.factor("tilt", z)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(1.0, 1.0))

    x = torch.tensor([0.0, math.nan])
    found = pv.log_evidence(pv.masked(pv.Pair(model, guide)), x, draws=4_000)
    assert float(found.value[1]) == pytest.approx(0.5, abs=1e-5)
    drawn = pv.impute(pv.Pair(model, guide), x, draws=DRAWS).values["x"][:, 1]
    assert float(drawn.mean()) == pytest.approx(1.0, abs=0.15)


def test_pyros_own_masks():
    def model(x, known):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x, obs_mask=known)

    def guide(x, known):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(2.0, 0.1))
            with pyro.poutine.mask(mask=~known):
                pyro.sample("x_unobserved", dist.Normal(2.0, 0.5))

    found = pv.impute(pv.Pair(model, guide), torch.zeros(2), torch.tensor([True, False]), draws=DRAWS)
    drawn = found.values["x"][:, 1]
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.12)
    assert float(drawn.std()) == pytest.approx(1.25**0.5, rel=0.08)


def test_what_all_rows_share_is_the_same_for_them():
    """Given the shared level the empty row is drawn around it, as those beside it are."""

    def model(x):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(level, 0.1))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 0.01).expand([len(x), 2]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("level", dist.Normal(0.0, 3.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 3.0))

    x = torch.tensor([[math.nan, math.nan], [math.nan, math.nan]])
    one, other = pv.impute(pv.Pair(model, guide), x, draws=300, candidates=30).values["x"].mean(-1).T
    assert float(one.std()) == pytest.approx(3.0, rel=0.2)
    assert float((one - other).std()) == pytest.approx(0.02**0.5, rel=0.2)
