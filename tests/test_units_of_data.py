"""Data in farads, in years, in bits: no result hangs on the unit that numbers are written in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

X = np.random.default_rng(0).normal(size=60)
UNITS = [(0.0, 1e-9), (2000.0, 0.1), (1e5, 1.0)]


def levels(level: float, unit: float):
    """Codes around a level that all rows share, as the guide has it, too."""
    torch.manual_seed(0)
    x = level + unit * torch.randn(10)

    def model(x):
        shared = pyro.sample("shared", dist.Normal(level, unit))
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(shared, unit))
            pyro.deterministic("off", z - z.mean(0))
            pyro.sample("x", dist.Normal(z, unit), obs=x)

    def guide(x):
        shared = pyro.sample("shared", dist.Normal(level, unit))
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(shared, 0.5 * unit))

    return pv.Pair(model, guide), x


@pytest.mark.parametrize(("level", "unit"), UNITS)
def test_a_scale_holds_what_is_shared_in_every_unit(level, unit):
    pair, x = levels(level, unit)
    scale = pv.encode(pair, x, draws=2000)["z"].scale / unit
    assert torch.allclose(scale.double(), torch.tensor(1.25).double().sqrt(), rtol=0.05)


@pytest.mark.parametrize(("level", "unit"), UNITS)
def test_what_does_not_broadcast_is_found_in_every_unit(level, unit):
    pair, x = levels(level, unit)
    off = pv.posterior_predictive(pair, x, draws=20)["off"]
    assert off.mean(1).abs().max() < 1e-2 * unit + 1e-6 * level  # around the mean of its own draw


@pytest.mark.parametrize(("kind", "unit"), [("real", 1e-13), ("heavy", 1e-100), ("peaked", 1e100)])
def test_a_column_is_filled_in_its_own_unit(kind, unit):
    found = []
    for size in (1.0, unit):
        frame = pd.DataFrame({"a": X, "v": size * np.where(np.arange(60) % 5, X, np.nan)})
        schema = pv.tables.schema(frame, kinds={"v": kind})
        torch.manual_seed(0)
        pair = pv.recipes.table_vae(schema, latent=1, hidden=[4])
        found.append((pv.impute(pair, frame)["v"] / size, pv.elbo(pair, frame, draws=2).value.numpy()))
    assert np.allclose(found[1][0], found[0][0], rtol=1e-3, atol=1e-3)
    nats = np.where(np.arange(60) % 5, np.log(unit), 0.0)
    assert np.allclose(found[1][1] + nats, found[0][1], atol=1e-2)


def test_kinds_are_guessed_in_every_unit():
    farads = 1e-12 * np.exp(X)
    frame = pd.DataFrame({"farads": farads, "p": np.where(np.arange(60) % 7, 1 / (1 + np.exp(X)), 1e-40)})
    frame["far"] = 1e180 * np.exp(30 * X)
    assert [column.kind for column in pv.tables.schema(frame).columns] == ["positive", "real", "positive"]
    with pytest.raises(pv.DataError, match=r"'x' varies by .*whose square .*kinds=\{'x': 'left out'\}"):
        pv.tables.schema(pd.DataFrame({"x": 1e300 * X, "y": X}))


def test_pairs_that_observe_other_numbers_are_told_apart_in_every_unit():
    def pair(factor):
        def model(x):
            with pyro.plate("rows", len(x)):
                pyro.sample("x", dist.Normal(0.0, 1e-9), obs=factor * x)

        return pv.Pair(model, lambda x: None)

    with pytest.raises(pv.PairError, match="holds other numbers"):
        pv.compare({"one": pair(1), "other": pair(2)}, 1e-10 * torch.from_numpy(X).float())


def test_gaps_and_annealing_are_those_of_every_unit():
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    covariance = torch.linalg.inv(torch.eye(2) + weight.T @ weight / 0.25)
    loc, scale = x @ weight @ covariance / 0.25, 1.3 * covariance.diagonal().sqrt()
    gaps, bounds = [], []
    for unit in (1.0, 2.0**-30):

        def model(x, unit=unit):
            with pyro.plate("rows", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), unit).to_event(1))
                pyro.sample("x", dist.Normal(z @ weight.T, 0.5 * unit).to_event(1), obs=x)

        def guide(x, unit=unit):
            with pyro.plate("rows", len(x)):
                pyro.sample("z", dist.Normal(unit * loc, unit * scale).to_event(1))

        pair = pv.Pair(model, guide)
        gaps.append(pv.inference_gap(pair, unit * x, steps=20, draws=50).approximation.value)
        bounds.append(pv.ais(pair, unit * x, chains=2, steps=5).lower.value + 3 * np.log(unit))
    assert torch.allclose(*gaps, atol=1e-3)
    assert torch.allclose(*bounds, atol=1e-3)
