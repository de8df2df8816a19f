"""A table beside another array of the same rows, against normal distributions that are known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

TABLE, ARRAY = torch.tensor([1.0, -0.8]), torch.tensor([0.5, 0.7, -0.4])
NOISE = torch.tensor([0.5, 0.6, 0.7, 0.7, 0.7])
FRAME = pd.DataFrame({"a": [0.4, np.nan, np.nan, 1.5] * 5, "b": [np.nan, 0.3, np.nan, -0.6] * 5})
OTHER = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
DATA = {"frame": FRAME, "array": OTHER}


def mixed():
    def model(frame, array):
        with pyro.plate("data", len(array)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0)).unsqueeze(-1)
            pyro.sample("table", dist.Normal(z * TABLE, NOISE[:2]).to_event(1), obs=frame)
            pyro.sample("other", dist.Normal(z * ARRAY, NOISE[2:]).to_event(1), obs=array)

    def guide(frame, array):
        with pyro.plate("data", len(array)):
            pyro.sample("z", dist.Normal(0.0, 1.2))

    schema = pv.tables.schema(FRAME, kinds={"a": "real", "b": "real"})
    return pv.tables.with_schema(pv.masked(pv.Pair(model, guide)), schema)


def whole():
    weights = torch.cat([TABLE, ARRAY]).double()
    return weights[:, None] * weights + NOISE.double().square().diag()


@pytest.mark.slow
def test_holes_are_filled_by_all_parts_as_the_conditional_says():
    found = pv.impute(mixed(), **DATA, draws=1000, candidates=3000)
    assert set(found.values) == {"table", "other"}
    rows, covariance, far = torch.cat([torch.from_numpy(FRAME.to_numpy(copy=True)), OTHER.double()], 1), whole(), []
    for place, row in enumerate(rows):
        seen = ~row.isnan()
        if bool(seen.all()):
            continue
        gain = covariance[~seen][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
        mean, spread = gain @ row[seen], covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]
        drawn = found.values["table"][:, place][:, ~seen[:2]].double()
        error = (spread.diagonal() * (1 / 1000 + 1 / float(found.ess[place]))).sqrt()
        far.append((drawn.mean(0) - mean) / error)
    far = torch.cat(far)
    assert float(far.abs().max()) < 4.5
    assert 0.6 < float(far.std()) < 1.4
    frame = found.frames()[0]
    assert frame.notna().all().all()
    assert frame["a"][0] == 0.4


def test_the_evidence_is_that_of_what_is_there_of_all_parts():
    value, error = pv.log_evidence(mixed(), **DATA, draws=4000)
    rows, covariance = torch.cat([torch.from_numpy(FRAME.to_numpy(copy=True)), OTHER.double()], 1), whole()
    for place, row in enumerate(rows):
        seen = ~row.isnan()
        fn = dist.MultivariateNormal(torch.zeros(int(seen.sum())).double(), covariance[seen][:, seen])
        assert abs(float(value[place]) - float(fn.log_prob(row[seen]))) < 4.5 * float(error[place]) + 1e-4


def test_frames_stand_by_name_in_every_function():
    pair = mixed()
    shuffled = {"array": OTHER, "frame": FRAME[["b", "a"]]}
    assert torch.equal(pv.elbo(pair, **DATA, seed=0).value, pv.elbo(pair, **shuffled, seed=0).value)
    made = pv.generate(pair, **DATA, seed=0)
    assert list(made["table"]) == ["a", "b"]
    assert made["other"].shape == (20, 3)
    assert list(pv.reconstruct(pair, **DATA)["table"]) == ["a", "b"]
    assert pv.encode(pair, **DATA)["z"].mean.shape == (20,)
    with pytest.raises(pv.DataError, match="schema"):
        pv.elbo(pair.pair, **DATA)
    assert math.isfinite(float(pv.log_evidence(pair, (OTHER * 0)[:, :2], OTHER, draws=5).value.sum()))
