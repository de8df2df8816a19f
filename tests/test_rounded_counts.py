"""Counts whose log-gammas single precision rounds: the check says so, and columns of a table have double precision."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import pyrovae as pv

FAMILIES = {
    "poisson": lambda mean: dist.Poisson(mean),
    "negative binomial": lambda mean: dist.NegativeBinomial(5.0 + 0 * mean, logits=(mean / 5).log()),
    "gamma-poisson": lambda mean: dist.GammaPoisson(5.0 + 0 * mean, 5 / mean),
}


def pair_of(family, mean):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", family(mean.to(x)).expand([len(x), 3]).to_event(1), obs=x)

    return pv.Pair(model, lambda x: None)


def said(pair, x):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        pv.check_pair(pair, x)
    return [str(one.message) for one in found if "[rounded-counts]" in str(one.message)]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_it_is_said_where_it_is_so_and_nowhere_else(family):
    for mean, rounded in ((1e3, False), (1e6, True)):
        x = torch.full((8, 3), mean) + torch.arange(8.0)[:, None]
        pair = pair_of(family, torch.tensor(mean))
        assert bool(said(pair, x)) == rounded
        assert not said(pair, x.double())
        off = (pv.elbo(pair, x, draws=1).value - pv.elbo(pair, x.double(), draws=1).value).abs().max()
        assert (float(off) > 0.02) == rounded


@pytest.mark.parametrize("kind", ["count", "inflated_count"])
def test_columns_of_counts_have_their_evidence_to_the_last_digits(kind):
    noise = np.random.default_rng(0)
    x = noise.negative_binomial(5, 5 / 8e5, 400)
    frame = pd.DataFrame({"x": x, "y": noise.normal(size=400)})
    columns = pv.tables.schema(frame, kinds={"x": kind}).columns
    likelihood = pv.ByColumn(torch.nn.Linear(1, pv.ByColumn.outputs(columns)), columns)
    with torch.no_grad():
        fn = likelihood(torch.zeros(1))
        part = next(part for places, part in fn.base_dist.parts if places == [0])
        found = part.log_prob(torch.tensor(x, dtype=torch.float32)[:, None])[:, 0].double().numpy()
    size, logits = float(part.total_count), float(part.logits)
    exact = stats.nbinom(size, 1 / (1 + np.exp(logits))).logpmf(x.astype("float32"))
    if kind == "inflated_count":
        exact += float(torch.nn.functional.logsigmoid(-part.zeros))
    assert np.allclose(found, exact, atol=1e-5)
