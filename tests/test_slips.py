"""Slips of people who begin: what they are told, and at which line; and data that look odd and are sound."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import pyrovae as pv

X = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


def labelled(x, y=None):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        pyro.sample("y", dist.Bernoulli(logits=z[..., 0]), obs=y)


def guide(x, y=None):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1))


@pytest.mark.parametrize(
    "ask",
    [
        lambda pair: pv.check_pair(pair, X),
        lambda pair: pv.fit(pair, X, epochs=1, progress=False),
        lambda pair: pv.elbo(pair, X, draws=2),
    ],
    ids=["check_pair", "fit", "elbo"],
)
def test_an_argument_that_was_left_at_none_is_named(ask):
    with pytest.raises(pv.PairError, match=r"The model's argument 'y' was left at None: give it\."):
        ask(pv.Pair(labelled, guide))


# --- where a warning points ----------------------------------------------------------------------------
class Averaging(nn.Module):
    def forward(self, x):
        return torch.cat([(x - x.mean(0)) / 2, torch.zeros_like(x)], -1)


def other_unit():
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
    pv.fit(vae, torch.rand(200, 5), epochs=1, seed=0, progress=False)
    return vae, 255 * torch.rand(200, 5)


def other_rows():
    likelihood = pv.Normal(pv.MLP(2, [], 2), scale=1.0)
    return pv.VAE(pv.StandardNormal(2), likelihood, pv.DiagNormal(Averaging())), X


@pytest.mark.parametrize("made", [other_unit, other_rows])
@pytest.mark.parametrize("ask", [pv.encode, pv.elbo, pv.posterior, pv.calibration], ids=lambda ask: ask.__name__)
def test_a_warning_points_at_the_line_that_called(made, ask):
    pair, x = made()
    line = inspect.currentframe().f_lineno + 2  # type: ignore[union-attr]
    with pytest.warns(pv.PyrovaeWarning) as caught:
        ask(pair, x)
    found = [one for one in caught if issubclass(one.category, pv.PyrovaeWarning)]
    assert {(one.filename, one.lineno) for one in found} == {(__file__, line)}


# --- wide unsigned numbers -----------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["uint16", "uint32", "uint64"])
@pytest.mark.parametrize("as_data", [lambda x: x, torch.from_numpy], ids=["array", "tensor"])
def test_unsigned_counts_are_the_same_as_floats(kind, as_data):
    counts = np.random.default_rng(0).poisson(3.0, (20, 5)).astype(kind)
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
    given, floats = as_data(counts), torch.from_numpy(counts.astype("float32"))
    assert pv.check_pair(vae, counts) == ()
    assert torch.equal(pv.elbo(vae, given, draws=3).value, pv.elbo(vae, floats, draws=3).value)
    assert math.isfinite(pv.fit(vae, given, epochs=1, seed=0, progress=False).history[-1].elbo)


# --- angles --------------------------------------------------------------------------------------------
def headings(x):
    with pyro.plate("data", len(x)):
        turn = pyro.sample("turn", dist.VonMises(3.1, 4.0))
        pyro.sample("x", dist.VonMises(turn, 20.0), obs=x)


def turned(x):
    with pyro.plate("data", len(x)):
        pyro.sample("turn", dist.VonMises(x, 20.0))


@pytest.mark.parametrize("reduce", ["mean", "moments", 0.5])
def test_draws_of_angles_are_not_averaged_on_a_line(reduce):
    x = torch.tensor([3.1, -3.1, 3.0])
    pair = pv.Pair(headings, turned)
    for ask, site in ((pv.posterior, "turn"), (pv.posterior_predictive, "x"), (pv.prior, "turn")):
        with pytest.raises(pv.ArgumentError, match=rf"reduce=: {site!r} holds angles"):
            ask(pair, x, draws=4, reduce=reduce)
        assert ask(pair, x, draws=4)[site].shape == (4, 3)
    assert pv.log_likelihood(pair, x, draws=4, reduce=reduce)["x"] is not None  # numbers of a line


# --- webdataset ----------------------------------------------------------------------------------------
@pytest.fixture
def shards(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"rows-{shard}.tar")) as writer:
            for row in range(30):
                writer.write({"__key__": f"{shard}-{row}", "x.npy": np.full(5, shard + row / 30, "float32")})
    return lambda: (
        webdataset.WebDataset(str(tmp_path / "rows-{0..1}.tar"), shardshuffle=False).decode().to_tuple("x.npy")
    )


WAYS = {
    "rows": lambda shards, loader: (shards, {"batch_size": 20}),
    "DataLoader": lambda shards, loader: (DataLoader(shards.batched(20), batch_size=None), {}),
    "WebLoader": lambda shards, loader: (loader(shards.batched(20), batch_size=None), {}),
    "WebLoader of rows": lambda shards, loader: (loader(shards, batch_size=20), {}),
}


@pytest.mark.filterwarnings("ignore")  # the library leaves files to the collector
@pytest.mark.parametrize("way", WAYS)
def test_shards_of_webdataset_train_and_answer_by_their_own_loaders(shards, way):
    webdataset = pytest.importorskip("webdataset")
    data, options = WAYS[way](shards(), webdataset.WebLoader)
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
    run = pv.fit(vae, data, steps=6, seed=0, progress=False, **options)
    assert len(run.history) == 2  # sixty rows by twenty, twice
    rows = torch.cat([torch.full((30, 5), float(shard)) + torch.arange(30)[:, None] / 30 for shard in range(2)])
    assert torch.allclose(pv.encode(vae, data)["z"].mean, pv.encode(vae, rows)["z"].mean, atol=1e-5)


def test_a_loader_of_webdataset_with_stages_behind_it_is_refused(shards):
    webdataset = pytest.importorskip("webdataset")
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
    with pytest.raises(pv.DataError, match="stages behind its loader"):
        pv.fit(vae, webdataset.WebLoader(shards(), batch_size=20).unbatched(), steps=1, progress=False)
