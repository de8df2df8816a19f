"""Numbers of which one value is far more frequent than those beside it, said by the schema."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import pyrovae as pv

NOISE = np.random.default_rng(0)
ROWS = 600


def heap(share, at, other):
    return np.where(NOISE.random(ROWS) < share, at, other)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (heap(0.4, 40, NOISE.integers(10, 90, ROWS)), "are 40, which a density does not draw; ordinal draws it"),
        (heap(0.2, -999.0, NOISE.normal(50, 9, ROWS)), "are -999, .*: a code for what is missing"),
        (heap(0.2, 99999.0, NOISE.gamma(3, 20, ROWS)), "are 99999, .*: a code for what is missing"),
        (heap(0.2, 50.0, NOISE.normal(50, 9, ROWS)), "are 50, which a density does not draw$"),
        (heap(0.5, 0, NOISE.poisson(30, ROWS)), r"[45]\d% are 0, where such counts have \d+%: inflated_count"),
    ],
)
def test_a_heap_is_said(values, words):
    (one,) = pv.tables.schema(pd.DataFrame({"x": values})).table
    assert one.column is not None
    assert re.search(words, one.note)


@pytest.mark.parametrize(
    "values",
    [
        NOISE.poisson(40, ROWS),
        NOISE.negative_binomial(0.5, 0.02, ROWS),  # a third of them 0, as such counts have it
        NOISE.normal(50, 9, ROWS).round(0),
        NOISE.normal(0, 1, ROWS).round(1),
        heap(0.5, 0.0, NOISE.gamma(3, 20, ROWS)),  # zeros have a mass of their own there
        np.full(ROWS, 3.0) + NOISE.random(ROWS),
    ],
    ids=["poisson", "negative binomial", "whole", "of one decimal", "zeros", "all different"],
)
def test_what_is_no_heap_is_not(values):
    (one,) = pv.tables.schema(pd.DataFrame({"x": values})).table
    assert one.column is not None
    assert not one.note


def test_a_kind_that_was_given_is_not_questioned():
    frame = pd.DataFrame({"x": heap(0.4, 40, NOISE.integers(10, 90, ROWS))})
    assert not pv.tables.schema(frame, kinds={"x": "count"}).table[0].note


@pytest.mark.slow
def test_what_is_proposed_draws_the_heap():
    frame = pd.DataFrame({"x": heap(0.4, 40, NOISE.integers(10, 90, ROWS)), "y": NOISE.normal(size=ROWS)})
    pair = pv.recipes.table_vae(pv.tables.schema(frame, kinds={"x": "ordinal"}), latent=1, hidden=[8])
    pv.fit(pair, frame, epochs=40, learning_rate=1e-2, seed=0, progress=False)
    drawn = pv.generate(pair, 2_000, seed=0)["x"]
    assert float((drawn == 40).mean()) == pytest.approx(float((frame["x"] == 40).mean()), abs=0.1)
