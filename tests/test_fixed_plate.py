"""The data plate is given the rows of the batch."""

from __future__ import annotations

import pyro
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
