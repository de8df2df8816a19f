"""The data plate is given the rows of the batch."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from batch_gradients import BATCH, make
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from registry import (
    ROWS,
)

import pyrovae as pv
from pyrovae.pairs.fixed_plate import FixedPlate


def test_the_data_plate_is_given_the_rows_of_the_batch():
    pair, batch = make("local_and_global")
    fixed = FixedPlate(pair, "data")

    def index(around=fixed):
        return poutine.trace(around.guide).get_trace(batch).nodes["data"]["value"]

    before = torch.get_rng_state()
    FixedPlate(pv.Pair(print, lambda x: pyro.plate("data", 100, subsample_size=8)), "data").guide(batch)
    assert torch.equal(torch.get_rng_state(), before)  # no permutation of 100 is drawn
    assert index().tolist() == list(range(BATCH))
    fixed.index = torch.arange(BATCH) + 5
    assert index().tolist() == list(range(5, 5 + BATCH))
    fixed.index = torch.arange(BATCH) + ROWS  # not of this data set
    assert index().tolist() == list(range(BATCH))
    fixed.index = torch.arange(3)  # not of this batch
    assert index().tolist() == list(range(BATCH))
    assert sorted(index(FixedPlate(pair, "other")).tolist()) != list(range(BATCH))
    pair, data = make("subsample_by_index")
    chosen = poutine.trace(FixedPlate(pair, "data").guide).get_trace(data).nodes["data"]["value"]
    assert sorted(chosen.tolist()) != list(range(8))  # all rows are given: the draw is the pair's own


def test_a_plate_with_the_size_of_all_rows_has_the_figures_of_all_rows():
    x = torch.linspace(-2, 2, 300)  # more than a batch and a tile

    def model(x):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 300):
            z = pyro.sample("z", dist.Normal(level, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        level = pyro.sample("level", dist.Normal(0.0, 0.1))
        with pyro.plate("data", 300):
            pyro.sample("z", dist.Normal((level + 4 * x) / 5, 0.2**0.5))

    pair = pv.Pair(model, guide)
    elbo = float(pv.elbo(pair, x, draws=100).value.mean())
    assert pv.rate_distortion(pair, x, draws=100).elbo == pytest.approx(elbo, abs=0.05)
    parts = pv.uncertainty(pair, x, draws=(50, 10))["x"]
    assert [float(part.mean()) for part in parts[:4]] == pytest.approx([0.4504, 0.25, 0.2, 0.0004], abs=0.02)


WHOLE = torch.linspace(-1, 3, 300)  # more than a batch and a tile


def level_in_a_plate_of_300(x):
    level = pyro.sample("level", dist.Normal(0.0, 10.0))
    with pyro.plate("data", 300):
        pyro.sample("x", dist.Normal(level, 1.0), obs=x)


def level_alone(x):
    loc = pyro.param("loc", torch.tensor(0.98))
    pyro.sample("level", dist.Normal(loc, 0.06))


@pytest.mark.parametrize("options", [{}, {"batch_size": 300}, {"data_plate": "data"}])
def test_a_plate_with_the_size_of_all_rows_is_trained_on_all_of_them(options):
    pair = pv.Pair(level_in_a_plate_of_300, level_alone)
    found = [step.loss * 300 for step in pv.steps(pair, WHOLE, steps=3, learning_rate=0.1, seed=0, **options)]
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    assert found == pytest.approx([svi.step(WHOLE) for _ in range(3)], rel=1e-5)


@pytest.mark.parametrize("size", [100, 128])
def test_another_batch_size_than_all_rows_is_refused_in_words(size):
    with pytest.raises(pv.ArgumentError, match="Leave it out, so that all 300 rows are one batch"):
        pv.fit(pv.Pair(level_in_a_plate_of_300, level_alone), WHOLE, epochs=1, batch_size=size, progress=False)


def test_sites_outside_a_plate_of_all_rows_have_the_figures_of_all_rows():
    pair = pv.Pair(level_in_a_plate_of_300, level_alone)
    pv.fit(pair, WHOLE, steps=1, learning_rate=1e-6, progress=False, seed=0)
    joint = pv.log_evidence(pair, WHOLE, joint=True, draws=500, seed=0)
    exact = dist.MultivariateNormal(torch.zeros(300).double(), torch.eye(300).double() + 100.0).log_prob(WHOLE.double())
    assert float(joint.value) == pytest.approx(float(exact), abs=5 * float(joint.error) + 1e-3)
    rows = pv.log_evidence(pair, WHOLE, draws=200).value
    assert rows.shape == (300,)
    assert len(pv.posterior_predictive(pair, WHOLE, draws=2)["x"][0]) == 300


def test_a_loop_over_rows_in_batches_is_refused_in_words():
    def model(x):
        level = pyro.sample("level", dist.Normal(0.0, 10.0))
        for i in range(len(x)):
            pyro.sample(f"x_{i}", dist.Normal(level, 1.0), obs=x[i])

    pair = pv.Pair(model, level_alone)
    with pytest.raises(pv.PairError, match=r"each row is a site of its own .* batch_size=300"):
        pv.fit(pair, WHOLE, epochs=1, progress=False)
    assert pv.fit(pair, WHOLE, steps=1, batch_size=300, staged=False, progress=False).step == 1
