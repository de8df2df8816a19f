"""Results too big for memory: reduced as they come, or written to a file, the same to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from registry import born, pairs
from stored import ENDINGS, largest_file
from torch import nn
from torch.utils.data import IterableDataset

import pyrovae as pv
from pyrovae.errors import ArgumentError, FileError
from pyrovae.prediction.moments import RunningMoments
from pyrovae.prediction.quantiles import _between, over_draws
from pyrovae.sampling import sampler as sampler_module

LEVELS = (0.0, 0.1, 0.5, 0.95)
# By rows, in a plate, in a loop; global sites; classes; plates beside the data plate; double precision.
STYLES = ("plain_functions", "double_precision", "auto_diagonal_normal", "local_and_global", "enumerated_mixture_map",
          "crossed_plates", "masked_rows", "deterministic_and_factor", "keywords", "product_with_global")  # fmt: skip
SOME = [one for one in pairs() if one.values[0].name in STYLES]


def linear_vae(latent: int = 2, width: int = 5) -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(
        pv.StandardNormal(latent),
        pv.Normal(nn.Linear(latent, width), scale=0.1),
        pv.DiagNormal(nn.Linear(width, 2 * latent)),
    )


@pytest.fixture
def small_tiles(monkeypatch):
    """Several tiles of rows and of draws from a few rows."""
    monkeypatch.setattr(sampler_module, "TILE_ROWS", 10)
    monkeypatch.setattr(sampler_module, "_TILE_NUMBERS", 500)


# --- reduced ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("entry", SOME)
@pytest.mark.slow
def test_reductions_are_those_of_the_draws(entry):
    pair, args, kwargs = born(entry)
    for function in (pv.posterior, pv.posterior_predictive, pv.log_likelihood):
        draws = function(pair, *args, draws=23, seed=2, **kwargs)
        found = function(pair, *args, draws=23, seed=2, reduce=("moments", *LEVELS), **kwargs)
        assert set(found) == set(draws)
        for site, value in draws.items():
            assert found[site].mean.dtype == (value.dtype if value.is_floating_point() else torch.float32)
            value = value.double()
            kept = [part.double() for part in found[site]]
            assert torch.allclose(kept[0], value.mean(0), rtol=1e-5, atol=1e-6), (function, site)
            assert torch.allclose(kept[1], value.std(0), rtol=1e-4, atol=1e-6), (function, site)
            exact = torch.quantile(value, torch.tensor(LEVELS, dtype=torch.float64), 0)
            assert torch.allclose(kept[2], exact, rtol=1e-5, atol=1e-6), (function, site)


def test_what_may_be_asked_for_has_its_form():
    vae, x = linear_vae(), torch.randn(30, 5)

    def ask(reduce):
        return pv.posterior_predictive(vae, x, draws=40, reduce=reduce)["x"]

    whole = ask(("moments", 0.1, 0.9))
    assert isinstance(whole, pv.Summary)
    alone = ask("moments")
    assert isinstance(alone, pv.Moments)
    assert torch.equal(ask("mean"), alone.mean)
    # Beside quantiles they are summed in another order.
    assert torch.allclose(alone.mean, whole.mean, rtol=1e-6, atol=1e-6)
    assert torch.allclose(alone.scale, whole.scale, rtol=1e-6)
    assert ask(0.1).shape == (30, 5)
    assert torch.equal(ask(0.1), whole.quantiles[0])
    assert ask((0.1,)).shape == (1, 30, 5)
    assert torch.equal(ask((0.1, 0.9)), whole.quantiles)
    assert torch.equal(ask(["moments", 0.1, 0.9]).quantiles, whole.quantiles)


@pytest.mark.parametrize("bad", ["median", "", (), ("mean", 0.5), ("mean", "moments"), 1.5, -0.1, True, {}, (0.1, "x")])
def test_reductions_that_are_none_are_refused(bad):
    with pytest.raises(ArgumentError, match=r"reduce=.*give 'mean', 'moments'"):
        pv.posterior(linear_vae(), torch.randn(3, 5), reduce=bad)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("memory", [1, 3_000, 2**30])
@pytest.mark.slow
def test_the_memory_changes_no_bit(memory):
    vae, x = linear_vae(), torch.randn(33, 5)
    usual = pv.posterior_predictive(vae, x, draws=50, mean=True, reduce=("moments", *LEVELS))["x"]
    found = pv.posterior_predictive(vae, x, draws=50, mean=True, reduce=("moments", *LEVELS), memory=memory)["x"]
    assert all(torch.equal(one, other) for one, other in zip(found, usual, strict=True))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.slow
def test_little_memory_is_little_memory(monkeypatch):
    sizes = []
    empty = torch.empty

    def noted(*shape, **more):
        sizes.append(empty(*shape, **more).numel() * 4)
        return empty(*shape, **more)

    vae, x = linear_vae(), torch.randn(33, 5)
    monkeypatch.setattr("pyrovae.prediction.reducers.torch.empty", noted)
    pv.posterior_predictive(vae, x, draws=200, reduce=0.5, memory=4_000)
    waiting = sizes.copy()
    assert waiting
    assert max(waiting) <= 33 * 5 * 4 + 4_000
    sizes.clear()
    pv.posterior_predictive(vae, x, draws=200, reduce=0.5)
    assert max(sizes) >= 10 * 5 * 200 * 4


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_change_no_bit(threads):
    values = torch.randn(300, 5_000)
    found = []
    for number in (1, 3):
        threads(number)
        moments = RunningMoments()
        for part in values.split(70):
            moments.add(part)
        found.append((over_draws(values, LEVELS), moments.mean, moments.scale))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_moments_far_from_zero_keep_their_digits():
    values = torch.randn(10_000, 50, dtype=torch.float64) + 1e9
    moments = RunningMoments()
    for part in values.split(333):
        moments.add(part)
    assert torch.allclose(moments.scale, values.std(0), rtol=1e-6)  # the numbers themselves lie 1.2e-7 apart
    assert torch.allclose(moments.mean, values.mean(0), rtol=1e-15)


def test_moments_of_what_is_constant_or_not_finite():
    inf, nan = float("inf"), float("nan")
    values = torch.tensor([[4.4622, inf, 1.0, nan], [4.4622, inf, -inf, 1.0], [4.4622, inf, 2.0, 1.0]]).repeat(50, 1)
    moments = RunningMoments()
    for part in values.split(20):
        moments.add(part)
    assert torch.equal(moments.mean[:3], torch.tensor([4.4622, inf, -inf]).double())
    assert bool(moments.mean[3].isnan())
    assert float(moments.scale[0]) == 0
    assert bool(moments.scale[1:].isnan().all())


@pytest.mark.parametrize("draws", [1, 2, 7, 1_000])
def test_quantiles_are_those_of_numpy(draws):
    values = torch.randn(draws, 1_500)
    found = over_draws(values, (*LEVELS, 1.0))
    assert np.allclose(found.numpy(), np.quantile(values.numpy(), (*LEVELS, 1.0), axis=0), atol=1e-6)


@pytest.mark.parametrize("draws", [1, 2, 7, 1_000])
def test_moments_beside_quantiles_are_those_of_numpy(draws):
    values = torch.randn(draws, 1_500) + 1e3
    mean, scale, *_ = over_draws(values, LEVELS, moments=True)
    assert np.allclose(mean.numpy(), values.double().mean(0).numpy(), rtol=1e-7)
    exact = values.double().std(0) if draws > 1 else torch.zeros(1_500)
    assert np.allclose(scale.numpy(), exact.numpy(), rtol=1e-5)


def test_moments_beside_quantiles_of_what_is_not_finite():
    inf, nan = float("inf"), float("nan")
    values = torch.tensor([[4.4622, inf, 1.0, nan], [4.4622, inf, -inf, 1.0], [4.4622, inf, 2.0, 1.0]])
    mean, scale, _ = over_draws(values, (0.5,), moments=True)
    assert torch.equal(mean[:3], torch.tensor([4.4622, inf, -inf]))
    assert bool(mean[3].isnan())
    assert float(scale[0]) == 0
    assert bool(scale[1:].isnan().all())


def test_quantiles_of_what_is_not_finite():
    inf, nan = float("inf"), float("nan")
    values = torch.tensor([[1.0, inf, -inf, inf], [nan, inf, -inf, 0.0], [2.0, 1.0, 2.0, 0.0]])
    found = over_draws(values, (0.0, 0.25, 1.0))
    expected = torch.tensor([[nan, 1.0, -inf, 0.0], [nan, inf, -inf, 0.0], [nan, inf, 2.0, inf]])
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found[:, 1:], expected[:, 1:])


# --- streams whose length is not known ----------------------------------------------------------------


class Stream(IterableDataset):
    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(self.x)


@ENDINGS
def test_a_stream_is_taken_as_it_comes(tmp_path, ending):
    vae, x = linear_vae(), torch.randn(600, 5)
    known = pv.posterior(vae, x, draws=4, sites="z")["z"]
    assert torch.equal(pv.posterior(vae, Stream(x), draws=4, sites="z")["z"], known)
    written = pv.posterior(vae, Stream(x), draws=4, sites="z", out=tmp_path / f"z{ending}")["z"]
    assert np.array_equal(written.values, known.numpy())


# --- files --------------------------------------------------------------------------------------------


@ENDINGS
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("entry", SOME)
def test_files_hold_the_same_bits(entry, tmp_path, ending):
    pair, args, kwargs = born(entry)
    for function in (pv.posterior, pv.posterior_predictive, pv.log_likelihood):
        kept = function(pair, *args, draws=7, **kwargs)
        written = function(pair, *args, draws=7, out=tmp_path / f"{function.__name__}{ending}", **kwargs)
        assert set(written) == set(kept)
        for site, value in kept.items():
            assert written[site].shape == value.shape
            assert written[site].dims[0] == "draw"
            assert np.array_equal(written[site].values, value.numpy())


@ENDINGS
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("reduce", ["mean", "moments", 0.5, (0.1, 0.9), ("moments", 0.1)])
def test_files_hold_reductions(tmp_path, ending, reduce):
    vae, x = linear_vae(), torch.randn(33, 5)
    kept = pv.posterior_predictive(vae, x, draws=9, reduce=reduce)["x"]
    written = pv.posterior_predictive(vae, x, draws=9, reduce=reduce, out=tmp_path / f"x{ending}")["x"]
    assert type(kept) is type(written) or not isinstance(kept, tuple)
    for one, other in zip(written, kept, strict=True):
        assert np.array_equal(one.values, other.numpy())


@ENDINGS
def test_dims_are_named(tmp_path, ending):
    (entry,) = [one.values[0] for one in SOME if one.values[0].name == "crossed_plates"]
    pair, args, kwargs = born(entry)
    found = pv.posterior(pair, *args, draws=3, out=tmp_path / f"z{ending}", **kwargs)
    plates = {site: {"draw", *value.dims} for site, value in found.items()}
    assert all("data" in dims or "features" in dims for dims in plates.values())
    summary = pv.posterior_predictive(pair, *args, draws=3, reduce=(0.1, 0.9), out=tmp_path / f"q{ending}", **kwargs)
    (quantiles,) = summary.values()
    assert quantiles.dims[0] == "quantile"
    assert quantiles["quantile"].values.tolist() == [0.1, 0.9]


def test_what_exists_is_refused_before_anything_is_drawn(tmp_path):
    vae, x = linear_vae(), torch.randn(3, 5)
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(FileError, match="exists and is left as it is"):
        pv.posterior(vae, x, out=tmp_path / "x.zarr")
    with pytest.raises(ArgumentError, match=r"must end in \.nc"):
        pv.posterior(vae, x, out=tmp_path / "x.csv")
    with pytest.raises(ArgumentError, match="out= and device="):
        pv.posterior(vae, x, out=tmp_path / "x.nc", device="cpu")
    assert [one.name for one in tmp_path.iterdir()] == ["x.zarr"]


def test_paths_that_cannot_be_are_refused_in_words(tmp_path):
    """A link that leads nowhere is somebody's; names that no file can have; a folder that cannot be looked into."""
    vae, x = linear_vae(), torch.randn(3, 5)
    (tmp_path / "link.nc").symlink_to(tmp_path / "nowhere.nc")
    with pytest.raises(FileError, match="exists and is left as it is"):
        pv.posterior(vae, x, out=tmp_path / "link.nc")
    with pytest.raises(FileError, match="too long"):
        pv.posterior(vae, x, draws=2, out=tmp_path / f"{'a' * 300}.nc")
    with pytest.raises(ArgumentError, match="give the name"):
        pv.posterior(vae, x, out="a\0.nc")
    assert [one.name for one in tmp_path.iterdir()] == ["link.nc"]


