"""Recipes take raw data: every unit, every scale, under plain SVI and under fit."""

from __future__ import annotations

import copy
import math

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

import pyrovae as pv
from pyrovae.models import recipes


def images(count=48):
    """Grey levels: a bright block in one of four corners, and noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 40, (count, 1, 6, 6), generator=generator)
    for row in range(count):
        top, left = 3 * (row % 2), 3 * (row // 2 % 2)
        x[row, 0, top : top + 3, left : left + 3] += 200
    return x.to(torch.uint8)


SCALES, SHIFTS = torch.tensor([1e-3, 1.0, 1e6, 1.0]), torch.tensor([0.0, 5.0, 1e7, 7.0])


def numbers(count=64):
    """Two dims behind three columns of very unlike scale, and a constant column."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, 2, generator=generator)
    x = torch.stack([z[:, 0], z[:, 1], z.sum(1), 0 * z[:, 0]], 1) + 0.1 * torch.randn(count, 4, generator=generator)
    x[:, 3] = 0
    return x * SCALES + SHIFTS


def counts(count=64):
    rate = torch.tensor([0.0, 0.5, 30.0, 2e4]) * torch.rand(count, 1, generator=torch.Generator().manual_seed(0))
    return torch.poisson(rate, generator=torch.Generator().manual_seed(1)).long()


RECIPES = {
    "image": (lambda: recipes.image_vae((1, 6, 6), latent=2, hidden=[16]), images()),
    "image-scaled": (lambda: recipes.image_vae((1, 6, 6), latent=2, hidden=[16]), images() / 255),
    "image-conv": (lambda: recipes.image_vae((1, 6, 6), latent=2, channels=[4, 8]), images()),
    "image-flat": (lambda: recipes.image_vae((6, 6), 2, hidden=[16]), images()[:, 0]),
    "vector": (lambda: recipes.vector_vae(4, latent=2, hidden=[16]), numbers()),
    "vector-given": (lambda: recipes.vector_vae(4, 2, hidden=[16], mean=SHIFTS, scale=SCALES.numpy()), numbers()),
    "count": (lambda: recipes.count_vae(4, latent=2, hidden=[16]), counts()),
}
each = pytest.mark.parametrize(("make", "x"), RECIPES.values(), ids=RECIPES.keys())


def train(vae, x, steps=60, rate=0.02):
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": rate}), Trace_ELBO())
    return [svi.step(x) / len(x) for _ in range(steps)]


@each
def test_plain_svi_learns_from_raw_data(make, x):
    losses = train(make(), x)
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 1


@each
def test_draws_are_in_the_units_of_the_data(make, x):
    vae = make()
    train(vae, x, steps=20)
    x_ = vae.likelihood(torch.randn(200, 2))
    draws = x_.sample()
    assert draws.shape == (200, *x.shape[1:])
    assert x_.support.check(x.to(draws.dtype)).all()
    middle, spread = (
        x.double().mean(0),
        x.double().std(0) + x.double().mean(0).abs() + (1.0 if x.dtype == torch.long else 1e-9),
    )
    assert ((draws.double().mean(0) - middle).abs() < 5 * spread).all()
    assert torch.isfinite(x_.mean).all()
    assert vae.blank(3)[0].shape == (3, *x.shape[1:])


