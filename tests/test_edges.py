"""Corners in which a training library goes wrong silently, or fails after hours; each was met once."""

from __future__ import annotations

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from torch import nn
from torch.utils.data import Dataset

import pyrovae as pv
from pyrovae.training.saved import files
from pyrovae.training.saved.checkpoints import checkpoints_in

QUIET = {"progress": False, "device": "cpu", "seed": 0}
X = torch.randn(33, 5, generator=torch.Generator().manual_seed(1))


def vae(scale: float = 1.0, family=None, activation=nn.ReLU) -> pv.VAE:
    torch.manual_seed(0)
    family = family or pv.Normal
    return pv.VAE(
        pv.StandardNormal(2),
        family(pv.MLP(2, [4], 5, activation=activation), scale=scale),
        pv.DiagNormal(pv.MLP(5, [4], 4)),
    )


# --- rows and plates ----------------------------------------------------------------------------------


def per_datum_pair(size: int) -> pv.Pair:
    """Each datum has a parameter of its own, found by the plate's index."""

    def model(x):
        with pyro.plate("data", size, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 10.0))
            pyro.sample("x", dist.Normal(z, 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", size, subsample_size=len(x)) as index:
            loc = pyro.param("loc", torch.zeros(size))
            pyro.sample("z", dist.Normal(loc[index], 0.1))

    return pv.Pair(model, guide)


def test_each_datum_is_looked_at_by_its_own_index():
    x = torch.arange(60.0)
    pair = per_datum_pair(60)
    pyro.param("loc", x.clone())
    whole, parts = (pv.rate_distortion(pair, x, draws=20, batch_size=size) for size in (60, 7))
    assert parts.elbo == pytest.approx(whole.elbo, rel=0.05)
    assert torch.allclose(pv.encode(pair, x)["z"].mean, x)


@pytest.mark.slow
def test_training_in_batches_moves_each_datum_by_its_own_index():
    x = torch.arange(60.0) / 10
    pair = per_datum_pair(60)
    pv.fit(pair, x, epochs=150, batch_size=8, learning_rate=0.2, **QUIET)
    assert torch.allclose(pyro.param("loc").detach(), x, atol=0.3)


def test_the_rows_come_first_whatever_the_plates_dim():
    def guide(x):
        with pyro.plate("parts", 3, dim=-2), pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x + torch.arange(3.0)[:, None], 1.0))

    def one(x):
        with pyro.plate("parts", 3, dim=-2), pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([3, len(x)]), obs=x.expand(3, -1))

    x = torch.arange(300.0)
    rebuilt = pv.reconstruct(pv.Pair(one, lambda x: None), x, mean=False)["x"]
    assert rebuilt.shape == (300, 3)

    def observed(x):
        with pyro.plate("data", len(x), dim=-1):
            with pyro.plate("parts", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.sum(0), 1.0), obs=x)

    encoded = pv.encode(pv.Pair(observed, guide), x)["z"]
    assert encoded.mean.shape == (300, 3)
    assert torch.equal(encoded.mean, x[:, None] + torch.arange(3.0))


def test_an_autoguide_is_encoded_by_its_moments_and_not_by_one_draw():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    guide = AutoNormal(model, init_scale=0.5)
    pair = pv.Pair(model, guide)
    x = torch.zeros(40)
    guide(x)
    loc = guide.median()["z"]
    encoded = pv.encode(pair, x)["z"]
    assert float((encoded.mean - loc).abs().max()) < 0.25  # five standard errors of 100 draws
    assert torch.allclose(encoded.scale, torch.full((40,), 0.5), atol=0.2)


# --- resuming something else --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [lambda: vae(scale=0.1), lambda: vae(family=pv.Laplace), lambda: vae(activation=nn.Tanh), lambda: vae().double()],
    ids=["scale", "family", "activation", "type"],
)
def test_another_model_of_the_same_shapes_is_not_resumed(other, tmp_path):
    options = {"batch_size": 11, "checkpoint": tmp_path, **QUIET}
    pv.fit(vae(), X, epochs=1, **options)
    pair = other()
    before = [p.detach().clone() for p in pair.parameters()]
    with pytest.raises(pv.ArgumentError, match=r" was .* and is |another one|types"):
        pv.fit(pair, X, epochs=2, resume=True, **options)
    assert all(torch.equal(a, b) for a, b in zip(before, pair.parameters(), strict=True))


class Rows(Dataset):
    def __init__(self, shift: float = 0.0):
        self.shift = shift

    def __len__(self):
        return 24

    def __getitem__(self, row):
        return X[row] + self.shift


