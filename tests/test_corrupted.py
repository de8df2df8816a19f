"""Noise on what the guide sees: what it does to the data, and that no figure feels it."""

from __future__ import annotations

import math

import pytest
import torch

import pyrovae as pv
from pyrovae.pairs.corrupted import Noise


def noise(hole=0.0, **more):
    return Noise(**{"gaussian": 0.0, "masking": 0.0, "salt_and_pepper": 0.0, **more}, hole=hole)


@pytest.fixture
def rows():
    torch.manual_seed(0)
    columns = [torch.randn(20_000), torch.rand(20_000).exp(), torch.randint(3, (20_000,)).float()]
    x = torch.stack(columns, 1)
    return x.masked_fill(torch.rand(x.shape) < 0.1, math.nan)


def test_each_noise_is_what_it_says(rows):
    seen = ~rows.isnan()
    (hidden,) = noise(masking=0.3, hole=math.nan)(rows)
    assert float(hidden.isnan()[seen].float().mean()) == pytest.approx(0.3, abs=0.01)
    (zeros,) = noise(masking=0.3)(rows)
    assert torch.equal(zeros.isnan(), ~seen)
    (ends,) = noise(salt_and_pepper=0.2)(rows)
    low, high = (ends[:, 0] == rows[:, 0].nan_to_num(9).min()), (ends[:, 0] == rows[:, 0].nan_to_num(-9).max())
    assert float(low[seen[:, 0]].float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(high[seen[:, 0]].float().mean()) == pytest.approx(0.1, abs=0.01)
    (noisy,) = noise(gaussian=0.5)(rows)
    off = (noisy - rows)[:, 0][seen[:, 0]]
    assert float(off.std()) == pytest.approx(0.5, abs=0.02)
    assert float(noisy[:, 1].nan_to_num(9).min()) >= 1.0  # no lower than what was there
    assert set(noisy[:, 2][seen[:, 2]].tolist()) == {0.0, 1.0, 2.0}  # classes stay classes
    assert float((noisy != rows)[:, 2][seen[:, 2]].float().mean()) > 0.1
    for found in (zeros, ends, noisy):
        assert torch.equal(found.isnan(), ~seen)  # what was missing is missing


def seen_by_guide(pair_of):
    """What a guide is shown in training and in a question."""
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
    shown = []
    vae.posterior.register_forward_pre_hook(lambda module, given: shown.append(given[0].clone()))
    return pair_of(vae), shown


def test_training_sees_noise_and_questions_do_not():
    x = torch.randn(32, 3)
    pair, shown = seen_by_guide(lambda vae: pv.corrupted(vae, masking=0.5))
    pv.fit(pair, x, steps=2, batch_size=32, seed=0, staged=False, progress=False)
    assert 0.3 < float((shown[-1] == 0).float().mean()) < 0.7
    shown.clear()
    pv.log_evidence(pair, x, draws=4)
    assert not any((part == 0).any() for part in shown)


def test_holes_are_hidden_as_holes_of_a_pair_that_takes_them():
    x = torch.randn(32, 3).masked_fill(torch.rand(32, 3) < 0.2, math.nan)
    pair, shown = seen_by_guide(lambda vae: pv.corrupted(pv.masked(vae, fill=7.0), masking=0.5))
    pv.fit(pair, x, steps=2, batch_size=32, seed=0, staged=False, progress=False)
    assert 0.45 < float((shown[-1] == 7.0).float().mean()) < 0.8


@pytest.mark.slow
def test_the_bound_under_noise_is_that_of_a_guide_which_knows_less():
    truth = pv.truth.LinearGaussian(torch.tensor([[1.0], [0.5], [-1.0]]), torch.zeros(3), 0.5)
    x = truth.sample(2_000, seed=0)
    vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=0.5), pv.DiagNormal(pv.MLP(3, [], 2)))
    with torch.no_grad():
        weight, bias = vae.likelihood.network.parameters()
        weight.copy_(truth.weight)
        bias.zero_()
    vae.likelihood.requires_grad_(False)
    rows = {}
    for name, pair in (("plain", vae), ("noisy", pv.corrupted(vae, gaussian=0.7, salt_and_pepper=0.1))):
        run = pv.fit(pair, x, epochs=40, batch_size=200, learning_rate=2e-2, seed=0, progress=False)
        rows[name] = run.history[-1].elbo
    evidence = float(truth.log_evidence(x).mean())
    assert rows["noisy"] < rows["plain"] - 0.1
    assert rows["plain"] < evidence + 0.02


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "adds no noise"), ({"masking": 1.0}, "masking=1.0; give a share"), ({"gaussian": -1}, "gaussian=-1; give")],
)
def test_what_is_no_noise_is_refused(linear, options, words):
    with pytest.raises(pv.ArgumentError, match=words):
        pv.corrupted(linear, **options)


@pytest.mark.slow
def test_a_staged_training_of_a_table_takes_it():
    torch.manual_seed(0)
    columns = [pv.Column("a", "real"), pv.Column("b", "positive"), pv.Column("c", "categorical", classes=3)]
    x = torch.stack([torch.randn(128), torch.randn(128).exp(), torch.randint(3, (128,)).float()], 1)
    pair = pv.corrupted(pv.recipes.table_vae(columns, latent=2, hidden=[8]), gaussian=0.2, masking=0.2)
    run = pv.fit(pair, x, steps=6, batch_size=64, seed=0, staged=True, progress=False)
    assert all(math.isfinite(row.loss) for row in run.history)
