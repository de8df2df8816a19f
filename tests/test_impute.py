"""Draws of what is missing, against conditionals that are known, and over all styles of pair."""

from __future__ import annotations

import logging
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from registry import ROWS, born, pairs, plate_of
from test_masked import NOISE, TIED, WEIGHT, WIDTH, factorised, joint, wide

import pyrovae as pv
from pyrovae.tables.imputed import Imputed


def holes(rows, width=WIDTH, seed=0):
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=noise) @ WEIGHT.T + 0.5 * torch.randn(rows, width, generator=noise)
    return x.masked_fill(torch.rand(x.shape, generator=noise) < 0.3, math.nan)


def conditional(row, whole):
    """Mean and covariance of what is missing of N(0, whole) given what is there."""
    seen = ~row.isnan()
    gain = whole[~seen][:, seen] @ torch.linalg.inv(whole[seen][:, seen])
    return gain @ row[seen], whole[~seen][:, ~seen] - gain @ whole[seen][:, ~seen]


@pytest.mark.parametrize(("model", "noise"), [(factorised, NOISE), (joint, TIED)])
def test_means_and_covariances_are_those_of_the_conditional(model, noise):
    x = holes(25)
    draws = 2_000
    found = pv.impute(pv.Pair(model, wide), x, draws=draws, candidates=20_000)
    values, distances = found.values["x"], []
    for row, (given, ess) in enumerate(zip(x, found.ess, strict=True)):
        missing = given.isnan()
        assert torch.equal(values[:, row, ~missing], given[~missing].expand(draws, -1))
        if missing.any():
            mean, spread = conditional(given, WEIGHT @ WEIGHT.T + noise)
            drawn = values[:, row, missing]
            own = conditional(given, noise)[1].diagonal()  # of a cell whose latents are known: drawn anew each time
            error = (own / draws + (spread.diagonal() - own) / float(ess)).sqrt()
            distances.append((drawn.mean(0) - mean) / error)
            scale = (spread.diagonal()[:, None] * spread.diagonal()).sqrt()
            room = 6 * (1 / draws + 1 / float(ess)) ** 0.5
            assert float(((torch.cov(drawn.T).reshape(spread.shape) - spread) / scale).abs().max()) < room
    distances = torch.cat(distances)
    assert float(distances.abs().max()) < 4.5
    assert 0.6 < float(distances.std()) < 1.3
    assert torch.equal(found.missing["x"], x.isnan())


def test_intervals_cover_what_was_taken_away():
    noise = torch.Generator().manual_seed(5)
    full = torch.randn(400, 2, generator=noise) @ WEIGHT.T + 0.5 * torch.randn(400, WIDTH, generator=noise)
    mask = torch.rand(full.shape, generator=noise) > 0.3
    found = pv.impute(pv.Pair(factorised, wide), full, mask=mask, draws=100, candidates=2_000)
    low, high = found.interval(0.9)["x"]
    inside = ((full >= low) & (full <= high))[~mask].float()
    assert float(inside.mean()) == pytest.approx(0.9, abs=0.04)
    assert torch.equal(low[mask], full[mask])
    assert torch.equal(found.mean()["x"][mask], full[mask])


def test_classes_that_the_model_sums_out():
    """Two clusters: what is missing has the mixture that what is there leaves."""
    centres = torch.tensor([[-2.0, -1.0], [2.0, 1.0]])

    @config_enumerate
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
            pyro.sample("x", dist.Normal(centres[k], 1.0).to_event(1), obs=x)

    x = torch.tensor([[0.3, math.nan], [math.nan, math.nan], [math.nan, 0.0]])
    found = pv.impute(pv.Pair(model, lambda x: None), x, draws=4_000, candidates=4_000)
    first = dist.Normal(centres[:, 0], 1.0).log_prob(torch.tensor(0.3)) + torch.tensor([0.3, 0.7]).log()
    share = float(first.softmax(0)[1])
    assert float(found.values["x"][:, 0, 1].mean()) == pytest.approx(2 * share - 1, abs=0.08)
    assert float(found.values["x"][:, 1, 0].mean()) == pytest.approx(0.7 * 2 - 0.3 * 2, abs=0.13)
    second = dist.Normal(centres[:, 1], 1.0).log_prob(torch.tensor(0.0)) + torch.tensor([0.3, 0.7]).log()
    assert float(found.values["x"][:, 2, 0].mean()) == pytest.approx(4 * float(second.softmax(0)[1]) - 2, abs=0.13)


