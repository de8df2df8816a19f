"""Columns of several kinds side by side: each has its own family, whole or in part."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from components import EVERY_KIND
from scipy import stats
from torch import nn

import pyrovae as pv
from pyrovae.models.conditionals.background import background, background_draws
from pyrovae.models.conditionals.columns import KINDS, has_classes
from pyrovae.models.conditionals.distributions import ZeroOrLogNormal
from pyrovae.models.units.table_units import TableUnits
from pyrovae.pairs.part_observed import observing

REALS = ("real", "heavy", "peaked")


def likelihood(columns=EVERY_KIND, seed=0):
    torch.manual_seed(seed)
    found = pv.ByColumn(pv.MLP(3, [8], pv.ByColumn.outputs(columns)), columns)
    nn.init.normal_(found.free, std=0.3)
    return found


def test_every_kind_is_there():
    assert {column.kind for column in EVERY_KIND} == set(KINDS)


def grid(column):
    """Points of a column's support, and how much of it each stands for."""
    if has_classes(column):
        return torch.arange(float(column.classes)), torch.ones(column.classes)
    if column.kind in ("count", "inflated_count"):
        return torch.arange(20_000.0), torch.ones(20_000)
    if column.kind == "proportion":
        ends = torch.linspace(-60, 30, 40_001, dtype=torch.float64).sigmoid()  # a density may have no bound at an end
    elif column.kind in REALS:
        ends = torch.linspace(-600, 600, 600_001, dtype=torch.float64)
    else:
        ends = torch.linspace(-30, 30, 60_001, dtype=torch.float64).exp()
    points, lengths = (ends[1:] + ends[:-1]) / 2, ends.diff()
    if column.kind == "positive_or_zero":
        points, lengths = torch.cat([torch.zeros(1), points]), torch.cat([torch.ones(1), lengths])
    return points, lengths


@pytest.mark.parametrize("place", range(len(EVERY_KIND)), ids=[column.kind for column in EVERY_KIND])
def test_densities_add_up_to_one_and_draws_are_of_them(place):
    fn = likelihood().double()(torch.randn(1, 3, dtype=torch.float64))
    points, weights = grid(EVERY_KIND[place])
    rows = fn.base_dist.sample().expand(len(points), -1).clone()
    rows[:, place] = points.to(rows)
    scores = fn.base_dist.expand([len(points), len(EVERY_KIND)]).log_prob(rows).detach()
    masses = scores[:, place].exp() * weights
    assert float(masses.sum()) == pytest.approx(1.0, abs=2e-3)
    rest = [other for other in range(len(EVERY_KIND)) if other != place]
    assert torch.allclose(scores[:, rest], scores[:1, rest].expand(len(points), -1))
    torch.manual_seed(1)
    drawn = fn.sample(torch.Size([20_000]))[:, 0, place].double()
    for level in (0.2, 0.5, 0.9):
        end = points[(masses.cumsum(0) < level).sum()]
        below = float(masses[points <= end].sum())
        assert float((drawn <= end).double().mean()) == pytest.approx(below, abs=0.015)


@pytest.mark.parametrize("place", range(len(EVERY_KIND)), ids=[column.kind for column in EVERY_KIND])
def test_cells_may_be_outliers(place):
    """Of all kinds: the density is the sum of both by hand, and draws of the second component are of its density."""
    clean, share = likelihood().double(), 0.2
    both = pv.ByColumn(clean.network, EVERY_KIND, outliers=share).double()
    both.free = clean.free
    given = torch.randn(4_000, 3, dtype=torch.float64)
    fn, plain = both(given).base_dist, clean(given).base_dist
    torch.manual_seed(2)
    x = fn.sample()
    wide, narrow = background(EVERY_KIND, x).exp() * share, plain.log_prob(x).exp() * (1 - share)
    assert torch.allclose(fn.log_prob(x).exp(), wide + narrow, rtol=1e-5)
    probability = fn.outlier_probability(x)
    assert torch.allclose(probability, wide / (wide + narrow), rtol=1e-4, atol=1e-12)
    assert float(probability.detach()[:, place].mean()) == pytest.approx(share, abs=0.03)
    assert torch.equal(fn.mean, plain.mean)


