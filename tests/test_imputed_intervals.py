"""Intervals of imputed cells: resampling that loses nothing, and ends that known cells have moved."""

from __future__ import annotations

import math

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from test_masked import NOISE, WEIGHT, WIDTH, factorised

import pyrovae as pv
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.tables.imputed import Imputed, ImputedFrame
from pyrovae.trust.systematic import systematic


def test_each_candidate_is_taken_as_often_as_its_weight_says_but_for_less_than_one():
    weights = torch.tensor([0.0, 0.31, 0.02, 0.0, 0.67, 0.0])
    with forked_random(0):
        taken = systematic(weights.expand(20_000, -1), 10)
    counts = torch.nn.functional.one_hot(taken, 6).sum(1)
    assert bool(((counts >= (10 * weights).floor()) & (counts <= (10 * weights).ceil())).all())
    for draw in (0, 9):  # each draw alone is one of the weights
        shares = (taken[:, draw, None] == torch.arange(6)).double().mean(0)
        assert float((shares - weights).abs().max()) < 4.5 * (0.25 / 20_000) ** 0.5


def test_candidates_of_no_weight_at_the_end_are_never_taken():
    weights = torch.cat([torch.full((7, 1_000), 1e-3), torch.zeros(7, 3)], 1)
    with forked_random(1):
        assert int(systematic(weights, 5_000).max()) < 1_000


def test_what_is_missing_is_drawn_anew_for_each_draw_of_a_candidate():
    def narrow(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.full((2,), 1.0), 1e-3).to_event(1))

    x = torch.full((300, WIDTH), math.nan)
    x[:, 0] = 0.5
    found = pv.impute(pv.Pair(factorised, narrow), x, draws=100, candidates=30)
    cells = found.values["x"][..., 1:]
    assert min(len(row.unique()) for row in cells[..., 0].T[:20]) > 50  # of 30 candidates
    spread = (cells - WEIGHT[1:].sum(1)).var(0).mean(0)  # z is all but known: cells vary by their noise
    assert torch.allclose(spread, NOISE.diagonal()[1:], rtol=0.05)


# --- ends that known cells have moved ---------------------------------------------------------------------
ROWS = 4_000


def wrong(scale, seed=0, **more):
    """Draws of a model whose spread is off, half of whose hidden cells are known."""
    noise = torch.Generator().manual_seed(seed)
    spread = 0.2 + torch.rand(ROWS, 1, generator=noise)
    true = spread * torch.randn(ROWS, 2, generator=noise)
    drawn = scale * spread * torch.randn(60, ROWS, 2, generator=noise)
    missing = torch.rand(ROWS, 2, generator=noise) < 0.8
    known = true.masked_fill(torch.rand(ROWS, 2, generator=noise) < 0.5, math.nan)
    found = Imputed({"x": torch.where(missing, drawn, true)}, {"x": missing}, torch.zeros(1), torch.ones(1), **more)
    return found, true, known, missing & known.isnan()


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_intervals_of_a_wrong_model_hold_what_they_are_to(scale):
    found, true, known, others = wrong(scale)
    low, high = found.interval(0.9, calibrated_on=known)["x"]
    held = ((low <= true) & (true <= high)).double()
    before = found.interval(0.9)["x"]
    for place in (0, 1):
        here = others[:, place]
        # Both halves are of 1,600 cells: known ones have an error of their own.
        assert float(held[here, place].mean()) == pytest.approx(0.9, abs=3.5 * (2 * 0.09 / 1_600) ** 0.5)
    outside = (true < before[0]) | (true > before[1])
    if scale != 1.0:
        assert abs(float(outside[others].double().mean()) - 0.1) > 0.05
    assert torch.equal(low[~found.missing["x"]], before[0][~found.missing["x"]])


def test_few_known_cells_give_at_least_what_is_asked_on_average():
    held = []
    for seed in range(200):
        noise = torch.Generator().manual_seed(seed)
        true, drawn = torch.randn(40, 1, generator=noise), 0.5 * torch.randn(40, 40, 1, generator=noise)
        found = Imputed({"x": drawn}, {"x": torch.ones(40, 1, dtype=torch.bool)}, torch.zeros(1), torch.ones(1))
        known = true.clone()
        known[9:] = math.nan
        low, high = found.interval(0.9, calibrated_on=known)["x"]
        held.append(((low <= true) & (true <= high))[9:].double().mean())
    rates = torch.stack(held)
    assert 0.9 - 3 * float(rates.std()) / 200**0.5 < float(rates.mean()) < 1.0


def test_too_few_known_cells_are_refused_by_name():
    found, _, known, _ = wrong(1.0)
    frame = pd.DataFrame({"a": known[:, 0], "b": known[:, 1]})
    schema = pv.tables.schema(frame)
    found = found._replace(table=ImputedFrame("x", schema, known, frame))
    frame.loc[:, "b"] = math.nan
    with pytest.raises(pv.DataError, match="0 of the missing cells of column 'b': intervals of 90% take 9 at least"):
        found.interval(0.9, calibrated_on=frame)
    with pytest.raises(pv.ArgumentError, match=r"shape \(4000,\)"):
        found.interval(0.9, calibrated_on=known[:, 0])
    with pytest.raises(pv.ArgumentError, match="has 'y'; imputed were 'x'"):
        found.interval(0.9, calibrated_on={"y": known})


def test_of_a_frame_ends_stay_where_a_column_can_be_and_classes_as_they_are():
    noise = torch.Generator().manual_seed(3)
    count = torch.poisson(torch.full((ROWS,), 3.0), generator=noise)
    frame = pd.DataFrame({"count": count, "kind": ["a", "b", "a", "c"] * (ROWS // 4)})
    schema = pv.tables.schema(frame, kinds={"count": "count"})
    rows = schema.encode(frame)
    drawn = torch.stack([torch.poisson(torch.full((40, ROWS), 2.0), generator=noise), rows[:, 1].expand(40, -1)], -1)
    missing = torch.tensor([True, False]).expand(ROWS, 2)
    found = Imputed({"x": drawn}, {"x": missing}, torch.zeros(1), torch.ones(1), ImputedFrame("x", schema, rows, frame))
    low, high = found.interval(0.9, calibrated_on=frame)["x"]
    assert float(low.min()) == 0.0
    inside = (low[:, 0] <= count) & (count <= high[:, 0])
    assert float(inside.double().mean()) >= 0.9
    assert torch.equal(low[:, 1].float(), rows[:, 1].float())