@pytest.mark.slow
def test_sites_that_all_data_share_are_drawn_anew_for_each_draw():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), 0.5).expand([len(x), 2]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("loc", dist.Normal(0.4, 0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5, 1.0))

    x = torch.tensor([[1.0, math.nan], [math.nan, math.nan]])
    found = pv.impute(pv.Pair(model, guide), x, draws=1_500, candidates=400)
    pair, alone = found.values["x"][:, 0, 1], found.values["x"][:, 1, 0]
    # Given loc: z | x1 is N((loc + 4 x1) / 5, 1 / 5); loc itself is N(0.4, 0.3), as the guide says.
    assert float(pair.mean()) == pytest.approx((0.4 + 4) / 5, abs=0.08)
    assert float(pair.var()) == pytest.approx(0.25 + 0.2 + 0.3**2 / 25, rel=0.15)
    assert float(alone.mean()) == pytest.approx(0.4, abs=0.12)
    assert float(alone.var()) == pytest.approx(0.25 + 1 + 0.3**2, rel=0.15)


@pytest.mark.parametrize("draws", [19, 20, 150])
def test_intervals_of_few_draws_hold_as_much_as_they_say(draws):
    generator = torch.Generator().manual_seed(0)
    drawn, true = (torch.randn(*shape, generator=generator) for shape in ((draws, 20_000), (20_000,)))
    found = Imputed({"x": drawn}, {"x": torch.ones(20_000, dtype=torch.bool)}, torch.zeros(1), torch.ones(1))
    low, high = found.interval(0.9)["x"]
    assert float(((low < true) & (true < high)).double().mean()) == pytest.approx(0.9, abs=0.008)
    with pytest.raises(pv.ArgumentError, match=rf"{draws} draws cannot bound 99%: .*draws=199 or more"):
        found.interval(0.99)


def test_a_mask_says_what_nan_cannot():
    labels = torch.tensor([0, 1, 1, 0, 2])

    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 0.1))
            pyro.sample("y", dist.Categorical(logits=torch.stack([z, z + 2.0, z], -1)), obs=y)

    pair = pv.Pair(model, lambda y: wide_of(len(y)))
    seen = torch.tensor([True, True, False, True, True])
    found = pv.impute(pair, labels, mask=seen, draws=1_000)
    assert torch.equal(found.values["y"][:, seen], labels[seen].expand(1_000, -1))
    shares = torch.bincount(found.values["y"][:, 2], minlength=3) / 1_000
    assert torch.allclose(shares, torch.tensor([0.0, 2.0, 0.0]).softmax(0), atol=0.06)
    named = pv.impute(pair, y=labels, mask={"y": seen}, draws=1_000)
    assert torch.equal(named.values["y"], found.values["y"])


def wide_of(rows):
    with pyro.plate("data", rows):
        pyro.sample("z", dist.Normal(0.0, 0.1))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mask": torch.ones(5, WIDTH)}, "float32 of shape"),
        ({"mask": torch.ones(5, 2, dtype=torch.bool)}, r"shape \(5, 2\), and the data have the shape \(5, 5\)"),
        ({"mask": {"y": None}}, "mask has 'y'"),
        ({"mask": False}, r"mask is bool of shape \(\), and the data have the shape \(5, 5\): give True where"),
        ({"mask": 1}, r"mask is int64 of shape \(\), and"),
        ({"mask": "all"}, "mask is a str of which no array of booleans can be made: give True where"),
        ({"mask": [[True], [False, True]]}, "mask is a list of which no array of booleans"),
        ({"draws": 0}, "draws"),
        ({"candidates": 1}, "fewer than 30 weights"),
    ],
)
def test_arguments_that_cannot_work_are_refused(options, match):
    with pytest.raises(pv.ArgumentError, match=match):
        pv.impute(pv.Pair(factorised, wide), torch.zeros(5, WIDTH), **options)


def test_a_mask_wants_arrays():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(5, WIDTH)))
    with pytest.raises(pv.ArgumentError, match="mask is given, and the data are a DataLoader: give them as arrays"):
        pv.impute(pv.Pair(factorised, wide), loader, mask=torch.ones(5, WIDTH, dtype=torch.bool))


NORMAL = dist.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
HIDING = {
    "mask(False)": lambda fn: pyro.sample("x", fn.mask(False), obs=HIDDEN),
    "mask(tensor)": lambda fn: pyro.sample("x", fn.mask(torch.tensor([True, False, False])), obs=HIDDEN),
    "poutine": lambda fn: pyro.poutine.mask(pyro.sample, mask=torch.tensor([True, False, False]))("x", fn, obs=HIDDEN),
}
HIDDEN = torch.tensor([[math.nan, math.nan], [5.0, math.nan], [5.0, 5.0]])