def test_other_values_of_a_dataset_or_a_transform_are_not_resumed(tmp_path):
    class Shift:
        def __init__(self, by):
            self.by = torch.tensor(by)

        def __call__(self, x):
            return x + self.by

    for name, one, two in (
        ("dataset", {"data": Rows()}, {"data": Rows(1.0)}),
        ("transform", {"data": X, "transform": Shift(0.0)}, {"data": X, "transform": Shift(1.0)}),
        ("loss", {"data": X, "loss": pyro.infer.RenyiELBO(0.5)}, {"data": X, "loss": pyro.infer.RenyiELBO(0.1)}),
    ):
        options = {"batch_size": 8, "checkpoint": tmp_path / name, **QUIET}
        pv.fit(vae(), epochs=1, **one, **options)
        with pytest.raises((pv.ArgumentError, pv.DataError)):
            pv.fit(vae(), epochs=2, resume=True, **two, **options)
        pv.fit(vae(), epochs=2, resume=True, **one, **options)


def test_a_new_checkpoint_beside_damaged_later_ones_is_kept(tmp_path):
    pv.fit(vae(), X, epochs=1, batch_size=11, checkpoint=tmp_path, **QUIET)
    (tmp_path / "checkpoint-0000000099.safetensors").write_bytes(b"broken")
    (tmp_path / "checkpoint-0000000098.safetensors").write_bytes(b"broken")
    with pytest.warns(pv.PyrovaeWarning) as caught:
        run = pv.fit(vae(), X, epochs=2, batch_size=11, checkpoint=tmp_path, resume=True, **QUIET)
    assert [name in str(w.message) for w, name in zip(caught, ("0000000099", "0000000098"), strict=True)] == [
        True,
        True,
    ]
    assert run.checkpoint is not None
    assert run.checkpoint.exists()
    assert files.read(run.checkpoint)[1]["kind"] == "checkpoint"
    assert run.checkpoint in checkpoints_in(tmp_path)


def test_a_folder_that_takes_nothing_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    before = vae()
    with pytest.raises(pv.FileError, match=r"folder"):
        pv.fit(before, X, epochs=1, checkpoint=tmp_path / "file" / "below", **QUIET)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), vae().parameters(), strict=True))
    for path in ("", 3):
        with pytest.raises(pv.ArgumentError, match="path of a folder"):
            pv.fit(vae(), X, epochs=1, checkpoint=path, **QUIET)


def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(pv.FileError, match="plain file"):
        pv.save(vae(), tmp_path / "pipe")


def test_numbers_too_large_for_the_type_are_refused(tmp_path):
    large = vae().double()
    with torch.no_grad():
        next(large.parameters()).fill_(1e300)
    pv.save(large, tmp_path / "large.safetensors")
    with pytest.raises(pv.FileError, match="too large"):
        pv.load(vae(), tmp_path / "large.safetensors")


# --- optimisers, losses, seeds ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2**32, 2**40, np.int64(3), np.uint32(5)], ids=str)
def test_any_whole_number_is_a_seed(seed):
    options = {**QUIET, "seed": seed}
    one, two = (pv.fit(vae(), X, epochs=1, **options).history[0].loss for _ in range(2))
    assert one == two


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True, 2**64], ids=str)
def test_other_seeds_are_refused(seed):
    with pytest.raises(pv.ArgumentError, match="seed="):
        pv.fit(vae(), X, epochs=1, **{**QUIET, "seed": seed})


def test_optimisers_that_cannot_work_are_refused_in_words():
    elsewhere = [torch.ones(1, requires_grad=True)]
    for optim, words in (
        (torch.optim.LBFGS, "LBFGS"),
        (pyro.optim.PyroOptim(torch.optim.LBFGS, {}), "LBFGS"),
        (lambda parameters: torch.optim.Adam(elsewhere), "other parameters"),
    ):
        with pytest.raises(pv.ArgumentError, match=words):
            pv.fit(vae(), X, epochs=1, optim=optim, **QUIET)


def test_groups_of_the_users_own_take_one_rate():
    def optim(parameters):
        return torch.optim.Adam([{"params": parameters[:1]}, {"params": parameters[1:]}])

    run = pv.fit(vae(), X, epochs=1, optim=optim, learning_rate=0.01, **QUIET)
    assert run.history[0].learning_rate == 0.01
    with pytest.raises(pv.ArgumentError, match="one place"):
        pv.fit(vae(), X, epochs=1, optim=optim, learning_rate={"*": 0.01}, **QUIET)


def test_an_optimiser_without_a_rate_of_that_name():
    optim = pyro.optim.AdagradRMSProp({"eta": 0.1})
    assert np.isnan(pv.fit(vae(), X, epochs=1, optim=optim, **QUIET).history[0].learning_rate)


