"""Input that cannot work: an error of our own type before training, which says what, where and how to mend it."""

from __future__ import annotations

import errno
import math
import os

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv

OPTIONS = {"epochs": 1, "seed": 0, "progress": False, "device": "cpu"}


def vae(likelihood=None) -> pv.VAE:
    likelihood = likelihood or pv.Normal(pv.MLP(2, [], 5), scale=1.0)
    return pv.VAE(pv.StandardNormal(2), likelihood, pv.DiagNormal(pv.MLP(5, [], 4)))


X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


def holed(value: float, row: int = 7, column: int = 3) -> torch.Tensor:
    x = X.clone()
    x[row, column] = value
    return x


def fails(kind, match, data=X, pair=None, **options):
    pair = pair or vae()
    before = [p.detach().clone() for p in pair.parameters()] if isinstance(pair, pv.VAE) else []
    with pytest.raises(kind, match=match) as caught:
        pv.fit(pair, data, **{**OPTIONS, **options})
    assert isinstance(caught.value, pv.PyrovaeError)
    if before:
        assert all(torch.equal(a, b) for a, b in zip(before, pair.parameters(), strict=True))
    return str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "form", [lambda x: x, lambda x: x.numpy(), lambda x: x.double()], ids=["tensor", "array", "double"]
)
def test_holes_with_row_and_column(value, form):
    message = fails(pv.DataError, "row 7", form(holed(value)))
    assert "column 3" in message


def test_holes_in_validation_data():
    fails(pv.DataError, "validation.*row 7", validation=holed(math.nan))


def test_holes_from_a_loader():
    fails(pv.DataError, "row", DataLoader(TensorDataset(holed(math.nan)), batch_size=40))


@pytest.mark.parametrize("data", [torch.zeros(0, 5), np.zeros((0, 5)), [], {}], ids=["tensor", "array", "list", "dict"])
def test_empty_data(data):
    fails(pv.DataError, "empty|no data|no rows|nothing", data)


@pytest.mark.parametrize("shape", [(40, 7), (40,), (40, 5, 2)])
def test_wrong_dims_or_columns(shape):
    message = fails(pv.PyrovaeError, "shape", torch.randn(shape))
    assert str(shape[1:])[1:-1].split(",")[0] in message


def test_validation_data_of_another_width():
    fails(pv.DataError, r"validation.*\(7,\).*\(5,\)", validation=torch.randn(8, 7))


@pytest.mark.parametrize(
    ("likelihood", "data", "mend"),
    [
        (lambda: pv.Bernoulli(pv.MLP(2, [], 5)), torch.rand(40, 5), "binarise"),
        (lambda: pv.Bernoulli(pv.MLP(2, [], 5)), torch.randint(2, 256, (40, 5), dtype=torch.uint8), "255"),
        (lambda: pv.Poisson(pv.MLP(2, [], 5)), X - 10, "rescale|support"),
        (lambda: pv.LogNormal(pv.MLP(2, [], 10)), X, "rescale|support"),
    ],
    ids=["grey", "bytes", "negative counts", "negative sizes"],
)
def test_values_outside_the_support(likelihood, data, mend):
    fails(pv.DataError, mend, data, vae(likelihood()))


def test_one_bad_value_far_down_is_found_before_training():
    x = torch.bernoulli(torch.full((3_000, 5), 0.5))
    x[2_900, 2] = 0.5
    message = fails(pv.DataError, "row 2900", x, vae(pv.Bernoulli(pv.MLP(2, [], 5))), batch_size=10)
    assert "2" in message


@pytest.mark.parametrize(
    "data", [np.array([["a", "b"]] * 4), np.array([[1, None]] * 4, dtype=object), ["a", "b"], "file.npy"]
)
def test_texts_and_objects(data):
    fails(pv.DataError, "text|object|string|str", data)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": -3}, "batch_size=-3"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"epochs": -1}, "epochs=-1"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"epochs": None}, "Give epochs=, steps="),
        ({"steps": 0}, "steps=0"),
        ({"temper": -0.5}, "-0.5"),
        ({"temper": {"y": 1.0}}, "'y', which is not a latent site"),
        ({"temper": {"z": -1.0}}, "-1"),
        ({"temper": lambda step: -1.0}, "-1"),
        ({"learning_rate": -1e-3}, "-0.001"),
        ({"learning_rate": math.nan}, "nan"),
        ({"clip_norm": 0}, "clip_norm=0"),
        ({"average": 1.5}, "average=1.5"),
        ({"patience": 3}, "validation="),
        ({"patience": 0, "validation": X}, "patience=0"),
        ({"loss": "elbo"}, "Trace_ELBO"),
        ({"loss": pyro.infer.Trace_ELBO}, "not its class"),
        ({"loss": pyro.infer.JitTrace_ELBO()}, "Use Trace_ELBO"),
        ({"optim": "adam"}, "function of the parameters"),
        ({"optim": torch.optim.Adam([torch.ones(1, requires_grad=True)])}, "function of the parameters"),
        ({"device": "gpu"}, "not a device"),
        ({"staged": "fast"}, "staged"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"transform": 3}, "transform"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arguments(options, match):
    fails(pv.ArgumentError, match, **options)


def test_a_batch_size_beside_a_loader():
    fails(pv.ArgumentError, "DataLoader", DataLoader(TensorDataset(X), batch_size=4), batch_size=8)