@pytest.mark.parametrize("hide", HIDING)
@pytest.mark.parametrize(
    "fn",
    [dist.Normal(0.0, 1.0).expand([2]).to_event(1), NORMAL, dist.Dirichlet(torch.ones(2))],
    ids=["cells", "normal", "joint"],
)
def test_what_a_mask_of_the_pair_hides_is_wholly_missing_whatever_stands_there(fn, hide):
    """A row with holes is no event in part where it counts nowhere, and its draws know nothing of what it holds."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 0.1))
            HIDING[hide](fn.expand([len(x)]))

    found = pv.impute(pv.Pair(model, lambda x: wide_of(len(x))), HIDDEN, draws=2_000)
    assert bool(found.missing["x"].all())
    assert torch.allclose(found.values["x"].mean(0), fn.mean.expand(3, 2), atol=0.1)


def test_a_level_is_between_0_and_1():
    found = pv.impute(pv.Pair(factorised, wide), holes(3), draws=3)
    with pytest.raises(pv.ArgumentError, match="between 0 and 1"):
        found.interval(90)


def test_a_guide_that_stands_badly_is_told_of(caplog):
    def narrow(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.full((2,), 3.0), 0.05).to_event(1))

    with caplog.at_level(logging.WARNING, "pyrovae"):
        found = pv.impute(pv.Pair(factorised, narrow), holes(20), draws=5)
    assert "stand badly" in caplog.text
    assert float(found.khat.max()) > 0.7


def test_seeds_and_random_states():
    x, pair = holes(30), pv.Pair(factorised, wide)
    before = torch.get_rng_state()
    one, again, other = (pv.impute(pair, x, draws=3, seed=seed).values["x"] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_holes_of_what_is_only_read_are_told_from_those_of_data():
    def model(x, dose, batch):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + dose, 1.0), obs=x)

    def guide(x, dose, batch):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - dose) / 2, 0.5**0.5))

    pair, full, hole = pv.Pair(model, guide), torch.zeros(3), torch.tensor([0.0, math.nan, 0.0])
    for rows in (full, hole):
        with pytest.raises(pv.PairError, match=r"computes with what is missing in 'dose': without these holes it runs"):
            pv.impute(pair, rows, hole, full, draws=2)
        with pytest.raises(pv.PairError, match=r"^'batch' has holes, and what the model observes has none: it does"):
            pv.impute(pair, rows, full, hole, draws=2)
    assert pv.impute(pair, hole, full, full, draws=2).values["x"].isfinite().all()


# --- every style of pair ------------------------------------------------------------------------------
def holed(args, kwargs):
    """The data with one missing element in the second row of every floating argument."""

    def one(leaf):
        if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point() or leaf.ndim == 0 or len(leaf) < 2:
            return leaf
        leaf = leaf.clone()
        leaf[1].view(-1)[0] = math.nan
        return leaf

    return tuple(map(one, args)), {name: one(leaf) for name, leaf in kwargs.items()}


REFUSED = (
    r"computes with what is missing|at one point for each datum|belongs? to several rows|one vector|no plate of the "
    r"pair|observed in part|weights are all|drawn by the model alone|holds for its own|sums out|has holes|NaN|"
    r"what the model observes has none|does not run"
)


@pytest.mark.parametrize("entry", pairs())
def test_every_style_is_imputed_or_refused_in_words(entry):
    pair, args, kwargs = born(entry)
    args, kwargs = holed(args, kwargs)
    try:
        found = pv.impute(pair, *args, draws=3, candidates=30, data_plate=plate_of(entry), **kwargs)
    except pv.PyrovaeError as error:
        with pytest.raises(pv.PyrovaeError, match=REFUSED):
            raise error
        return
    assert found.khat.shape == found.ess.shape == (ROWS,)
    for site, value in found.values.items():
        assert value.shape[0] == 3
        assert bool(value.double().isfinite().all())
        assert found.missing[site].shape == value.shape[1:]


def test_a_mask_that_calls_a_hole_observed_is_refused():
    def model(x, known):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x, obs_mask=known)

    def guide(x, known):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=~known):
            pyro.sample("x_unobserved", dist.Normal(0.0, 1.0))

    x, known = torch.tensor([1.0, 7.0, math.nan]), torch.tensor([True, False, True])
    with pytest.raises(pv.DataError, match="obs_mask says that"):
        pv.impute(pv.Pair(model, guide), x, known, draws=3)
    found = pv.impute(pv.Pair(model, guide), x, torch.tensor([True, False, False]), draws=400)
    assert float(found.values["x"][:, 2].std()) == pytest.approx(1.0, abs=0.2)
    assert found.values["x"][:, 0].eq(1.0).all()


def test_means_of_whole_numbers_are_not_cut_off():
    def model(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Categorical(torch.tensor([0.1, 0.9])), obs=y)

    def guide(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    found = pv.impute(pv.Pair(model, guide), torch.tensor([0, 1]), mask=torch.tensor([True, False]), draws=800)
    assert float(found.mean()["y"][1]) == pytest.approx(0.9, abs=0.05)
