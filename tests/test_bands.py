"""Columns of intervals: how they are read, how probable they are, and what a model learns of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.models.conditionals.interval_masses import log_normal_mass
from pyrovae.tables.bands import band, ends_of

pd = pytest.importorskip("pandas")

INFINITE = math.inf
AGES = ["<30", "30-39", "40-49", "50-59", "60+"]
EDGES = [-np.inf, 30, 40, 50, 60, np.inf]


def a_survey(rows=400):
    """Ages in intervals, and a number that follows them."""
    noise = np.random.default_rng(0)
    years = noise.normal(45, 15, rows)
    ages = pd.cut(years, EDGES, right=False, labels=AGES).astype(str)
    income = np.exp(noise.normal(3, 1, rows))
    return pd.DataFrame(
        {
            "age": ages,
            "cut": pd.cut(income, [0, 10, 30, 100, 10_000]),
            "pressure": 100 + 0.5 * years + noise.normal(0, 4, rows),
        }
    ).mask(noise.random((rows, 3)) < 0.1)


# --- masses ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("low", "high", "known"),
    [  # to 15 digits, by 50 digits
        (-1.0, 2.0, math.log(0.818594614120364)),
        (-INFINITE, 0.0, math.log(0.5)),
        (0.0, INFINITE, math.log(0.5)),
        (-INFINITE, INFINITE, 0.0),
        (38.0, 39.0, -726.5572160188201),
        (-39.0, -38.0, -726.5572160188201),
        (1.0, 1.0 + 1e-9, math.log(1e-9) - 0.5 - 0.5 * math.log(2 * math.pi) - 0.5e-9),
        (-1e5, -1e5 + 1, -0.5 * (1e5 - 1) ** 2 - math.log(1e5 - 1) - 0.5 * math.log(2 * math.pi)),
    ],
)
def test_masses_are_exact_in_both_tails(low, high, known):
    ends = [torch.tensor(end, dtype=torch.float64, requires_grad=True) for end in (low, high)]
    found = log_normal_mass(*ends)
    assert float(found.detach()) == pytest.approx(known, rel=1e-7, abs=1e-12)
    found.backward()
    assert all(end.grad is not None and bool(end.grad.isfinite()) for end in ends)


def a_pair(column, weight=0.8):
    """One latent number that moves a column of intervals; the guide knows nothing."""
    decoder, encoder = nn.Linear(1, 1), nn.Linear(1, 2)
    with torch.no_grad():
        for part, value in ((decoder, weight), (encoder, 0.0)):
            part.weight.fill_(value)
            part.bias.fill_(0.0)
    return pv.VAE(pv.StandardNormal(1), pv.ByColumn(decoder, [column]), pv.DiagNormal(encoder)).double()


def test_evidence_is_that_of_quadrature():
    """Of each interval the mass of a normal number, integrated over the latent one by hand."""
    ends = ((-INFINITE, 0.0), (0.0, 3.0), (3.0, 4.0), (4.0, INFINITE))
    pair = a_pair(pv.Column("x", "interval", 4, center=2.0, spread=1.5, ends=ends))
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    loc = 2.0 + 1.5 * (12 / math.pi) * torch.atan(0.8 * z * math.pi / 12)
    weights = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    for place, (low, high) in enumerate(ends):
        below, above = (torch.distributions.Normal(loc, 1.5).cdf(torch.tensor(end)) for end in (low, high))
        exact = torch.trapezoid(weights * (above - below), z).log()
        found = pv.log_evidence(pair, torch.full((1, 1), float(place), dtype=torch.float64), draws=20_000, seed=0)
        assert float(found.value[0] - exact) == pytest.approx(0, abs=4 * float(found.error[0]))
        assert float(found.error[0]) < 0.02


@pytest.mark.parametrize(("kind", "spread"), [("interval", 2.0), ("positive_interval", 0.7)])
def test_where_numbers_lie_is_learned_from_their_intervals(kind, spread):
    """By maximum likelihood, of 20,000 numbers of which three intervals are known."""
    torch.manual_seed(0)
    x = 1.5 + spread * torch.randn(20_000, dtype=torch.float64)
    inner = torch.tensor([0.5, 3.0], dtype=torch.float64)
    ends = ((-INFINITE, 0.5), (0.5, 3.0), (3.0, INFINITE))
    if kind == "positive_interval":  # 0 has no logarithm but minus infinity
        ends = tuple((math.exp(low), math.exp(high)) for low, high in ends)
    column = pv.Column("x", kind, 3, center=0.0, spread=1.0, ends=ends)
    likelihood = pv.ByColumn(nn.Linear(1, 1), [column]).double()
    optimiser = torch.optim.LBFGS(likelihood.parameters(), max_iter=100, line_search_fn="strong_wolfe")
    codes, given = torch.bucketize(x, inner).double()[:, None], torch.zeros(1, 1, dtype=torch.float64)

    def loss():
        optimiser.zero_grad()
        found = -likelihood(given).log_prob(codes).mean()
        found.backward()
        return found

    optimiser.step(loss)
    off = float(likelihood.network(given).detach())
    loc = 12 / math.pi * math.atan(off * math.pi / 12)
    scale = math.exp(20 / math.pi * math.atan(float(likelihood.free.detach()) * math.pi / 20))
    assert loc == pytest.approx(1.5, abs=0.06)
    assert scale == pytest.approx(spread, abs=0.06)


# --- reading --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("texts", "ends"),
    [
        (AGES, [(-INFINITE, 30), (30, 40), (40, 50), (50, 60), (60, INFINITE)]),
        (["<=29", "30-39", ">39"], [(-INFINITE, 30), (30, 40), (40, INFINITE)]),
        (["0", "1 to 4", "5+"], [(0, 1), (1, 5), (5, INFINITE)]),
        (["0-10", "10-20", "20–40"], [(0, 10), (10, 20), (20, 40)]),
        (["0.0-0.4", "0.5-0.9", ">=1.0"], [(0, 0.5), (0.5, 1.0), (1.0, INFINITE)]),
        (["-10..-5", "-5..0", "≥0"], [(-10, -5), (-5, 0), (0, INFINITE)]),
        (["(-inf, 1.5]", "(1.5, 2e3]"], [(-INFINITE, 1.5), (1.5, 2000)]),
    ],
)
def test_intervals_as_people_write_them(texts, ends):
    assert torch.tensor(ends_of([band(text) for text in texts])).equal(torch.tensor(ends))


@pytest.mark.parametrize("text", ["tall", "30-", "2020-01-31", "1,5-2", "", "-", "5 5", "<", "nan", "(1, 2"])
def test_other_texts_are_none(text):
    assert band(text) is None


def test_a_schema_knows_intervals_and_keeps_them(tmp_path):
    frame = a_survey()
    schema = pv.tables.schema(frame)
    assert [one.kind for one in schema.columns] == ["interval", "positive_interval", "real"]
    assert schema.columns[0].ends == ((-INFINITE, 30), (30, 40), (40, 50), (50, 60), (60, INFINITE))
    assert 40 < schema.columns[0].center < 50
    schema.save(tmp_path / "schema.toml")
    assert pv.tables.read_schema(tmp_path / "schema.toml") == schema
    again = schema.decode(schema.encode(frame))
    assert (again["age"].isna() == frame["age"].isna()).all()
    assert again["age"].dropna().equals(frame["age"].dropna())
    assert again["cut"].equals(frame["cut"])
    assert schema.decode(schema.encode(frame), like=frame).equals(frame)
    taken = pd.DataFrame({"cut": pd.arrays.IntervalArray(frame["cut"])})
    of_its_own_type = pv.tables.schema(taken)
    assert of_its_own_type.decode(of_its_own_type.encode(taken))["cut"].dtype.name == "interval"
    complete = taken.dropna().reset_index(drop=True)
    back = pv.tables.schema(complete)
    assert back.decode(back.encode(complete)).equals(complete)


def test_new_cells_lie_in_the_intervals_that_are_known(caplog):
    schema = pv.tables.schema(a_survey())
    new = pd.DataFrame({"age": ["30-39", 30, 39.5, "41", "60-64", "25-34", "old", None, 29.999]}, dtype=object)
    codes = schema.encode(new)[:, 0]
    assert codes.nan_to_num(-1.0).tolist() == [1, 1, 1, 2, 4, -1, -1, -1, 0]
    assert "'25-34', 'old'" in caplog.text
    assert schema.encode(pd.DataFrame({"cut": [10.0, 10.1]}))[:, 1].tolist() == [0, 1]  # (0, 10] has its high end


@pytest.mark.parametrize(
    ("column", "kind", "error", "match"),
    [
        (["30-40", "35-45", "50+"], "interval", pv.DataError, "30-40 and 35-45 overlap"),
        (["30-40", "old", "50+"], "interval", pv.DataError, "'old' is none"),
        (["5", "7", "<5"], "interval", pv.DataError, "'5' lies no number, or a single one"),
        (["-5-0", "0-5", "5+"], "positive_interval", pv.ArgumentError, "ends below 0"),
        ([30, 40, 50], "interval", pv.ArgumentError, "intervals are texts such as"),
        (pd.cut([1, 2, 3], [0, 2, 4]), "categorical", pv.ArgumentError, "holds intervals; give"),
        (pd.arrays.IntervalArray.from_tuples([(0, 2), (1, 3)]), None, pv.DataError, "overlap"),
        (pd.cut(pd.to_datetime(["2020-01-01", "2020-02-01"]), 2), None, pv.DataError, "is none"),
    ],
)
def test_what_is_no_column_of_intervals_is_refused(column, kind, error, match):
    with pytest.raises(error, match=match):
        pv.tables.schema(
            pd.DataFrame({"x": column, "y": np.arange(len(column)) / 3}), kinds={"x": kind} if kind else None
        )


@pytest.mark.parametrize("texts", [["3-1", "1-2", "2-3"], ["1-3", "2-4", "5-6"], ["1", "2", "3"], ["5-9", "10+"]])
def test_texts_that_are_no_intervals_stay_classes(texts):
    frame = pd.DataFrame({"x": texts * 20, "y": np.arange(20.0 * len(texts)) / 3})
    assert pv.tables.schema(frame).columns[0].kind in ("categorical", "binary")
    if texts == ["5-9", "10+"]:
        assert pv.tables.schema(frame, kinds={"x": "interval"}).columns[0].ends == ((5, 10), (10, INFINITE))


def test_a_file_that_was_edited_badly_is_refused(tmp_path):
    path, text = tmp_path / "schema.toml", pv.tables.schema(a_survey()).toml()
    for before, after, match in (
        ("[30.0, 40.0]", "[40.0, 30.0]", "not below the high one"),
        ("[30.0, 40.0], ", "", "4 pairs of ends for 5 intervals"),
        ("[30.0, 40.0]", "[30.0, 45.0]", "overlap"),
        ("[30.0, 40.0]", "[30.0]", "not enough values"),
        ("[30.0, 40.0]", '["a", 40.0]', "could not convert"),
        ("[30.0, 40.0]", "[nan, 40.0]", "not below the high one"),
    ):
        assert before in text
        path.write_text(text.replace(before, after))
        with pytest.raises(pv.FileError, match=match):
            pv.tables.read_schema(path)


# --- a model of them ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def fitted():
    frame = a_survey()
    torch.manual_seed(0)
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=2, hidden=[32])
    pv.fit(pair, frame, epochs=40, learning_rate=1e-2, seed=0, progress=False)
    return pair, frame


@pytest.mark.slow
def test_frames_with_intervals_go_in_and_out(fitted):
    pair, frame = fitted
    filled = pv.impute(pair, frame, seed=0)
    assert not filled.isna().any(axis=None)
    assert filled.dtypes.equals(frame.dtypes)
    assert filled[frame.notna()].equals(frame)
    made = pv.generate(pair, 300, seed=0)
    assert set(made["age"]) <= set(AGES)
    assert made["cut"].dtype == frame["cut"].dtype
    old = pv.tables.generate_where(pair, 200, {"age": (50, None)}, seed=0)
    assert set(old["age"]) == {"50-59", "60+"}
    cut = pv.tables.generate_where(pair, 200, {"age": (30, 52)}, seed=0)
    assert set(cut["age"]) == {"30-39", "40-49"}  # and none that sticks out
    with pytest.raises(pv.ArgumentError, match="no interval of 'age' lies within; they are"):
        pv.tables.generate_where(pair, 5, {"age": (31, 35)})
    young = pv.tables.generate_where(pair, 200, {"age": "<30"}, seed=0)
    assert young["pressure"].mean() < old["pressure"].mean() - 10  # which follows the age


@pytest.mark.slow
def test_intervals_are_scored_as_ordered_classes(fitted):
    pair, frame = fitted
    scores = pv.tables.imputation_scores(lambda holed: pair, frame, masks=1, draws=50, seed=0).scores
    ages = scores.set_index("column").loc["age"]
    assert ages["kind"] == "interval"
    assert ages["error"] < 0.75  # of five
    assert ages["log_density"] > -math.log(5)
    found = pv.impute(pair, frame, draws=40, seed=0)
    low, high = found.interval(0.9)["x"]
    assert bool((low[:, 0] <= high[:, 0]).all())
