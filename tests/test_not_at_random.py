"""Cells that are missing by what they hold, against integrals over a grid."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

import pyrovae as pv

REAL = [pv.Column("a", "real", center=1.0, spread=2.0), pv.Column("b", "real", center=-3.0, spread=0.5)]
MIXED = [*REAL, pv.Column("c", "categorical", classes=3, shares=(0.5, 0.3, 0.2)), pv.Column("d", "binary", classes=2)]
COUNTED = [REAL[0], pv.Column("n", "count", center=1.0, spread=0.8)]
KNOWN = {
    "a": (0.3, -2.0), "b": (0.5, 1.5), "n": (0.2, -1.2), "c": (0.4, (1.0, -1.0, -2.0)), "d": (0.1, (2.0, -2.0)),
}  # fmt: skip


def known_pair(columns, *, mechanism=True):
    """A pair of one latent whose decoder is fixed and whose guide is wide."""
    torch.manual_seed(2)
    intercepts = {one.name: KNOWN[one.name][0] for one in columns}
    slopes = {one.name: KNOWN[one.name][1] for one in columns}
    held = pv.SelfMasking(columns, intercepts=intercepts, slopes=slopes) if mechanism else None
    pair = pv.recipes.table_vae(columns, latent=1, hidden=[], prior=pv.StandardNormal, mechanism=held)
    with torch.no_grad():
        weight, bias = pair.pair.likelihood.network.parameters()
        weight.copy_(torch.linspace(0.9, -0.7, len(weight))[:, None])
        bias.fill_(0.1)
        pair.pair.likelihood.free.fill_(-0.5)
        for parameter in pair.pair.posterior.parameters():
            parameter.zero_()
    return pair


def exact(pair, columns, row):
    """Log-evidence of a row and of which cells are there, and means of hidden numbers, shares of hidden classes."""
    vae = pair.pair
    z = torch.linspace(-6, 6, 401)[:, None].double()
    vae = vae.double()
    with torch.no_grad():
        fn = vae.likelihood(z).base_dist
        log_z = -0.5 * z[:, 0].square() - 0.5 * math.log(2 * math.pi) + math.log(12 / 400)
        moments = {}
        for place, column in enumerate(columns):
            if not row[place].isnan():
                full = torch.zeros(len(z), len(columns)).double()
                full[:, place] = row[place]
                log_z = log_z + fn.log_prob(full)[:, place] + _seen(column, row[place]).log()
            else:
                moments[place] = _nodes(fn, column, place, len(columns))
        terms = {}
        for place, (nodes, mass) in moments.items():
            left = mass * (1 - _seen(columns[place], nodes))
            terms[place] = nodes, left
            log_z = log_z + left.sum(1).log()
        weights = log_z.softmax(0)
        shares = {
            place: (nodes, (weights[:, None] * left / left.sum(1, keepdim=True)).sum(0))
            for place, (nodes, left) in terms.items()
        }
    vae.float()
    return float(log_z.logsumexp(0)), shares


def _seen(column, values):
    intercept, slope = KNOWN[column.name]
    if column.classes:
        return (intercept + torch.tensor(slope).double()[torch.as_tensor(values).long()]).sigmoid()
    standard = ((values.log1p() if column.kind == "count" else values) - column.center) / column.spread
    return (intercept + slope * standard.double()).sigmoid()


def _nodes(fn, column, place, width):
    """Values that a cell may have, and the mass of each under every z."""
    if column.classes or column.kind == "count":
        nodes, step = torch.arange(column.classes or 600).double(), 1.0
    else:
        nodes = column.center + column.spread * torch.linspace(-9, 9, 1201).double()
        step = float(nodes[1] - nodes[0])
    full = torch.zeros(len(nodes), 1, width).double()
    full[:, 0, place] = nodes
    return nodes, fn.log_prob(full.expand(-1, 401, -1))[..., place].exp().T * step


ROWS = {
    "both": (REAL, [[math.nan, -2.4], [2.5, math.nan], [math.nan, math.nan], [0.0, -3.2]]),
    "mixed": (MIXED, [[math.nan, -2.4, math.nan, 1.0], [2.5, -3.0, 2.0, math.nan], [math.nan] * 4]),
    "counts": (COUNTED, [[math.nan, 3.0], [2.5, math.nan], [math.nan, math.nan], [0.0, 0.0]]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_evidence_and_imputations_are_those_of_the_integral(name):
    columns, rows = ROWS[name]
    pair, x = known_pair(columns), torch.tensor(rows).double()
    value, error = pv.log_evidence(pair, x, draws=8_000, seed=1)
    found = pv.impute(pair, x, draws=2_000, candidates=8_000, seed=2)
    assert list(found.values) == ["x"]
    for place, row in enumerate(x):
        evidence, shares = exact(pair, columns, row)
        assert abs(float(value[place]) - evidence) < 4.5 * float(error[place]) + 1e-3
        for column, (nodes, mass) in shares.items():
            mean = float((nodes * mass).sum())
            spread = float(((nodes - mean) ** 2 * mass).sum().sqrt())
            room = 4.5 * spread * (1 / 2_000 + 1 / float(found.ess[place])) ** 0.5
            assert abs(float(found.values["x"][:, place, column].mean()) - mean) < room


def test_the_ordinary_recipe_is_off_by_the_bias_that_is_known():
    x = torch.tensor([[math.nan, -2.4]]).double()
    _, shares = exact(known_pair(REAL), REAL, x[0])
    nodes, mass = shares[0]
    plain = pv.impute(known_pair(REAL, mechanism=False), x, draws=2_000, candidates=8_000).values["x"][:, 0, 0]
    # Large ones are hidden: what is missing lies higher than what is there lets expect.
    assert float((nodes * mass).sum()) - float(plain.mean()) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("slopes", [{}, {"a": 1.0}, {"a": 1.0, "b": 0.0}])
def test_that_a_slope_is_learned_is_said_with_what_to_do(slopes, caplog):
    """It may be learned with the wrong sign, and the curve is as level then."""
    columns = [pv.Column("a", "real"), pv.Column("b", "real")]
    pair = pv.recipes.table_vae(columns, latent=1, hidden=[], mechanism=pv.SelfMasking(columns, slopes=slopes))
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    x[:5, 0] = torch.nan
    pv.fit(pair, x, steps=1, seed=0, progress=False, loss=pv.objectives.IWAE(2, vectorize_particles=True))
    said = {0: "slopes of 'a', 'b'", 1: "slopes of 'b'", 2: ""}[len(slopes)]
    assert ("wrong sign: train from several starts" in caplog.text) == bool(said)
    assert said in caplog.text


def test_cells_that_are_asked_for_are_not_missing_by_what_they_hold():
    """Rows that are generated given a cell, and densities of cells, are those of the pair without its mechanism."""
    frame = pd.DataFrame({"a": [1.5, 2.0, 9.0, np.nan] * 25, "b": [0.3, 0.1, -0.6, 0.2] * 25})
    schema = pv.tables.schema(frame, kinds={"a": "real", "b": "real"})
    torch.manual_seed(0)
    hiding = pv.SelfMasking(schema, intercepts={"a": 0.0, "b": 0.0}, slopes={"a": -4.0, "b": 0.0})
    pair = pv.recipes.table_vae(schema, latent=1, hidden=[], mechanism=hiding)
    plain = pv.recipes.table_vae(schema, latent=1, hidden=[])
    plain.pair.pair.load_state_dict(pair.pair.pair.state_dict(), strict=False)
    made, other = (pv.tables.generate_where(one, 4000, {"b": 0.1}, candidates=8000)["a"] for one in (pair, plain))
    assert abs(float(made.mean() - other.mean())) < 5 * float(made.std()) * (2 / 4000) ** 0.5
    found, known = (pv.tables.outliers(one, frame, draws=400) for one in (pair, plain))
    assert np.nanmax(np.abs(found.cells - known.cells)) < 0.02


@pytest.mark.slow
def test_a_frame_is_filled_and_generated_with_the_mechanism():
    frame = pd.DataFrame({"size": [1.5, 2.0, np.nan, 8.5] * 25, "kind": ["small", "small", "big", None] * 25})
    schema = pv.tables.schema(frame)
    pair = pv.recipes.table_vae(schema, latent=1, hidden=[8], mechanism=pv.SelfMasking(schema))
    loss = pv.objectives.IWAE(5, vectorize_particles=True)
    run = pv.fit(pair, frame, epochs=2, loss=loss, seed=0, progress=False)
    assert math.isfinite(run.history[-1].loss)
    filled = pv.impute(pair, frame)
    assert filled.notna().all().all()
    assert filled["size"][0] == 1.5
    assert list(pv.generate(pair, 5, seed=0)) == ["size", "kind"]
    scores = pv.tables.imputation_scores({"pair": pair}, frame, hidden=0.2, masks=1)
    assert scores.scores["log_density"].notna().all()


def learned(frame, seed, **options):
    schema = pv.tables.schema(frame, kinds=dict.fromkeys(frame, "real"))
    torch.manual_seed(seed)
    pair = pv.recipes.table_vae(schema, latent=1, hidden=[], mechanism=pv.SelfMasking(schema, **options))
    loss = pv.objectives.IWAE(10, vectorize_particles=True)
    pv.fit(
        pair, frame, steps=1500, learning_rate=pv.cosine(2e-2, 1e-3, steps=1500), loss=loss, seed=seed, progress=False
    )
    return pair


@pytest.mark.slow
@pytest.mark.parametrize("sign", [-1, 1])
def test_which_cells_are_missing_is_learned_from_a_column_beside_it(sign):
    """Two columns that go together: of the one that hides itself, the other says what is missing."""
    noise = np.random.default_rng(3)
    shared = noise.normal(size=3000)
    full = pd.DataFrame({"a": shared + 0.4 * noise.normal(size=3000), "b": shared + 0.4 * noise.normal(size=3000)})
    hidden = noise.random(3000) < 1 / (1 + np.exp(-2.0 * sign * full["a"]))
    frame = full.assign(a=full["a"].mask(hidden))
    pair = learned(frame, 0)
    slope = float(pair.pair.pair.mechanism.slopes[0, 0].detach())
    assert slope * -sign > 0.8, slope
    found = pv.impute(pair, frame)["a"][hidden].mean()
    assert abs(found - full["a"][hidden].mean()) < 0.12


def test_what_is_known_and_learned_is_shown_by_column():
    mechanism = pv.SelfMasking(MIXED, slopes={"a": -1.5, "c": (1.0, -1.0, -2.0)}, intercepts={"b": 10.0})
    with torch.no_grad():
        mechanism.slopes[1, 0], mechanism.slopes[3, :2], mechanism.intercepts[2] = (
            0.25,
            torch.tensor([0.5, -0.5]),
            1.125,
        )
    shown = str(mechanism)
    assert "a  intercept 2, slope -1.5 (known)" in shown
    assert "b  intercept 10 (known), slope 0.25\n" in shown
    assert "c  intercept 1.12, slopes 1, -1, -2 (known)" in shown
    assert "d  intercept 2, slopes 0.5, -0.5\n" in shown
    assert "d  intercept 2" in str(pv.recipes.table_vae(MIXED, latent=1, hidden=[4], mechanism=mechanism).pair)
    wide = pv.SelfMasking([column._replace(name=f"{n}") for n in range(10) for column in REAL])
    assert len(str(wide).splitlines()) == 15
    assert "and 8 more columns" in str(wide)


def test_of_classes_the_sums_of_intercept_and_slopes_are_what_counts():
    """As the page says: the same sums are the same mechanism, whatever the intercept."""
    rows = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 2.0, 0.0]])
    one = pv.SelfMasking(MIXED, intercepts={"c": 0.5}, slopes={"c": (1.0, -1.0, -2.0)})
    other = pv.SelfMasking(MIXED, intercepts={"c": 0.0}, slopes={"c": (1.5, -0.5, -1.5)})
    assert torch.equal(one(rows).base_dist.logits, other(rows).base_dist.logits)
    assert other(rows).base_dist.logits[:, 2].tolist() == [1.5, -1.5]
