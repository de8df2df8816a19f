"""Scores of hidden cells: figures of a known model, and nothing of what is hidden reaches an imputer."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from test_estimators import exact, given, known, rows
from test_schemas import a_frame

import pyrovae as pv

pd = pytest.importorskip("pandas")

scores = pv.tables.imputation_scores
NAMES = ["a", "b", "c", "d"]


def table(count=400):
    return pd.DataFrame(rows(count, seed=3), columns=NAMES)


SCHEMA = pv.tables.schema(table(), kinds=dict.fromkeys(NAMES, "real"))


def exact_pair(holed):
    pair = pv.own_store(pv.tables.with_schema(pv.masked(known(SCHEMA)), SCHEMA))
    pv.fit(pair, holed, epochs=1, learning_rate=1e-9, seed=0, progress=False)
    return pair


def exact_means(holed):
    """Each hole filled by its conditional mean."""
    filled = holed.to_numpy().copy()
    for row in filled:
        if np.isnan(row).any():
            row[np.isnan(row)] = given(row)[0].numpy()
    return filled


@pytest.mark.slow
def test_figures_of_the_known_model_are_the_exact_ones():
    frame, seen = table(200), []

    def remembering(holed):
        seen.append(holed)
        return exact_pair(holed)

    found = scores({"pair": remembering, "means": exact_means}, frame, schema=SCHEMA, draws=100, masks=2, seed=1)
    spread = frame.std(ddof=0)
    for mask, holed in enumerate(seen):
        variances = {name: [] for name in NAMES}
        densities = []
        for before, after in zip(holed.to_numpy(), frame.to_numpy(), strict=True):
            if not np.isnan(before).any():
                continue
            mean, whole = given(before)
            for place, at, wide in zip(np.flatnonzero(np.isnan(before)), mean, whole.diagonal(), strict=True):
                variances[NAMES[place]].append(float(wide))
                densities.append(
                    float(torch.distributions.Normal(at, wide.sqrt()).log_prob(torch.tensor(after[place])))
                )
        here = found.scores[found.scores["mask"] == mask].set_index(["imputer", "column"])
        for name in NAMES:
            wide = np.array(variances[name])
            room = 4 * (2 / len(wide)) ** 0.5 / 2
            for imputer in ("pair", "means"):
                assert here.loc[(imputer, name), "hidden"] == len(wide)
                wanted = wide.mean() ** 0.5 / spread[name]
                assert here.loc[(imputer, name), "error"] == pytest.approx(wanted, rel=room)
            # Of a normal prediction that is right, the CRPS is its deviation by the root of pi, in the mean.
            wanted = (wide**0.5).mean() / math.pi**0.5 / spread[name]
            assert here.loc[("pair", name), "crps"] == pytest.approx(wanted, rel=room)
            # Of a point it is the mean absolute error.
            absolute = (wide**0.5).mean() * (2 / math.pi) ** 0.5 / spread[name]
            assert here.loc[("means", name), "crps"] == pytest.approx(absolute, rel=room)
            assert here.loc[("pair", name), "coverage"] == pytest.approx(0.9, abs=4 * (0.09 / len(wide)) ** 0.5)
        pooled = here.loc["pair"]
        density = (pooled["log_density"] * pooled["hidden"]).sum() / pooled["hidden"].sum()
        assert density == pytest.approx(np.mean(densities), abs=0.01)
    assert found.scores.set_index("imputer").loc["means", ["coverage", "log_density"]].isna().all().all()
    better = found.compared("pair", "means")
    assert better.loc["crps", "mean"] < -0.05
    assert abs(better.loc["error of numbers", "mean"]) < 0.02


def test_nothing_of_what_is_hidden_reaches_an_imputer():
    frame, seen = a_frame(100), []

    def imputer(holed):
        seen.append(holed.copy())
        filled = holed.copy()
        for name in holed:
            filled[name] = filled[name].fillna(holed[name].dropna().iloc[0])
        holed["height"] = 0.0  # what one imputer does to it, the next one does not see
        return filled

    kinds = {"codes": "categorical"}
    schema = pv.tables.schema(frame, kinds=kinds)
    found = scores({"one": imputer, "other": imputer}, frame, schema=schema, masks=2, hidden=0.4)
    assert len(seen) == 4
    for one, other in (seen[:2], seen[2:]):
        assert one.equals(other)
    holes = seen[0][[column.name for column in schema.columns]].isna()
    assert 0.3 < holes.to_numpy().mean() < 0.5
    assert not seen[0].equals(seen[2])
    assert (
        holes.sum().to_dict() == found.scores[found.scores["mask"] == 0].groupby("column")["hidden"].first().to_dict()
    )
    for name in ("job", "grade", "codes"):  # each class is still there to be known of
        assert set(seen[0][name].dropna()) == set(frame[name])
    assert found.compared("one", "other").loc["crps"].tolist() == [0, 0]


def test_figures_of_classes():
    """A die of three faces whose shares are known: half the Brier score, the share that is wrong, coverage."""
    noise, shares = np.random.default_rng(0), [0.5, 0.3, 0.2]
    frame = pd.DataFrame({"x": noise.normal(size=2_000), "face": noise.choice(["a", "b", "c"], 2_000, p=shares)})
    mask = pd.DataFrame({"face": np.arange(2_000) > 20})

    def thrown(holed):
        return [holed.fillna({"face": pd.Series(noise.choice(["a", "b", "c"], 2_000, p=shares))}) for _ in range(100)]

    def always(holed):
        return holed.fillna({"face": "a"})

    found = scores({"thrown": thrown, "always": always}, frame, hidden=mask).scores.set_index("imputer")
    assert found.loc["thrown", "error"] == pytest.approx(0.5, abs=0.05)
    # 1 - p_y - (1 - sum of squares) / 2, in the mean: half of 1 - 0.38
    assert found.loc["thrown", "crps"] == pytest.approx(0.31, abs=0.015)
    assert found.loc["thrown", "coverage"] == pytest.approx(0.9, abs=0.03)
    assert found.loc["always", "crps"] == found.loc["always", "error"]


def test_a_class_of_one_row_is_never_hidden():
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=40), "face": ["rare", *["a", "b", "c"] * 13]})
    seen = []

    def imputer(holed):
        seen.append(set(holed["face"].dropna()))
        return holed.fillna({"x": 0.0, "face": "a"})

    scores(imputer, frame, hidden=0.95, masks=4)
    assert seen == [{"rare", "a", "b", "c"}] * 4


@pytest.mark.slow
def test_estimators_are_fitted_on_what_is_left(caplog):
    frame = table(80)
    frame.iloc[0, 0] = math.nan
    imputers = {
        "vae": exact(pv.estimators.VAEImputer),
        "mean": SimpleImputer(),
        "before": exact_pair(frame),
    }
    with caplog.at_level(logging.WARNING, "pyrovae"):
        found = scores(imputers, frame, schema=SCHEMA, masks=2, draws=20)
    assert found.trained_before == ("before",)
    assert "'before' was trained before cells were hidden" in caplog.text
    overall = found.overall()
    assert overall.loc["mean", ("error of numbers", "mean")] == pytest.approx(1, abs=0.1)
    assert overall.loc["vae", ("error of numbers", "mean")] < 0.6
    assert overall.loc["vae", ("log_density", "mean")] == pytest.approx(
        overall.loc["before", ("log_density", "mean")], abs=0.01
    )
    assert not hasattr(imputers["vae"], "pair_")
    shown = str(found)
    assert "before was trained before cells were hidden, maybe on these" in shown
    assert "mean ± standard error over 2 masks" in shown
    assert found.by_column().loc[("mean", "a"), ("error", "error")] >= 0


@pytest.mark.slow
def test_masks_and_draws_follow_from_the_seed():
    frame = table(60)
    one, again, other = (
        scores(exact_pair, frame, schema=SCHEMA, masks=1, draws=10, seed=seed).scores for seed in (1, 1, 2)
    )
    assert one.equals(again)
    assert not one.equals(other)


def empty(holed):
    return holed


@pytest.mark.parametrize(
    ("imputers", "options", "match"),
    [
        (exact_means, {"hidden": 1.0}, "hidden=1.0; give a share"),
        (exact_means, {"hidden": np.ones((3, 4), bool)}, r"bool of shape \(3, 4\); give booleans of shape \(30, 4\)"),
        (exact_means, {"hidden": np.zeros((30, 4), bool)}, "mask 0 hides no cell"),
        (exact_means, {"hidden": pd.DataFrame({"z": [True] * 30})}, "column 'z', which is none of the schema's"),
        (exact_means, {"masks": 0}, "masks=0"),
        ({}, {}, "there is no imputer"),
        (exact_means, {"level": 90}, "between 0 and 1"),
        (empty, {}, "'imputer' left hidden cells of column 'a' empty"),
        (lambda holed: holed[["a"]].fillna(0.0), {}, "no column 'b'"),
        (lambda holed: np.zeros((3, 3)), {}, r"shape \(3, 3\) for a table of \(30, 4\)"),
        ("mean", {}, "an imputer is a str"),
        (lambda holed: known(SCHEMA), {}, "carries no schema"),
    ],
)
def test_what_cannot_be_scored_is_refused(imputers, options, match):
    with pytest.raises(pv.PyrovaeError, match=match):
        scores(imputers, table(30), **{"schema": SCHEMA, **options})


def test_an_imputer_that_is_not_there_is_not_compared():
    found = scores(exact_means, table(30), schema=SCHEMA, masks=1)
    with pytest.raises(pv.ArgumentError, match="no imputer 'forest'; there are 'imputer'"):
        found.compared("forest", "imputer")
