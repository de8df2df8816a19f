"""Results show themselves: means, ranges and a small histogram, and never thousands of numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch

import pyrovae as pv
from pyrovae.plots.in_words import bars, in_words, of_numbers, sketch

TRUTH = pv.truth.LinearGaussian(torch.tensor([[1.0], [2.0], [-1.0]]), torch.zeros(3), 0.5)
X = TRUTH.sample(200, seed=0)

RESULTS = {
    "evidence": lambda: pv.log_evidence(TRUTH, X, draws=25),
    "elbo": lambda: pv.elbo(TRUTH, X, draws=25),
    "psis": lambda: pv.psis(TRUTH, X, draws=25),
    "ais": lambda: pv.ais(TRUTH, X[:6], chains=2, steps=3),
    "inference gap": lambda: pv.inference_gap(TRUTH, X[:6], draws=5, steps=3),
    "encode": lambda: pv.encode(TRUTH, X)["z"],
    "uncertainty": lambda: pv.uncertainty(TRUTH, X, draws=20)["x"],
    "calibration": lambda: pv.calibration(TRUTH, X, draws=50)["x"],
    "novelty": lambda: pv.novelty(TRUTH, X[:100], calibration=X[100:], draws=5),
    "generated": lambda: pv.generate_with_uncertainty(TRUTH, X[:50], draws=5),
    "active units": lambda: pv.active_units(TRUTH, X),
    "imputed": lambda: pv.impute(pv.masked(TRUTH, fill=0.0), X[:9].masked_fill(X[:9] > 1.5, math.nan), draws=10),
    "compare": lambda: pv.compare({"a": TRUTH, "b": TRUTH}, X, draws=25),
}


@pytest.mark.parametrize("ask", RESULTS.values(), ids=RESULTS)
def test_a_result_is_shown_in_a_few_lines(ask):
    shown = repr(ask())
    assert "tensor(" not in shown
    assert 1 <= len(shown.splitlines()) <= 40
    assert all(len(line) < 160 for line in shown.splitlines())


def test_an_estimate_says_its_mean_and_the_error_of_the_mean():
    found = pv.Estimate(torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0]), torch.full((5,), 0.1))
    first, value, error = repr(found).splitlines()
    assert first == f"Estimate: -3 ± {math.sqrt(2.5 / 5):.2g}, the mean of 5 rows"
    assert value.startswith("  value  (5)  mean -3, from -5 to -1  █")
    assert value.count("█") == 5
    assert error == "  error  (5)  mean 0.1, from 0.1 to 0.1"
    assert repr(pv.Estimate(torch.tensor(-137.0), torch.tensor(0.5))) == "Estimate: -137 ± 0.5"


@pytest.mark.slow
def test_a_fit_shows_its_curve_what_it_says_and_what_is_next():
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
    run = pv.fit(vae, X, epochs=90, seed=0, progress=False)
    first, curve, verdict, following = repr(run).splitlines()
    assert first.startswith("Fit: 90 epochs, 180 steps in ")
    blocks = curve.split()[2]
    assert 20 <= len(blocks) <= 40
    assert blocks[-1] == "█"
    assert "▁" in blocks
    assert verdict.strip() == run.verdict
    assert "write_report" in following


def test_what_is_odd_is_shown_as_well():
    class Odd(NamedTuple):
        none: None
        few: torch.Tensor
        lost: torch.Tensor
        nothing: torch.Tensor
        inner: pv.Estimate

    shown = in_words(
        Odd(None, torch.tensor([1, 2]), torch.tensor([1.0, math.nan, 3, 4, 5]), torch.full((9,), math.nan),
            pv.Estimate(torch.tensor(1.0), torch.tensor(0.1)))
    )  # fmt: skip
    assert "\n  none" not in shown
    assert "few      1, 2" in shown
    assert "1 not finite" in shown
    assert "none of them finite" in shown
    assert of_numbers(torch.zeros(0)) == "none"
    assert bars([]) == ""
    assert len(sketch(torch.randn(1000))) == 16