@pytest.mark.parametrize("place", range(len(EVERY_KIND)), ids=[column.kind for column in EVERY_KIND])
def test_outliers_are_drawn_as_their_density_says(place):
    column, like = EVERY_KIND[place], torch.zeros(40_000, 1, dtype=torch.float64)
    torch.manual_seed(3)
    drawn = background_draws([column], like)[:, 0]
    points, weights = grid(column)
    masses = background([column], points[:, None].double())[:, 0].exp() * weights
    cut = masses.cumsum(0)
    for level in (0.15, 0.4, 0.7):
        at = int((cut < level).sum())
        below = _below(column) if float(points[at]) else 0.0  # of the zeros alone nothing is below
        assert float((drawn <= points[at]).double().mean()) == pytest.approx(float(cut[at]) + below, abs=0.012)


def _below(column):
    """What lies below the grid."""
    end = {**dict.fromkeys(REALS, 600), "positive": 30, "positive_or_zero": 30}.get(column.kind, math.inf)
    share = column.shares[1] / sum(column.shares) if column.kind == "positive_or_zero" else 1.0
    return share * (0.5 - math.atan((end + column.center) / (2 * column.spread)) / math.pi)


@pytest.mark.parametrize("draws", [False, True])
def test_draws_are_of_both_or_clean(draws):
    columns = [pv.Column("x", "real", center=3.0, spread=1.0)]
    found = pv.ByColumn(pv.MLP(1, [], 1), columns, outliers=0.3, outlier_draws=draws)
    torch.manual_seed(0)
    far = (found(torch.zeros(1, 1)).sample(torch.Size([20_000])) - 3.0).abs() > 20
    assert float(far.double().mean()) == pytest.approx(0.3 * 2 * math.atan(2 / 20) / math.pi if draws else 0, abs=5e-3)


def test_a_share_is_learned():
    """Of a standard normal with a tenth of cells from the wide component, by maximum likelihood."""
    columns = [pv.Column("x", "real"), pv.Column("y", "real")]
    torch.manual_seed(0)
    x = torch.randn(6000, 2)
    off = torch.rand(6000) < 0.1
    x[off, 1] = background_draws(columns, x)[off, 1]
    found = pv.ByColumn(lambda z: torch.zeros(len(z), 2), columns, outliers="learned")
    found.free.requires_grad_(False)
    optim = torch.optim.Adam(found.parameters(), lr=0.1)
    for _ in range(120):
        optim.zero_grad()
        (-found(torch.zeros(6000, 1)).log_prob(x).mean()).backward()
        optim.step()
    shares = found.shares_of_outliers().detach()
    assert float(shares[1]) == pytest.approx(0.1, abs=0.02)
    assert float(shares[0]) < 0.01


@pytest.mark.parametrize("outliers", [0, 1.0, "often", True])
def test_a_share_that_is_none_is_refused(outliers):
    with pytest.raises(pv.ArgumentError, match="give a probability"):
        pv.ByColumn(pv.MLP(1, [], 1), [pv.Column("x", "real")], outliers=outliers)


def test_columns_are_in_the_order_in_which_they_were_given():
    torch.manual_seed(0)
    order = torch.randperm(len(EVERY_KIND)).tolist()
    net = nn.Linear(3, pv.ByColumn.outputs(EVERY_KIND)).double()
    sizes = [KINDS[column.kind].outputs(column) for column in EVERY_KIND]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    moved = nn.Linear(3, net.out_features).double()
    rows = [start for place in order for start in range(starts[place], starts[place] + sizes[place])]
    with torch.no_grad():
        moved.weight.copy_(net.weight[rows])
        moved.bias.copy_(net.bias[rows])
    given = torch.randn(6, 3, dtype=torch.float64)
    one = pv.ByColumn(net, EVERY_KIND)(given).base_dist
    other = pv.ByColumn(moved, [EVERY_KIND[place] for place in order])(given).base_dist
    value = one.sample()
    assert torch.allclose(one.log_prob(value)[:, order], other.log_prob(value[:, order]))


