"""The data plate is given the rows of the batch."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from batch_gradients import BATCH, make
from pyro import poutine
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
