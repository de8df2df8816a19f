"""Training that meets rows by weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from registry import pairs
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae.data.batches import as_batches

QUIET = {"seed": 0, "progress": False, "staged": False}


def level():
    """Rows around a level that is a parameter: what training finds is their mean."""

    def model(x):
        loc = pyro.param("level", torch.zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    return pv.own_store(pv.Pair(model, lambda x: None))


def small_vae():
    torch.manual_seed(0)
    return pv.VAE(
        pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 2), scale=pv.LearnedScale(2)), pv.DiagNormal(pv.MLP(2, [], 2))
    )


@pytest.mark.parametrize("numbers", [[1.0, 1.0, 1.0, 1.0], [0.0, 0.5, 1.0, 2.5]])
def test_a_series_is_its_numbers_in_their_order(numbers):
    """Whatever it is indexed by, which is nothing to the rows."""
    x = torch.arange(4.0)
    found = []
    for weights in (np.array(numbers), pd.Series(numbers), pd.Series(numbers, index=[3, 2, 1, 0])):
        pair = level()
        pv.fit(pair, x, steps=60, batch_size=4, learning_rate=0.1, row_weights=weights, **QUIET)
        found.append(pv.elbo(pair, x, draws=1).value)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_each_epoch_meets_a_row_as_often_as_its_weight_says():
    weights = torch.tensor([0.0, 0.3, 1.0, 2.5, 1.2])
    batches = as_batches(torch.arange(5), batch_size=2, weights=weights, seed=3)
    counts = []
    for epoch in range(2000):
        rows = torch.cat([batch.args[0] for batch in batches.epoch(epoch)])
        counts.append(rows.bincount(minlength=5))
    counts = torch.stack(counts).double()
    assert bool((counts.sum(1) == 5).all())
    assert bool((counts >= weights.floor()).all())
    assert bool((counts <= weights.ceil()).all())
    assert torch.allclose(counts.mean(0), weights.double(), atol=4.5 * 0.5 / 2000**0.5)
    first = [torch.cat([batch.args[0] for batch in batches.epoch(epoch)]).tolist() for epoch in range(30)]
    assert len(set(map(tuple, first))) > 20, "their order is another one in each epoch"


def test_a_row_of_weight_two_is_one_that_is_there_twice():
    x = torch.tensor([1.0, -2.0, 7.0, 30.0])
    found = []
    for data, options in (
        (x, {"row_weights": [1.0, 2.0, 1.0, 0.0]}),  # of their mean
        (torch.tensor([1.0, -2.0, -2.0, 7.0]), {}),
    ):
        run = pv.fit(level(), data, epochs=30, batch_size=4, learning_rate=0.1, **options, **QUIET)
        found.append([row.loss for row in run.history])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_training_finds_the_weighted_mean_in_batches():
    x = torch.randn(300, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(300, generator=torch.Generator().manual_seed(1)) * (x > 0) + 0.1
    pair = level()
    pv.fit(
        pair, x, epochs=60, batch_size=30, learning_rate=pv.cosine(0.1, 1e-4, steps=600), row_weights=weights, **QUIET
    )
    (trained,) = pv.posterior_predictive(pair, x[:1], draws=20_000)["x"].mean(0)
    assert float(trained) == pytest.approx(float((weights * x).sum() / weights.sum()), abs=0.05)
    assert abs(float(trained) - float(x.mean())) > 0.3


def test_the_history_is_of_weighted_rows_and_validation_is_of_rows_as_they_are():
    x = torch.tensor([0.0, 3.0])
    run = pv.fit(level(), x, epochs=1, learning_rate=1e-9, row_weights=[2, 0], validation=x, **QUIET)
    one = dist.Normal(0.0, 1.0).log_prob(x)
    assert run.history[0].elbo == pytest.approx(float(one[0]), abs=1e-5)
    assert run.history[0].validation_elbo == pytest.approx(float(one.mean()), abs=1e-5)
    assert torch.allclose(pv.elbo(run.pair, x, draws=2).value.float(), one, atol=1e-4)


def test_weights_resume_bit_for_bit_and_others_are_refused(tmp_path):
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    weights = pv.balanced(x[:, 0] > 1)
    options = {"batch_size": 16, "row_weights": weights, **QUIET}
    whole, parts = small_vae(), small_vae()
    pv.fit(whole, x, epochs=4, **options)
    pv.fit(parts, x, epochs=2, checkpoint=tmp_path, **options)
    again = small_vae()
    pv.fit(again, x, epochs=4, checkpoint=tmp_path, resume=True, **options)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(pv.ArgumentError, match="row_weights"):
        pv.fit(small_vae(), x, epochs=6, checkpoint=tmp_path, resume=True, batch_size=16, **QUIET)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0], r"shape \(1,\), and there are 4 rows"),
        ([1.0, -1.0, 1.0, 1.0], "0 or more"),
        ([0.0] * 4, "above 0"),
        ([1.0, float("nan"), 1.0, 1.0], "finite"),
        (["a", "b", "c", "d"], "no array of numbers"),
    ],
)
def test_weights_that_are_none_are_refused(weights, words):
    with pytest.raises(pv.ArgumentError, match=words):
        pv.fit(level(), torch.zeros(4), epochs=1, row_weights=weights, **QUIET)


def test_rows_that_cannot_be_met_anew_are_refused():
    loader = DataLoader(TensorDataset(torch.zeros(4)), batch_size=2)
    with pytest.raises(pv.ArgumentError, match="sampler of its own"):
        pv.fit(level(), loader, epochs=1, row_weights=[1, 2, 1, 1], **QUIET)

    def model(x):
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    own = pv.own_store(pv.Pair(model, AutoNormal(model)))
    with pytest.raises(pv.ArgumentError, match="row is met once in each pass"):
        pv.fit(own, torch.zeros(4), epochs=1, row_weights=[1, 2, 1, 1], **QUIET)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", pairs(without={"full_data", "local_autoguide", "keywords"}))
def test_every_style_trains_by_weights(entry):
    pyro.set_rng_seed(0)
    pair, args = entry.make()
    args = args if isinstance(args, tuple) else (args,)
    weights = torch.arange(len(args[0])) % 3
    run = pv.fit(pair, args, steps=3, batch_size=8, row_weights=weights, loss=entry.loss(), **QUIET)
    assert np.isfinite(run.history[-1].loss)


def test_classes_are_balanced():
    labels = ["a"] * 6 + ["b"] * 3 + ["c"]
    weights = pv.balanced(labels)
    sums = pd.Series(weights.numpy()).groupby(labels).sum()
    assert sums.tolist() == pytest.approx([10 / 3] * 3)
    assert torch.allclose(weights, pv.balanced(pd.Series(labels, dtype="category")))
    assert torch.allclose(pv.balanced(labels, power=0.5), weights.sqrt())
    assert pv.balanced(torch.tensor([True, False])).tolist() == [1, 1]
    with pytest.raises(pv.DataError, match="holes"):
        pv.balanced(["a", None, "b"])
    with pytest.raises(pv.ArgumentError, match="between 0 and 1"):
        pv.balanced(labels, power=2)