@each
def test_what_the_first_batch_decides_is_kept(make, x):
    """Saved, copied, and the same whatever comes later; blank data decide nothing."""
    vae = make()
    before = {k: v.clone() for k, v in vae.named_buffers()}
    vae.guide(vae.blank(4)[0])
    vae.model(vae.blank(4)[0])
    assert all(torch.equal(v, before[k]) for k, v in vae.named_buffers())
    vae.guide(x[:32])
    decided = {k: v.clone() for k, v in vae.state_dict().items()}
    fresh = make()
    fresh.load_state_dict(decided)
    for one in (vae, copy.deepcopy(vae), fresh):
        one.guide(x[32:] * 0.5 if x.is_floating_point() else x[32:] // 2)
        one.train().model(x)
        assert all(torch.equal(v, decided[k]) for k, v in one.state_dict().items())


@each
def test_model_reads_its_argument_through_obs_only(make, x):
    vae = make()
    vae.guide(x)
    z = torch.zeros(len(x), 2)
    with pyro.poutine.trace() as one, pyro.condition(data={"z": z}):
        vae.model(x)
    with pyro.poutine.trace() as two, pyro.condition(data={"z": z}):
        vae.model(x.flip(0))
    value = x.to(torch.float32)
    ones, twos = (t.trace.nodes["x"]["fn"].log_prob(value) for t in (one, two))
    assert torch.equal(ones, twos)


def test_image_units_are_read_off_the_data():
    levels, scaled = (recipes.image_vae((1, 6, 6), 2, hidden=[16]) for _ in range(2))
    scaled.load_state_dict(levels.state_dict())
    x = images()
    levels.guide(x)
    scaled.guide(x / 255)
    z = torch.randn(len(x), 2)
    expected = levels.likelihood(z).log_prob(x)
    assert torch.allclose(scaled.likelihood(z).log_prob(x / 255), expected, rtol=1e-5)
    assert torch.allclose(levels.posterior(x).mean, scaled.posterior(x / 255).mean, atol=1e-6)
    assert torch.allclose(levels.likelihood(z).mean, 255 * scaled.likelihood(z).mean, rtol=1e-4)
    # What is drawn is what x / 255 can be, to the bit.
    draws = scaled.likelihood(z).sample()
    assert torch.equal(draws, (draws * 255).round() / 255)


def test_image_units_in_eval_mode_and_as_floats():
    """fit may have cast uint8 to floats, and looks at the pair in eval mode first."""
    vae = recipes.image_vae((1, 6, 6), 2).eval()
    vae.guide(images().float())
    assert torch.isfinite(vae.likelihood(torch.zeros(48, 2)).log_prob(images().float())).all()


def test_a_dark_batch_later_does_not_change_the_unit():
    vae = recipes.image_vae((1, 6, 6), 2)
    vae.guide(torch.zeros(3, 1, 6, 6))
    vae.guide(images())
    vae.guide(torch.ones(3, 1, 6, 6))
    assert vae.likelihood(torch.zeros(1, 2)).support.base_constraint.upper_bound == 255


def test_images_of_the_other_unit_are_refused_later():
    vae = recipes.image_vae((1, 6, 6), 2)
    vae.guide(images() / 255)
    with pytest.raises(ValueError, match="support"):
        vae.likelihood(torch.zeros(48, 2)).log_prob(images())


@pytest.mark.parametrize(
    "x", [torch.randn(4, 1, 6, 6), torch.full((4, 1, 6, 6), 300.0), torch.full((4, 1, 6, 6), math.nan)]
)
def test_images_that_are_not_raw_are_refused(x):
    with pytest.raises(pv.DataError, match="0 to 255"):
        recipes.image_vae((1, 6, 6), 2).guide(x)


def test_evidence_counts_the_scaling():
    """The same model of the same data in other units: the density differs by the Jacobian, exactly."""
    x = numbers()[:, :3]
    one, two = (recipes.vector_vae(3, 2, hidden=[16]) for _ in range(2))
    one.guide(x)
    two.load_state_dict(one.state_dict())
    two.posterior.network[0].mean.mul_(1000)
    two.posterior.network[0].scale.mul_(1000)
    z = torch.randn(len(x), 2)
    expected = one.likelihood(z).log_prob(x) - 3 * math.log(1000)
    assert torch.allclose(two.likelihood(z).log_prob(1000 * x), expected, rtol=1e-4)


def test_columns_of_the_first_batch():
    vae, x = recipes.vector_vae(4, 2), numbers()
    vae.guide(x)
    columns = vae.posterior.network[0]
    assert torch.allclose(columns.mean, x.double().mean(0))
    assert torch.allclose(columns.scale[:3], x[:, :3].double().std(0, correction=0))
    assert columns.scale[3] == 7  # constant: its own size
    assert columns(x).abs().max() < 6
    single = recipes.vector_vae(4, 2)
    single.guide(torch.tensor([[2e6, 0.0, -3.0, 1e-3]]))
    assert torch.allclose(single.posterior.network[0].scale.float(), torch.tensor([2e6, 1.0, 3.0, 1e-3]))


def test_columns_are_decided_in_train_mode_only():
    vae = recipes.vector_vae(4, 2).eval()
    vae.guide(numbers())
    assert not vae.posterior.network[0].decided
    vae.train().guide(numbers())
    assert vae.posterior.network[0].decided


def test_counts_start_at_the_level_of_their_columns():
    vae, x = recipes.count_vae(4, 2), counts()
    vae.guide(x)
    ratio = (vae.likelihood(torch.zeros(1, 2)).mean[0] + 1) / (x.double().mean(0) + 1)
    assert ((ratio > 0.3) & (ratio < 3)).all()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: recipes.vector_vae(0, 2), pv.ArgumentError, "size=0"),
        (lambda: recipes.vector_vae(3, 0), pv.ArgumentError, "latent=0"),
        (lambda: recipes.vector_vae(3, 2, mean=0.0), pv.ArgumentError, "both or neither"),
        (lambda: recipes.vector_vae(3, 2, mean=0.0, scale=0.0), pv.ArgumentError, "positive"),
        (lambda: recipes.vector_vae(3, 2, mean=[1, 2], scale=1.0), pv.ArgumentError, "each of the 3"),
        (lambda: recipes.vector_vae(3, 2, mean=math.nan, scale=1.0), pv.ArgumentError, "finite"),
        (lambda: recipes.vector_vae(2, 2).guide(torch.tensor([[1.0, math.nan]])), pv.DataError, r"columns \[1\]"),
        (lambda: recipes.image_vae((1, 6), 2, channels=[4]), pv.ArgumentError, "no image shape"),
        (lambda: recipes.image_vae(28, 0), pv.ArgumentError, "latent=0"),
        (lambda: recipes.count_vae(3, 2).guide(torch.tensor([[1, -2, 3]])), pv.DataError, "below 0"),
        (lambda: recipes.vector_vae(3, 2).guide(torch.zeros(5, 4)), pv.DataError, "4 columns"),
    ],
)
def test_errors_in_words(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_guide_of_a_table_begins_narrow():
    """A guide that begins as wide as the prior leaves z unused on few rows: 300 of them ended a nat lower."""
    columns = [pv.Column("x", "real"), pv.Column("y", "categorical", 3)]
    pair = pv.recipes.table_vae(columns, latent=4)
    scales = pv.posterior(pair, torch.zeros(50, 2), draws=200, seed=0)["z"].std(0)
    assert 0.1 < float(scales.mean()) < 0.2