@ENDINGS
def test_a_full_disk_leaves_nothing(tmp_path, ending):
    vae, x = linear_vae(), torch.randn(600, 5)
    with largest_file(20_000), pytest.raises(FileError, match="cannot be written"):
        pv.posterior_predictive(vae, x, draws=200, out=tmp_path / f"x{ending}")
    assert list(tmp_path.iterdir()) == []


@ENDINGS
def test_an_interrupt_leaves_nothing(tmp_path, ending, monkeypatch):
    vae, x = linear_vae(), torch.randn(600, 5)
    tiles = sampler_module.Sampler._tiles_of

    def interrupted(self, batch, rows, number, draws, kind):
        yield from tiles(self, batch, rows, number, draws, kind)
        if number == 1:
            (partial,) = tmp_path.iterdir()
            assert partial.name.endswith(".partial")
            raise KeyboardInterrupt

    monkeypatch.setattr(sampler_module.Sampler, "_tiles_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pv.posterior_predictive(vae, x, draws=20, out=tmp_path / f"x{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_a_quantile_between_two_infinities_is_one(kind):
    ordered = kind([[-math.inf, -math.inf, 0.0, math.inf, math.inf]])
    with np.errstate(invalid="ignore"):  # as around all of it
        found = [float(value[0]) for value in _between(ordered, (0.125, 0.375, 0.875))]
    assert found == [-math.inf, -math.inf, math.inf]