def test_what_is_missing_counts_nowhere_and_gives_no_gradient():
    fn = likelihood()
    whole = fn(torch.randn(5, 3))
    value = whole.sample()
    seen = torch.rand(value.shape) > 0.4
    part = observing(whole, seen, "x")
    by_hand = torch.where(seen, whole.base_dist.log_prob(value), 0.0).sum(-1)
    assert torch.allclose(part.log_prob(value), by_hand)
    pair = pv.recipes.table_vae(EVERY_KIND, latent=2, hidden=(8,))
    data = value.masked_fill(~seen, math.nan)
    run = pv.fit(pair, data, steps=3, seed=0, staged=False, progress=False)
    assert all(math.isfinite(row.loss) for row in run.history)


def test_a_scale_and_a_level_of_the_data_are_in_the_density():
    """The same rows in other units have the density of other units, and no other evidence."""
    torch.manual_seed(0)
    net = nn.Linear(2, 1)
    plain = pv.ByColumn(net, [pv.Column("x", "real", center=3.0, spread=2.0)])
    other = pv.ByColumn(net, [pv.Column("x", "real", center=3.0e6 + 1e9, spread=2.0e6)])
    z = torch.randn(4, 2)
    x = plain(z).sample()
    assert torch.allclose(
        plain(z).log_prob(x), other(z).log_prob(x.double() * 1e6 + 1e9) + math.log(1e6), rtol=1e-4, atol=1e-4
    )


def test_the_encoder_takes_any_row_and_gives_no_nan():
    units = TableUnits(EVERY_KIND)
    rows = likelihood()(torch.randn(50, 3)).sample().double()
    rows[torch.rand(rows.shape) < 0.3] = math.nan
    rows[0] = math.nan
    rows[1, 0], rows[2, 2] = 1e30, 1e-30
    found = units(rows)
    assert found.shape == (50, units.width)
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) <= 8
    assert not found[0].any()
    full = units(rows[3:4].nan_to_num(0.5))
    assert full[0, -len(EVERY_KIND) :].all()
    with pytest.raises(pv.DataError, match=f"takes {len(EVERY_KIND)} columns"):
        units(rows[:, :4])


@pytest.mark.parametrize(
    ("column", "match"),
    [
        (pv.Column("x", "odd"), "kind='odd'; give one of 'real'"),
        (pv.Column("x", "categorical", classes=1), "1 classes"),
        (pv.Column("x", "binary", classes=3), "make it categorical"),
        (pv.Column("x", "real", spread=0.0), "spread=0.0"),
        (pv.Column("x", "real", center=math.nan), "center=nan"),
        (pv.Column("x", "ordinal", classes=3, shares=(0.5, 0.5)), "2 shares of 3"),
    ],
)
def test_columns_that_are_none(column, match):
    with pytest.raises(pv.ArgumentError, match=match):
        pv.ByColumn.outputs([column])
    with pytest.raises(pv.ArgumentError, match=match):
        TableUnits([column])


def test_a_network_of_another_size():
    with pytest.raises(pv.ArgumentError, match="these columns take"):
        pv.ByColumn(pv.MLP(2, [], 3), EVERY_KIND)
    with pytest.raises(pv.ArgumentError, match="its network gave"):
        pv.ByColumn(nn.Linear(2, 3), EVERY_KIND)(torch.zeros(1, 2))
    with pytest.raises(pv.ArgumentError, match="one column at least"):
        pv.ByColumn(nn.Linear(2, 3), [])


def test_zeros_beside_a_log_normal():
    fn = ZeroOrLogNormal(torch.tensor(0.4), torch.tensor(1.0), torch.tensor(0.5))
    torch.manual_seed(0)
    drawn = fn.sample(torch.Size([200_000]))
    assert float(drawn.mean()) == pytest.approx(float(fn.mean), rel=0.01)
    assert float(drawn.var()) == pytest.approx(float(fn.variance), rel=0.02)
    assert float((drawn == 0).double().mean()) == pytest.approx(float(torch.tensor(0.4).sigmoid()), abs=0.004)
    above = dist.LogNormal(1.0, 0.5).log_prob(torch.tensor(2.0)) + math.log(1 - float(torch.tensor(0.4).sigmoid()))
    assert float(fn.log_prob(torch.tensor(2.0))) == pytest.approx(float(above), abs=1e-5)
    loc = torch.tensor(1.0, requires_grad=True)
    ZeroOrLogNormal(torch.tensor(0.4), loc, torch.tensor(0.5)).log_prob(torch.tensor(0.0)).backward()
    assert loc.grad is not None
    assert float(loc.grad) == 0.0