def test_a_loss_that_cannot_run_is_refused_before_the_first_step():
    def vector(model, guide, x):
        return torch.stack([p.sum() for p in pair.parameters()])

    pair = vae()
    with pytest.raises(pv.ArgumentError, match="loss="):
        pv.fit(pair, X, epochs=1, loss=vector, **QUIET)
    assert all(p.grad is None for p in pair.parameters())


def test_sparse_gradients_are_as_good_as_dense_ones():
    table = nn.Embedding(10, 2, sparse=True)

    def model(word, x):
        pyro.module("table", table)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(table(word), 1.0).to_event(1), obs=x)

    data = (torch.arange(20) % 10, torch.ones(20, 2))
    pair = pv.Pair(model, lambda word, x: None)
    pv.fit(pair, data, epochs=80, optim=lambda p: torch.optim.SparseAdam(list(p), lr=0.1), **QUIET)
    assert torch.allclose(table.weight.detach(), torch.ones(10, 2), atol=0.1)
    with pytest.raises(pv.ArgumentError, match="sparse"):
        pv.fit(pair, data, epochs=1, clip_norm=1.0, **QUIET)


# --- pairs --------------------------------------------------------------------------------------------


def test_a_site_that_is_not_in_every_batch_costs_nothing():
    x = torch.cat([torch.ones(16), -torch.ones(16)])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))
            if float(x.sum()) > 0:
                pyro.sample("y", dist.Normal(0.0, 1.0))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if float(x.sum()) > 0:
                z = z + pyro.sample("y", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pv.PyrovaeWarning)
        run = pv.fit(pv.Pair(model, guide), x, epochs=3, batch_size=8, **QUIET)
    assert len(run.history) == 3


def test_truth_values_are_data_for_a_bernoulli():
    pair = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
    assert len(pv.fit(pair, X > 0, epochs=1, **QUIET).history) == 1


def test_all_data_as_one_event_is_right_in_one_batch_only():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(w, 1.0).expand(x.shape).to_event(2), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    pair = pv.Pair(model, guide)
    with pytest.warns(pv.PyrovaeWarning, match="to_event"):
        pv.fit(pair, X, epochs=1, batch_size=33, **QUIET)
    with pytest.raises(pv.PairError, match="to_event"):
        pv.fit(pair, X, epochs=1, batch_size=11, **QUIET)


