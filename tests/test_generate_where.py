"""New rows of which some cells are given: moments against the exact conditional, classes, and what cannot be."""

from __future__ import annotations

import logging

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv


def linear_pair(*, narrow: bool):
    """A linear-Gaussian table whose guide knows the posterior of full rows, or one that is far too narrow."""
    weight = torch.tensor([[1.0, 0.2], [0.3, -1.0], [0.5, 0.5]])
    truth = pv.truth.LinearGaussian(weight, torch.tensor([0.1, 0.0, -0.2]), 0.6)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.full((len(x), 2), 3.0), 0.1).to_event(1))

    pair = pv.masked(pv.Pair(truth.model, guide) if narrow else truth)
    frame = pd.DataFrame(truth.sample(50, seed=0).numpy(), columns=["a", "b", "c"])
    schema = pv.tables.schema(frame, kinds=dict.fromkeys("abc", "real"))
    return truth, pv.tables.with_schema(pair, schema)


@pytest.mark.parametrize("narrow", [False, True])
def test_rows_have_the_moments_of_the_exact_conditional(narrow):
    truth, pair = linear_pair(narrow=narrow)
    made = pv.tables.generate_where(pair, 4000, {"a": 1.5}, candidates=20_000)
    covariance = (truth.weight @ truth.weight.T + truth.noise**2 * torch.eye(3)).double()
    slope = covariance[1:, 0] / covariance[0, 0]
    mean = truth.mean[1:].double() + slope * (1.5 - float(truth.mean[0]))
    rest = covariance[1:, 1:] - slope[:, None] * covariance[:1, 1:]
    assert made["a"].unique().tolist() == [1.5]
    found = torch.tensor(made[["b", "c"]].to_numpy())
    error = 4 * (rest.diagonal() / made.attrs["effective_size"]).sqrt()
    assert ((found.mean(0) - mean).abs() < error + 0.02).all()
    assert ((found.T.cov() / rest - 1).diagonal().abs() < 0.15).all()
    assert made.attrs["effective_size"] > 1000


def conditional(truth, given, value, place):
    """Mean and deviation of one column given another."""
    covariance = (truth.weight @ truth.weight.T + truth.noise**2 * torch.eye(3)).double()
    slope = covariance[place, given] / covariance[given, given]
    mean = truth.mean[place].double() + slope * (value - float(truth.mean[given]))
    return mean, (covariance[place, place] - slope * covariance[given, place]).sqrt()


@pytest.mark.parametrize("narrow", [False, True])
def test_rows_within_a_range_have_the_moments_of_a_truncated_normal(narrow):
    truth, pair = linear_pair(narrow=narrow)
    made = pv.tables.generate_where(pair, 4000, {"a": (1.0, 2.5), "c": 0.5}, candidates=20_000)
    assert len(made) == 4000
    assert 1.0 <= made["a"].min() < 1.02
    assert 2.4 < made["a"].max() <= 2.5
    mean, spread = conditional(truth, 2, 0.5, 0)
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = (1.0 - mean) / spread, (2.5 - mean) / spread
    density, mass = (
        normal.log_prob(low).exp() - normal.log_prob(high).exp(),
        normal.cdf(high) - normal.cdf(low),
    )
    wanted = mean + spread * density / mass
    assert made["a"].mean() == pytest.approx(float(wanted), abs=4 * float(made["a"].std()) / 2000**0.5)
    assert made.attrs["effective_size"] > 2000


@pytest.mark.slow
def test_open_ranges_and_those_that_hold_nothing():
    _, pair = linear_pair(narrow=False)
    made = pv.tables.generate_where(pair, 50, {"b": (None, -1.0), "a": (0.0, None)})
    assert made["b"].max() <= -1.0
    assert made["a"].min() >= 0.0
    with pytest.raises(pv.ArgumentError, match="rows that were drawn 0 lie within the ranges"):
        pv.tables.generate_where(pair, 5, {"a": (40.0, 41.0)}, candidates=100)


def test_ranges_of_dates_whole_numbers_and_ordered_classes():
    days = pd.date_range("2020-01-01", periods=60)
    frame = pd.DataFrame(
        {
            "day": days,
            "n": range(0, 120, 2),
            "size": pd.Categorical(["s", "m", "l"] * 20, ["s", "m", "l"], ordered=True),
        }
    )
    pair = pv.recipes.table_vae(pv.tables.schema(frame, kinds={"n": "real"}), latent=1, hidden=[4])
    made = pv.tables.generate_where(pair, 40, {"day": ("2020-01-20", "2020-02-10"), "n": (30, 60), "size": ("m", None)})
    assert made["day"].between("2020-01-20", "2020-02-10").all()
    assert made["n"].between(30, 60).all()
    assert set(made["size"]) == {"m", "l"}


def classes():
    frame = pd.DataFrame({"size": [1.5, 2.0, 9.0, 8.5] * 40, "kind": ["small", "small", "big", "big"] * 40})
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[16])
    pv.fit(pair, frame, epochs=60, batch_size=32, learning_rate=1e-2, seed=0, staged=False, progress=False)
    return pair


@pytest.mark.slow
def test_a_class_is_asked_for_by_its_name():
    pair = classes()
    sizes = {kind: pv.tables.generate_where(pair, 300, {"kind": kind})["size"].median() for kind in ("small", "big")}
    assert sizes["small"] < 4 < sizes["big"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"kind": "huge"}, "cannot be 'huge'; its classes are"),
        ({"colour": "red"}, "the schema's columns are 'size', 'kind'"),
        ({}, "give values of columns by name"),
        ("kind", "give values of columns by name"),
        ({"size": "wide"}, "cannot be 'wide'; it is positive"),
        ({"size": None}, "cannot be None"),
        ({"size": (2.0, 1.0)}, "the lowest comes first"),
        ({"size": (None, None)}, "give one end at least"),
        ({"size": (1.0, "wide")}, "cannot be 'wide'; it is positive"),
        ({"size": [1.0, 2.0]}, "give one value, or a range"),
        ({"kind": ("big", "small")}, "'kind' is binary, and its classes have no order"),
    ],
)
def test_what_cannot_be_is_said(where, words):
    frame = pd.DataFrame({"size": [1.5, 2.0, 9.0, 8.5], "kind": ["small", "small", "big", "big"]})
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[4])
    with pytest.raises(pv.ArgumentError, match=words):
        pv.tables.generate_where(pair, 3, where)


def test_a_pair_without_a_schema_is_refused(linear):
    with pytest.raises(pv.ArgumentError, match="carries a schema"):
        pv.tables.generate_where(linear, 3, {"a": 1.0})


def test_few_candidates_that_count_are_said(caplog):
    _, pair = linear_pair(narrow=True)
    with caplog.at_level(logging.WARNING, logger="pyrovae"):
        made = pv.tables.generate_where(pair, 10, {"a": 8.0, "b": -8.0, "c": 8.0}, candidates=200)
    assert made.attrs["effective_size"] < 50
    assert "candidates count for these cells" in caplog.text


def test_seeds_repeat_and_the_callers_state_stays():
    _, pair = linear_pair(narrow=False)
    before = torch.get_rng_state()
    first = pv.tables.generate_where(pair, 20, {"a": 0.0}, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    pd.testing.assert_frame_equal(first, pv.tables.generate_where(pair, 20, {"a": 0.0}, seed=3))
    assert not first["b"].equals(pv.tables.generate_where(pair, 20, {"a": 0.0}, seed=4)["b"])
