"""Outliers by cell and row: exact densities, planted cells, permuted rows, and the training without them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.metrics import roc_auc_score

import pyrovae as pv
from pyrovae.models.conditionals.background import background
from pyrovae.models.conditionals.columns import KINDS, Column
from pyrovae.tables.cell_densities import cell_densities, pooled, seen_densities
from pyrovae.tables.outliers import by_themselves

QUIET = {"progress": False, "seed": 0}


def linear_pair():
    """A linear-Gaussian model of four numbers, whose conditionals are known, as a pair of a table."""
    weight = torch.tensor([[1.0, 0.2], [0.3, -1.0], [0.5, 0.5], [-0.7, 0.1]])
    truth = pv.truth.LinearGaussian(weight, torch.tensor([0.1, 0.0, -0.2, 0.3]), 0.6)
    x = truth.sample(200, seed=1).double()
    frame = pd.DataFrame(x.numpy(), columns=list("abcd"))
    schema = pv.tables.schema(frame, kinds=dict.fromkeys("abcd", "real"))

    def wide(x):  # wider than any posterior, so that its weights are good whatever is hidden
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.3).to_event(1))

    return truth, x, frame, pv.tables.with_schema(pv.masked(pv.Pair(truth.model, wide)), schema)


def joint(truth) -> torch.distributions.MultivariateNormal:
    covariance = truth.weight @ truth.weight.T + truth.noise**2 * torch.eye(4)
    return dist.MultivariateNormal(truth.mean.double(), covariance.double())


def given_rest(truth, x: torch.Tensor, column: int, others: list[int]) -> torch.Tensor:
    """log p(x_column | x_others), exactly."""
    whole = joint(truth)

    def marginal(places: list[int]) -> torch.Tensor:
        part = dist.MultivariateNormal(whole.loc[places], whole.covariance_matrix[places][:, places])
        return part.log_prob(x[:, places])

    return marginal([column, *others]) - marginal(others)


@pytest.mark.parametrize("hide", [[], [1], [1, 3], [0, 1, 2, 3]])
def test_densities_of_cells_are_the_exact_conditionals(hide):
    truth, x, _, pair = linear_pair()
    hidden = torch.zeros(4, dtype=torch.bool)
    hidden[hide] = True
    x = x[:40]
    found = cell_densities(pair, (x,), 0, hidden.expand(x.shape), draws=20_000, seed=0, data_plate=None)
    for column in range(4):
        others = [one for one in range(4) if one != column and one not in hide]
        exact = given_rest(truth, x, column, others) if others else _alone(truth, x, column)
        off = (found.cells[:, column] - exact).abs()
        assert off.median() < 0.03
        assert off.quantile(0.9) < 0.12


def _alone(truth, x, column):
    whole = joint(truth)
    return dist.Normal(whole.loc[column], whole.covariance_matrix[column, column].sqrt()).log_prob(x)[:, column]


@pytest.mark.parametrize("columns", [4, pytest.param(11, marks=pytest.mark.slow)])  # each hidden alone, and in groups
def test_of_two_guides_the_one_that_is_lost_decides_nothing(columns):
    weight = torch.randn(columns, 2, generator=torch.Generator().manual_seed(2))
    truth = pv.truth.LinearGaussian(weight, torch.zeros(columns), 0.6)
    frame = pd.DataFrame(truth.sample(50, seed=1).double().numpy(), columns=[f"c{one}" for one in range(columns)])
    schema = pv.tables.schema(frame, kinds=dict.fromkeys(frame, "real"))
    explaining = 40.0 * weight[1] / weight[1].square().sum()  # a code by which 40 in the second column is usual

    def guide(lost):  # drawn to what explains an absurd cell; if lost, sure of a wrong place for rows with a hole
        def guide(x):
            hole, absurd = x.isnan().any(1, keepdim=True) & lost, x.nan_to_num().abs().amax(1, keepdim=True) > 30
            with pyro.plate("data", len(x)):
                loc = torch.where(absurd, explaining, torch.where(hole, 3.0, 0.0))
                scale = torch.where(absurd | hole, 0.1, 1.0)
                pyro.sample("z", dist.Normal(loc.expand(-1, 2), scale.expand(-1, 2)).to_event(1))

        return guide

    def found(frame, *, lost):
        pair = pv.masked(pv.Pair(truth.model, guide(lost)), fill=math.nan)
        return pv.tables.outliers(pv.tables.with_schema(pair, schema), frame, draws=1_000)

    usual, other = found(frame, lost=False), found(frame, lost=True)
    assert (other.cells - usual.cells).abs().max().max() < 0.1
    assert (other.rows - usual.rows).abs().max() < 0.05  # whatever the guide makes of a row without cells
    frame.loc[7, "c1"] = 40.0
    absurd = found(frame, lost=False).cells.loc[7]
    assert absurd["c1"] > 0.99
    assert absurd.drop("c1").max() < 0.1


def test_cells_by_themselves_have_their_densities_whatever_the_guide():
    truth, x, frame, _ = linear_pair()

    def narrow(x):  # all of its draws where a whole row is explained
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(truth.posterior(x.float()).mean, 0.05).to_event(1))

    options, every = {"draws": 4_000, "seed": 0, "data_plate": None}, torch.ones_like(x, dtype=torch.bool)
    schema = pv.tables.schema(frame, kinds=dict.fromkeys("abcd", "real"))
    pair = pv.tables.with_schema(pv.masked(pv.Pair(truth.model, narrow)), schema)
    (seen,) = seen_densities(pair, (x,), 0, [every], **options)
    exact = torch.stack([_alone(truth, x, column) for column in range(4)], 1)
    assert (by_themselves(pair, (x,), 0, seen, options) - exact).abs().quantile(0.9) < 0.15


@pytest.mark.parametrize("hide", [[], [1], [1, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("both", [False, True])
def test_a_guide_that_saw_what_is_hidden_has_the_exact_conditionals_too(hide, both):
    truth, x, _, pair = linear_pair()
    hidden, x = torch.isin(torch.arange(4), torch.tensor(hide)).expand(40, 4), x[:40]
    options = {"draws": 20_000, "seed": 1, "data_plate": None}
    none = torch.zeros_like(hidden)
    _, found = seen_densities(pair, (x,), 0, [none, hidden], **options)
    if both:
        found = pooled(found, cell_densities(pair, (x,), 0, hidden, **options), hidden)
    for column in range(4):
        others = [one for one in range(4) if one != column and one not in hide]
        exact = given_rest(truth, x, column, others) if others else _alone(truth, x, column)
        off = (found.cells[:, column] - exact).abs()
        assert off.median() < 0.03
        assert off.quantile(0.9) < 0.12
    shown = [one for one in range(4) if one not in hide]
    if shown:
        whole = joint(truth)
        part = dist.MultivariateNormal(whole.loc[shown], whole.covariance_matrix[shown][:, shown])
        assert (found.rows - part.log_prob(x[:, shown])).abs().median() < 0.03


def test_the_density_of_a_row_is_that_of_what_is_shown():
    truth, x, _, pair = linear_pair()
    hidden = torch.tensor([False, True, False, True]).expand(x.shape)
    x = x[:40]
    found = cell_densities(pair, (x,), 0, hidden[:40], draws=20_000, seed=0, data_plate=None)
    whole, shown = joint(truth), [0, 2]
    exact = dist.MultivariateNormal(whole.loc[shown], whole.covariance_matrix[shown][:, shown]).log_prob(x[:, shown])
    assert (found.rows - exact).abs().max() < 0.2
    assert (found.rows - exact).abs().mean() < 0.02


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_may_be_anything_is_a_density_of_its_kind(kind):
    """It sums, or integrates, to one."""
    classes = {"binary": 2, "categorical": 5, "ordinal": 4, "interval": 3, "positive_interval": 3}.get(kind, 0)
    column = Column("x", kind, classes=classes, center=1.5, spread=0.7, shares=(0.3, 0.7) if "zero" in kind else ())
    column = column._replace(ends=((0.0, 1.0), (1.0, 3.0), (3.0, 4.0)) if "interval" in kind else ())

    def density(x):
        return background([column], torch.as_tensor(x, dtype=torch.float64)[:, None])[:, 0].exp()

    if classes:
        total = density(range(classes)).sum()
    elif "count" in kind:  # the tail goes on as 1 / (x log² x), and is known
        total = density(range(200_000)).sum() + _tail(column, 200_000)
    elif kind == "proportion":
        total = density([0.2, 0.9]).mean()
    else:
        positive = kind.startswith("positive")
        u = torch.linspace(-4000, 4000, 2_000_001, dtype=torch.float64)
        if positive:
            u = torch.linspace(-600, 600, 2_000_001, dtype=torch.float64)
        x = u.exp() if positive else u
        jacobian = x if positive else torch.ones_like(x)
        total = torch.trapezoid(density(x) * jacobian, u) + (density([0.0])[0] if "zero" in kind else 0.0)
    assert float(total) == pytest.approx(1, abs=0.005)


def _tail(column, first):
    """Beyond a count, of a Cauchy in its logarithm, cut off below a half."""
    off = [(np.log(x) - column.center) / (2 * column.spread) for x in (first + 0.5, 0.5)]
    above = [0.5 - np.arctan(one) / np.pi for one in off]
    return above[0] / above[1]


# --- a likelihood that knows of outliers --------------------------------------------------------------
def two_cells():
    """One latent, two cells, each an outlier one time in ten: all is a sum over four cases, known by a grid over z."""
    columns = [Column(name, "real", center=0.0, spread=1.0) for name in "ab"]
    likelihood = pv.ByColumn(lambda z: z.expand(*z.shape[:-1], 2), columns, outliers=0.1)
    likelihood.requires_grad_(False).free += math.log(0.5)  # the noise

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
            pyro.sample("x", likelihood(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.StudentT(3.0, torch.zeros(len(x), 1), 1.0).to_event(1))

    return columns, likelihood, pv.masked(pv.Pair(model, guide))


def test_probabilities_of_cells_and_rows_are_the_exact_posterior():
    columns, likelihood, pair = two_cells()
    frame = pd.DataFrame({"a": [0.3, 1.0, 4.0, 25.0, np.nan], "b": [0.1, -1.5, 0.2, 0.5, 6.0]})
    table = tuple(pv.tables.TableColumn(column, column.name, "number", (), "float64") for column in columns)
    found = pv.tables.outliers(pv.tables.with_schema(pair, pv.tables.Schema(table)), frame, draws=20_000)
    z = torch.linspace(-8, 8, 8001, dtype=torch.float64)[:, None]
    for row, x in enumerate(torch.tensor(frame.to_numpy())):
        here = ~x.isnan()
        mean = likelihood(z).base_dist.clean.mean.double()
        scale = float(likelihood(z).base_dist.clean.parts[0][1].scale[0, 0])
        clean = 0.9 * dist.Normal(mean, scale).log_prob(x.nan_to_num()).exp()
        wide = 0.1 * background(columns, x.nan_to_num()[None]).exp()
        both = torch.where(here, clean + wide, 1.0)
        weight = dist.Normal(0.0, 1.0).log_prob(z[:, 0]).exp() * both.prod(1)
        weight = weight / weight.sum()
        cells = (weight[:, None] * wide / (clean + wide)).sum(0)
        whole = 1 - float((weight * torch.where(here, clean / (clean + wide), 1.0).prod(1)).sum())
        for place, name in enumerate("ab"):
            if here[place]:
                assert found.cells[name].iloc[row] == pytest.approx(float(cells[place]), abs=0.01)
            else:
                assert np.isnan(found.cells[name].iloc[row])
        assert found.rows.iloc[row] == pytest.approx(whole, abs=0.01)


# --- tables -------------------------------------------------------------------------------------------
def table(rows: int = 600) -> pd.DataFrame:
    noise = np.random.default_rng(0)
    age = noise.normal(50, 10, rows)
    job = np.where(age + noise.normal(0, 5, rows) > 50, "manager", "clerk")
    height = 2 * age + noise.normal(0, 2, rows)
    frame = pd.DataFrame({"age": age, "height": height, "visits": noise.poisson(np.exp(0.05 * age)), "job": job})
    return frame.mask(noise.random(frame.shape) < 0.03).set_index(np.arange(rows) + 1000)


def planted(frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    noise, bad, found = np.random.default_rng(1), np.zeros(frame.shape, bool), frame.copy()
    for place, name in enumerate(["age", "height"]):
        rows = noise.choice(np.flatnonzero(frame[name].notna()), 12, replace=False)
        found.iloc[rows, place] = found.iloc[rows, place] * (0.1 if name == "height" else 3.0)
        bad[rows, place] = True
    return found, bad


def trained(frame: pd.DataFrame, epochs: int = 60):
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=2, hidden=[32])
    pv.fit(pair, frame, epochs=epochs, learning_rate=5e-3, staged=False, **QUIET)
    return pair


@pytest.mark.slow
def test_planted_cells_are_found_and_named():
    frame, bad = planted(table())
    pair = trained(frame)
    found = pv.tables.outliers(pair, frame)
    cells = found.cells[list(frame.columns)]
    seen = frame.notna().to_numpy()
    assert cells.isna().to_numpy()[~seen].all()
    assert roc_auc_score(bad[seen], cells.to_numpy()[seen]) > 0.98
    assert roc_auc_score(bad.any(1), found.rows) > 0.9
    assert found.expected["row"].isin(frame.index).all()
    words = str(found)
    assert "is expected (probability" in words
    # Most of what is taken out was planted, and most of what was planted is taken out.
    out = found.cleaned().reindex(frame.index)[list(frame.columns)].isna().to_numpy() & seen
    assert (out & bad).sum() > 0.7 * bad.sum()
    assert (out & ~bad).sum() < 0.02 * seen.sum()


@pytest.mark.slow
def test_a_training_without_them_is_not_drawn_towards_them():
    clean = table()
    frame, _ = planted(clean)
    pair = trained(frame, epochs=40)
    before = float(pv.log_evidence(pair, clean, draws=100).value.mean())
    again = pv.tables.refit_without_outliers(pair, frame, epochs=40, learning_rate=5e-3, staged=False, **QUIET)
    assert float(pv.log_evidence(pair, clean, draws=100).value.mean()) > before + 0.3
    assert len(again.run.history) == 40
    assert again.frame.isna().sum().sum() > frame.isna().sum().sum()


def test_without_outliers_hardly_anything_is_called_one():
    _, _, frame, pair = linear_pair()
    found = pv.tables.outliers(pair, frame)
    assert (found.cells > 0.5).to_numpy().mean() < 0.005
    assert (found.rows > 0.5).mean() < 0.01


@pytest.mark.parametrize("epochs", [1, pytest.param(200, marks=pytest.mark.slow)])
def test_a_pair_that_has_learnt_nothing_of_rows_is_told_of(epochs, caplog):
    frame = table(100)
    found = pv.tables.outliers(trained(frame, epochs), frame, draws=50)
    assert bool((found.rows > 0.5).mean() > 0.9) is (epochs == 1)
    assert ("of the rows look like outliers as a whole" in caplog.text) is (epochs == 1)


@pytest.mark.slow
def test_cells_that_do_not_belong_together_make_a_strange_row():
    truth, _, frame, pair = linear_pair()
    noise = np.random.default_rng(0)
    mixed = frame.copy()
    rows = noise.choice(len(frame), 20, replace=False)
    mixed.iloc[rows] = np.stack([noise.permutation(frame[name])[:20] for name in frame], 1)
    found = pv.tables.outliers(pair, mixed, draws=2000)
    strange = np.isin(np.arange(len(frame)), rows)
    x = torch.tensor(mixed.to_numpy())
    apart = sum(_alone(truth, x, column) for column in range(4))
    best = roc_auc_score(strange, apart - joint(truth).log_prob(x))  # these cells hardly depend on each other
    assert roc_auc_score(strange, found.rows) > best - 0.03
    assert found.rows[~strange].mean() < found.rows[strange].mean()


@pytest.mark.parametrize("given", ["rows", "no schema", "two frames"])
def test_what_it_needs_is_said(given):
    truth, x, frame, pair = linear_pair()
    asked = {"rows": (pair, x), "no schema": (truth, x), "two frames": (pair, frame, frame)}[given]
    with pytest.raises(pv.ArgumentError, match="takes a pair with a schema and one frame"):
        pv.tables.outliers(*asked)


def test_joint_events_and_shared_sites_are_refused_in_words():
    _, _, frame, _ = linear_pair()
    schema = pv.tables.schema(frame, kinds=dict.fromkeys("abcd", "real"))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.MultivariateNormal(z[:, None].expand(-1, 4), torch.eye(4)), obs=x.float())

    def shared(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0).expand([4]).to_event(1), obs=x.float())

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def shared_guide(x):
        pyro.sample("w", dist.Normal(0.0, 1.0))

    for pair, words in ((pv.Pair(model, guide), "joint event"), (pv.Pair(shared, shared_guide), "all rows share")):
        with pytest.raises(pv.PairError, match=words):
            pv.tables.outliers(pv.tables.with_schema(pair, schema), frame)


def test_a_share_above_which_nothing_is_an_outlier_is_refused():
    _, _, frame, pair = linear_pair()
    with pytest.raises(pv.ArgumentError, match=r"above=1\.5; give a number between 0 and 1"):
        pv.tables.outliers(pair, frame, draws=50).cleaned(above=1.5)