def test_a_last_batch_of_one_row_under_batch_norm_is_told_before_training():
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 5))
    pair = pv.VAE(pv.StandardNormal(2), pv.Normal(network, scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
    with pytest.raises(pv.ArgumentError, match="one row of 33"):
        pv.fit(pair, X, epochs=1, batch_size=16, **QUIET)
    pv.fit(pair, X, epochs=1, batch_size=11, **QUIET)


def test_a_part_in_eval_mode_on_purpose_stays_there():
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4).eval(), nn.Linear(4, 5))
    pair = pv.VAE(pv.StandardNormal(2), pv.Normal(network, scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
    pv.fit(pair, X, epochs=1, batch_size=11, **QUIET)
    assert network[1].num_batches_tracked == 0
    pair.eval()
    pv.fit(pair, X, epochs=1, batch_size=11, **QUIET)
    assert network[1].num_batches_tracked == 3


def test_handlers_around_fit_are_shut_out_and_said():
    expected = pv.fit(vae(), X, epochs=1, **QUIET).history[0].loss
    for handler in (poutine.scale(scale=3.0), poutine.trace(), poutine.block()):
        with handler, pytest.warns(pv.PyrovaeWarning, match="Pyro handlers"):
            assert pv.fit(vae(), X, epochs=1, **QUIET).history[0].loss == expected


def test_data_may_have_any_name():
    def model(seed, draws):
        with pyro.plate("data", len(draws)):
            pyro.sample("x", dist.Normal(seed * pyro.param("w", torch.ones(())), 1.0), obs=draws)

    pair = pv.Pair(model, lambda seed, draws: None)
    data = {"seed": torch.ones(8), "draws": torch.zeros(8)}
    pv.fit(pair, data, epochs=1, **QUIET)
    assert pv.rate_distortion(pair, data, draws=2).rate == 0
    assert pv.reconstruct(pair, data)["x"].shape == (8,)
    assert pv.generate(pair, data, seed=1)["x"].shape == (8,)


def test_tied_weights_are_one_parameter():
    layer = nn.Linear(5, 5)

    def model(x):
        pyro.module("decoder", layer)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(5), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(layer(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", layer)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(layer(x), 1.0).to_event(1))

    before = layer.weight.detach().clone()
    pv.fit(pv.Pair(model, guide), X, steps=1, optim=lambda p: torch.optim.SGD(p, lr=1.0), clip_norm=1.0, **QUIET)
    moved = [layer.weight.detach() - before, layer.bias.grad if layer.bias.grad is not None else torch.zeros(5)]
    assert float(moved[0].norm()) <= 1 + 1e-5


@pytest.mark.parametrize("kind", ["AutoIAFNormal", "AutoNormalizingFlow", "AutoMultivariateNormal"])
def test_autoguides_that_are_set_up_late_train(kind):
    from functools import partial

    from pyro.distributions.transforms import affine_autoregressive
    from pyro.infer import autoguide

    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w.sum(), 1.0), obs=x)

    settings = {"AutoNormalizingFlow": (partial(affine_autoregressive, hidden_dims=[4]),)}
    pair = pv.Pair(model, getattr(autoguide, kind)(model, *settings.get(kind, ())))
    run = pv.fit(pair, torch.full((40,), 2.0), epochs=150, batch_size=40, learning_rate=0.02, **QUIET)
    assert run.history[-1].elbo > run.history[0].elbo


def test_a_weighted_run_is_not_called_diverged():
    run = pv.fit(vae(), X, epochs=30, temper=4.0, learning_rate=0.02, **QUIET)
    assert "Diverged" not in run.verdict
    assert "weighted (by 4)" in run.verdict


def test_data_by_position_and_by_name_are_not_mixed():
    with pytest.raises(pv.ArgumentError, match="one of the two ways"):
        pv.rate_distortion(vae(), X, x=X)


def test_no_grad_around_fit_is_undone_inside():
    expected = pv.fit(vae(), X, epochs=2, **QUIET).history
    for context in (torch.no_grad(), torch.inference_mode()):
        pair = vae()
        with context:
            run = pv.fit(pair, X, epochs=2, **QUIET)
        assert [row.loss for row in run.history] == [row.loss for row in expected]


def test_nothing_to_train_is_said():
    with pytest.raises(pv.ArgumentError, match="nothing to train"):
        pv.fit(vae().requires_grad_(False), X, epochs=1, **QUIET)


def test_a_pattern_that_decides_nothing_is_refused():
    with pytest.raises(pv.ArgumentError, match="before them"):
        pv.fit(vae(), X, epochs=1, learning_rate={"*": 1e-2, "*likelihood*": 0}, **QUIET)


def test_the_error_of_an_elbo_does_not_hang_on_the_order_of_the_rows():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    x = torch.cat([torch.zeros(512), 3 * torch.ones(512)])
    figures = pv.rate_distortion(pv.Pair(model, lambda x: None), x, batch_size=32)
    exact = float(dist.Normal(0.0, 1.0).log_prob(x).std()) / 1024**0.5
    assert figures.error == pytest.approx(exact, rel=0.6)


def test_the_site_whose_parameters_went_bad_is_named():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(pv.DivergedError, match="site 'z'") as caught:
            pv.fit(vae(), X, epochs=60, learning_rate=lambda step: 1e30 if step > 5 else 1e-3, **QUIET)
    assert caught.value.site == "z"


def test_one_row_is_enough():
    assert pv.fit(vae(), X[:1], epochs=2, **QUIET).active == {}


# --- bytes --------------------------------------------------------------------------------------------

ASK = {
    "elbo": lambda pair, *data: pv.elbo(pair, *data, draws=3).value,
    "evidence": lambda pair, *data: pv.log_evidence(pair, *data, draws=3).value,
    "likelihood": lambda pair, *data: pv.log_likelihood(pair, *data, draws=3)["x"],
    "rates": lambda pair, *data: torch.tensor(pv.rate_distortion(pair, *data)[:3]),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
@pytest.mark.parametrize("masked", [False, True])
def test_bytes_are_counts_whatever_is_asked(ask, masked):
    """As bytes, 255 + 1 is 0."""

    def model(seen, x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(20.0, 0.1))
            fn = dist.Poisson(rate[..., None]).expand([*rate.shape, 3])
            pyro.sample("x", (fn.mask(seen) if masked else fn).to_event(1), obs=x)

    def guide(seen, x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Gamma(20.0 + x.float().sum(-1), 3.1))

    x, seen = torch.full((6, 3), 255, dtype=torch.uint8), torch.ones(6, 3, dtype=torch.bool)
    pair = pv.Pair(model, guide)
    assert torch.equal(ask(pair, seen, x), ask(pair, seen, x.float()))


def test_bits_as_bytes_have_figures():
    bits = torch.randint(0, 2, (12, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    pair = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [4], 5)), pv.DiagNormal(pv.MLP(5, [4], 4)))
    for ask in ASK.values():
        assert torch.equal(ask(pair, bits), ask(pair, bits.float()))