def test_a_schedule_that_turns_negative_under_way_stops_there():
    pair = vae()
    with pytest.raises(pv.ArgumentError, match="at step 3"):
        pv.fit(pair, X, **{**OPTIONS, "epochs": None, "steps": 10}, temper=lambda step: 1.0 if step < 3 else -1.0)


def test_a_stream_without_an_end_needs_steps():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(X)

    fails(pv.ArgumentError, "steps=", Stream())


@pytest.mark.parametrize("pair", [None, torch.nn.Linear(2, 2), (1, 2)], ids=["none", "module", "tuple"])
def test_what_is_not_a_pair(pair):
    with pytest.raises(pv.ArgumentError, match="is not a pair"):
        pv.fit(pair, X, **OPTIONS)


QUESTIONS = [pv.posterior, pv.elbo, pv.psis, pv.rate_distortion, pv.encode, pv.uncertainty, pv.to_arviz]


@pytest.mark.parametrize("ask", QUESTIONS)
def test_questions_to_what_is_not_a_pair(ask):
    with pytest.raises(pv.ArgumentError, match="is not a pair"):
        ask(object(), X)


@pytest.mark.parametrize("ask", QUESTIONS)
@pytest.mark.parametrize("row", [7, 300], ids=["first rows", "later rows"])
def test_questions_about_data_with_holes(ask, row):
    x = torch.cat([X] * 8)
    x[row, 3] = math.nan
    with pytest.raises((pv.DataError, pv.PairError), match=rf"in 1 of \d+ rows, first at row {row}, column 3"):
        ask(vae(), x)


def test_holes_that_the_pair_has_a_mask_for_are_no_fault():
    def model(x):
        seen = ~x.isnan()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).mask(seen).to_event(1), obs=x.nan_to_num())

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.nan_to_num().mean(-1), 1.0))

    assert bool(pv.elbo(pv.Pair(model, guide), holed(math.nan), draws=2).value.isfinite().all())


@pytest.mark.parametrize("ask", QUESTIONS)
@pytest.mark.parametrize("seed", ["zero", 1.5, True])
def test_seeds(ask, seed):
    with pytest.raises(pv.ArgumentError, match="seed="):
        ask(vae(), X, seed=seed)


def test_exact_draws_that_are_none():
    with pytest.raises(pv.ArgumentError, match="reverse lacks 'z'"):
        pv.ais(vae(), X, reverse=X, chains=2, steps=2)


def test_an_option_that_a_question_does_not_have():
    with pytest.raises(pv.ArgumentError, match="no option"):
        pv.elbo(vae(), X, sites=["z"])


def test_a_tensor_where_a_network_belongs():
    with pytest.raises(pv.ArgumentError, match=r"network|module"):
        pv.Bernoulli(torch.zeros(3))


def test_unknown_names_are_pythons_own_error():
    with pytest.raises(TypeError, match="epoch"):
        pv.fit(vae(), X, epoch=3)
    with pytest.raises(TypeError, match="epoch"):
        pv.steps(vae(), X, epoch=3)


# --- files and disks ----------------------------------------------------------------------------------


def test_a_file_where_the_folder_belongs(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    fails(pv.FileError, "takes a folder", checkpoint=path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=["full", "read-only", "denied"])
def test_a_disk_that_takes_nothing(reason, tmp_path, monkeypatch):
    pair = vae()
    pv.fit(pair, X, checkpoint=tmp_path / "run", **OPTIONS)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def refuse(*_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "replace", refuse)
    words = rf"run\S+ cannot be written: {os.strerror(reason)}.*This checkpoint is skipped"
    with pytest.warns(pv.PyrovaeWarning, match=words):
        run = pv.fit(pair, X, checkpoint=tmp_path / "run", resume=True, **{**OPTIONS, "epochs": 3})
    assert len(run.history) == 3
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_missing_file(tmp_path):
    with pytest.raises(pv.FileError, match="nothing"):
        pv.load(vae(), tmp_path / "nothing.safetensors")


# --- pairs --------------------------------------------------------------------------------------------


def test_global_sites_under_a_plate_that_ignores_the_data_set():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0).expand([5]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    pair = pv.Pair(model, guide)
    message = fails(pv.PairError, r"size=40, subsample_size=len\(x\)", pair=pair, batch_size=10)
    assert "'w'" in message
    pv.fit(pair, X, batch_size=40, **OPTIONS)  # the whole set in one batch is right


def test_the_model_enumerates_and_the_loss_does_not():
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2) / 2), infer={"enumerate": "parallel"})
            loc = pyro.param("loc", torch.zeros(2))
            pyro.sample("x", dist.Normal(loc[k].unsqueeze(-1), 1.0).expand_by([]).to_event(1), obs=x[:, :1])

    pair = pv.Pair(model, lambda x: None)
    fails(pv.ArgumentError, "TraceEnum_ELBO", pair=pair, loss=pyro.infer.Trace_ELBO())


def test_a_default_device_that_holds_no_numbers():
    pair = vae()
    with torch.device("meta"):
        fails(pv.ArgumentError, "default device is 'meta'.*set_default_device", pair=pair)
        with pytest.raises(pv.ArgumentError, match="hold no numbers"):
            pv.elbo(pair, X)


def test_a_pair_made_where_nothing_can_be_trained():
    with torch.inference_mode():
        fails(pv.PairError, r"made inside torch.inference_mode.*outside of it")
    pair = vae()
    with torch.inference_mode():
        assert pv.fit(pair, X, **OPTIONS).history
