"""Columns of any level and spread: results do not depend on the units that the data are written in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli.advice import advise, look
from pyrovae.cli.main import app
from pyrovae.cli.model_config import ModelConfig
from pyrovae.models.units.standard_columns import center_and_spread

# Deviations of 300 among Unix times, of 0.05 among pressures, identifiers, and a mean of 1e9 with a deviation of 1.
LEVELS = np.array([1.7e9, 101_325.0, 1e7, 1e9])
SPREADS = np.array([300.0, 0.05, 2.0, 1.0])
ORIGIN = np.random.default_rng(0).normal(size=(256, 2)) @ [[1.0, 0.5, 0.0, -1.0], [0.2, -1.0, 1.0, 0.0]]
ORIGIN += 0.3 * np.random.default_rng(1).normal(size=(256, 4))
RAW = LEVELS + SPREADS * ORIGIN
UNITS = torch.from_numpy(SPREADS)


def recipe(rows: np.ndarray) -> pv.VAE:
    torch.manual_seed(0)
    return pv.recipes.vector_vae(4, latent=2, hidden=[8])


def of_command_line(rows: np.ndarray) -> pv.VAE:
    torch.manual_seed(0)
    facts = look(rows, "table")
    model_config = ModelConfig.of(facts, advise(facts))
    assert model_config.scaling == "standard"
    assert model_config.prepare(rows).dtype == np.float64
    return model_config.build(rows)


both = pytest.mark.parametrize("make", [recipe, of_command_line])


def trained(make, rows: np.ndarray) -> pv.VAE:
    vae = make(rows)
    pv.fit(vae, rows, steps=30, batch_size=256, learning_rate=3e-3, seed=0, progress=False)
    return vae


@both
@pytest.mark.slow
def test_figures_draws_and_uncertainties_are_those_of_the_same_data_at_the_origin(make):
    raw, plain = trained(make, RAW), trained(make, ORIGIN)
    nats = float(UNITS.log().sum())  # the density's Jacobian
    for rows in (slice(0, 64), slice(5, 6)):  # a row alone as among others
        here, there = RAW[rows], ORIGIN[rows]
        torch.testing.assert_close(pv.encode(raw, here)["z"].mean, pv.encode(plain, there)["z"].mean, atol=2e-3, rtol=0)
        evidence = [pv.log_evidence(*one, draws=64, seed=0).value for one in ((raw, here), (plain, there))]
        torch.testing.assert_close(evidence[0].double() + nats, evidence[1].double(), atol=2e-2, rtol=0)
        drawn = [pv.posterior_predictive(*one, draws=50, seed=0)["x"] for one in ((raw, here), (plain, there))]
        back = (drawn[0].double() - torch.from_numpy(LEVELS)) / UNITS
        torch.testing.assert_close(back, drawn[1].double(), atol=2e-2, rtol=0)
        parts = [pv.uncertainty(*one, draws=20, seed=0)["x"] for one in ((raw, here), (plain, there))]
        for field in ("total", "aleatoric", "latent"):
            one, other = (getattr(part, field).double() for part in parts)
            torch.testing.assert_close(one / UNITS**2, other, atol=1e-2, rtol=1e-2)
    generated = pv.generate(raw, 2_000, seed=0)["x"]
    spread = (generated.double().std(0) / UNITS).numpy()
    assert (abs(spread / ORIGIN.std(0) - 1) < 0.5).all()


@both
def test_staged_steps_standardise_as_plain_ones(make):
    ends = []
    for staged in (False, "traced"):
        vae = make(RAW)
        ends.append(pv.fit(vae, RAW, steps=20, seed=0, staged=staged, progress=False).history[-1].loss)
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


@pytest.mark.parametrize("level", [0.0, 1.0, -1e3, 1e9, -1e12])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e6])
def test_moments_whatever_the_level(level, spread):
    if spread < 1e-11 * abs(level):
        pytest.skip("less than the last digits of double precision at that level")
    center, found = center_and_spread(torch.from_numpy(level + spread * ORIGIN))
    rounding = 1e-15 * abs(level) + 1e-12 * spread
    assert (abs(center.numpy() - (level + spread * ORIGIN.mean(0))) < 10 * rounding).all()
    np.testing.assert_allclose(found.numpy(), spread * ORIGIN.std(0), rtol=1e-9 + 1e-15 * abs(level) / spread)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 1 / 3, -3e-8])
def test_a_constant_column_has_no_spread(value):
    center, spread = center_and_spread(torch.full((99, 2), value, dtype=torch.float64))
    assert center.tolist() == [value] * 2
    assert spread.tolist() == [abs(value) or 1.0] * 2


def of_ones_own(rows: np.ndarray) -> pv.VAE:
    likelihood = pv.Normal(pv.MLP(2, [8], 4), scale=pv.LearnedScale(4))
    return pv.VAE(pv.StandardNormal(2), likelihood, pv.DiagNormal(pv.MLP(4, [8], 4)))


def test_columns_whose_differences_a_pair_would_not_see_are_refused():
    with pytest.raises(pv.DataError, match=r"column 0, 1, 2, 3 differ by about .*float32, goes in steps of .*double"):
        pv.fit(of_ones_own(RAW), RAW, steps=1, progress=False)
    pv.fit(of_ones_own(RAW).double(), RAW, steps=1, progress=False)
    pv.fit(of_ones_own(RAW), RAW - LEVELS, steps=1, progress=False)
    pv.fit(of_ones_own(RAW), np.full((256, 4), 0.1) + 1e-17, steps=1, progress=False)  # constant but for its last bits


def test_the_command_line_draws_what_a_table_of_times_and_pressures_holds(tmp_path):
    path, names = tmp_path / "table.csv", ["time", "pressure", "number", "large"]
    np.savetxt(path, RAW, delimiter=",", header=",".join(names), comments="", fmt="%.6f")
    run = tmp_path / "run"
    for line in (
        f"train {path} --likelihood normal --epochs 4 --out {run} --quiet --no-report",
        f"sample {run} -n 500 --seed 0 --out {tmp_path / 'drawn.npy'}",
    ):
        assert CliRunner().invoke(app, line.split()).exit_code == 0
    drawn = np.load(tmp_path / "drawn.npy")
    assert drawn.dtype == np.float64
    assert (abs(np.log(drawn.std(0) / RAW.std(0))) < np.log(2)).all()
    assert (abs(drawn.mean(0) - LEVELS) < SPREADS).all()


def test_columns_that_vary_in_the_last_digits_alone_are_said_to_count_as_constant():
    rows = torch.tensor([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]], dtype=torch.float64) + torch.tensor([2.0**53, 1e12])
    with pytest.warns(pv.PyrovaeWarning, match=r"columns \[0\] vary in the last digits of double precision alone"):
        center_and_spread(rows)
    center_and_spread(rows[:, 1:])  # all others have a spread, or do not vary at all
    center_and_spread(torch.full((3, 2), 0.1))