@pytest.mark.parametrize(
    ("place", "value"), [(0, math.inf), (2, 0.0), (3, -1.0), (4, 1.5), (5, -2.0), (6, 2.0), (7, 3.0), (9, 1.0)]
)
def test_what_a_column_cannot_be_is_refused_where_the_data_come_in(place, value):
    pair = pv.recipes.table_vae(EVERY_KIND, latent=2, hidden=(8,))
    rows = likelihood()(torch.randn(300, 3)).sample().double()
    rows[0, 0] = math.nan
    rows[280, place] = value
    for question in (
        lambda: pv.fit(pair, rows, epochs=1, batch_size=20, staged=False, progress=False),
        lambda: pv.elbo(pair, rows, draws=1),
        lambda: pv.impute(pair, rows, draws=1),
    ):
        with pytest.raises(pv.DataError, match=f"{EVERY_KIND[place].kind}.*holds {value:g}|NaN or infinity"):
            question()


@pytest.mark.parametrize("kind", ["count", "positive", "proportion"])
def test_a_network_of_zeros_gives_the_level_of_the_column(kind):
    level = {"count": 1986.0, "positive": 1e5, "proportion": 1e-4}[kind]
    center = math.log(level / (1 - level)) if kind == "proportion" else math.log(level)
    net = nn.Linear(1, 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    fn = pv.ByColumn(net, [pv.Column("x", kind, center=center, spread=0.01)])(torch.zeros(1, 1)).base_dist
    assert float(fn.mean.detach()) == pytest.approx(level, rel=0.01)


def test_a_column_of_several_peaks_is_learned():
    torch.manual_seed(0)
    x = torch.where(torch.rand(3_000) < 0.3, -5 + 0.3 * torch.randn(3_000), 2 + 0.5 * torch.randn(3_000))[:, None]
    scores = {}
    for kind in ("real", "peaked"):
        column = pv.Column("x", kind, center=float(x.mean()), spread=float(x.std()))
        likelihood = pv.ByColumn(pv.MLP(1, [], pv.ByColumn.outputs([column])), [column])
        optimiser = torch.optim.Adam(likelihood.parameters(), lr=3e-2)
        for _ in range(300):
            optimiser.zero_grad()
            loss = -likelihood(torch.zeros(1, 1)).log_prob(x).mean()
            loss.backward()
            optimiser.step()
        scores[kind] = -float(loss.detach())
    entropy = 0.3 * math.log(0.3 / 0.3) + 0.7 * math.log(0.7 / 0.5) - 0.5 * math.log(2 * math.pi * math.e)
    assert scores["peaked"] == pytest.approx(entropy, abs=0.05)
    assert scores["real"] < scores["peaked"] - 0.5


@pytest.mark.parametrize(("middle", "total"), [(0.007, 800.0), (1e-5, 1e5), (0.5, 2.5), (0.9, 12.0), (0.999, 1e5)])
def test_a_proportion_begins_as_wide_as_its_column(middle, total):
    """And has its density to the last digits, where log-gammas of large numbers cancel."""
    noise = np.random.default_rng(0)
    drawn = noise.beta(middle * total, (1 - middle) * total, 4_000).clip(1e-7, 1 - 1e-7)
    schema = pv.tables.schema(pd.DataFrame({"x": drawn}), kinds={"x": "proportion"})
    likelihood = pv.ByColumn(nn.Linear(1, pv.ByColumn.outputs(schema.columns)), schema.columns)
    nn.init.zeros_(likelihood.network.weight)
    nn.init.zeros_(likelihood.network.bias)
    with torch.no_grad():
        found = likelihood(torch.zeros(1))
    part = found.base_dist.parts[0][1]
    assert float(part.mean) == pytest.approx(middle, rel=0.5)
    assert float(part.stddev) == pytest.approx(drawn.std(), rel=0.6)
    exact = stats.beta(float(part.concentration1), float(part.concentration0)).logpdf(drawn)
    assert np.allclose(found.log_prob(torch.from_numpy(drawn)[:, None]), exact, atol=1e-6)
