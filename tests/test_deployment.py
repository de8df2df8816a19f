"""Parts of pairs as graphs for programs without Pyro: each held against the pair, for any number of rows."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn

import pyrovae as pv
from pyrovae.export.deployment.onnx_file import _log_gamma

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [8], 12)), pv.DiagNormal(pv.MLP(6, [8], 4)))


@pytest.fixture(scope="module")
def own():
    """Plain functions, a covariate, a length that Python asks for, a Gamma beside a normal."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(9, 6), nn.Linear(6, 6)

    def model(x, c):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            w = pyro.sample("w", dist.Gamma(torch.full((len(x),), 2.0), 1.0))
            pyro.sample("x", dist.Normal(decoder(torch.cat([z, c, w[:, None]], -1)), 0.5).to_event(1), obs=x)

    def guide(x, c):
        pyro.module("encoder", encoder)
        h = encoder(torch.cat([x, c], -1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(h[:, :2], h[:, 2:4].exp()).to_event(1))
            pyro.sample("w", dist.Gamma(h[:, 4].exp(), h[:, 5].exp()))

    return pv.Pair(model, guide)


C = torch.rand(9, 3, generator=torch.Generator().manual_seed(2))


def run(part, **given):
    session = runtime.InferenceSession(part.file, providers=["CPUExecutionProvider"])
    return dict(
        zip(part.outputs, session.run(None, {name: np.asarray(one) for name, one in given.items()}), strict=True)
    )


@pytest.fixture(scope="module")
def files(vae, tmp_path_factory):
    return pv.to_onnx(vae, X, folder=tmp_path_factory.mktemp("vae"))


def test_a_code_is_what_encode_says(vae, files):
    encoded = pv.encode(vae, X)["z"]
    for rows in (1, 4, 9):  # of which none was traced
        said = run(files["encode"], x=X[:rows], **{"noise.z": np.ones((rows, 2), np.float32)})
        np.testing.assert_allclose(said["z.mean"], encoded.mean[:rows], atol=1e-5)
        np.testing.assert_allclose(said["z.stddev"], encoded.scale[:rows], atol=1e-5)
        np.testing.assert_allclose(said["z"], encoded.mean[:rows] + encoded.scale[:rows], atol=1e-5)


def test_a_code_is_decoded_as_the_likelihood_does(vae, files):
    z = torch.randn(5, 2)
    said = run(files["decode"], z=z)
    wanted = vae.likelihood(z)
    np.testing.assert_allclose(said["x.mean"], wanted.mean.detach(), atol=1e-5)
    np.testing.assert_allclose(said["x.stddev"], wanted.stddev.detach(), atol=1e-5)
    assert [one.name for one in files["decode"].inputs] == ["z"]  # what is observed is no input


def test_the_mean_of_many_draws_is_the_elbo(vae, files):
    rows = np.repeat(X.numpy(), 4000, 0)
    noise = np.random.default_rng(0).normal(size=(len(rows), 2)).astype(np.float32)
    draws = run(files["elbo"], x=rows, **{"noise.z": noise})["elbo"].reshape(9, 4000)
    wanted = pv.elbo(vae, X, draws=4000)
    error = np.sqrt(draws.var(1) / 4000 + wanted.error.numpy() ** 2)
    assert (abs(draws.mean(1) - wanted.value.numpy()) < 4 * error).all()


def test_a_folder_says_what_is_in_it(files):
    with open(files["encode"].file.replace("encode.onnx", "parts.json")) as stream:
        told = json.load(stream)
    assert told["encode"]["inputs"][1] == {
        "name": "noise.z", "shape": ["rows", 2], "dtype": "float32", "noise": "standard normal",
    }  # fmt: skip
    assert max(one["largest_difference"] for one in told.values()) <= 1e-5
    assert all({1, 9, 13} == set(one["rows_tried"]) for one in told.values())


def test_files_run_without_torch(files):
    program = (
        "import sys, numpy, onnxruntime\n"
        f"session = onnxruntime.InferenceSession({files['decode'].file!r})\n"
        "print(session.run(None, {'z': numpy.zeros((3, 2), 'float32')})[0].shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(3, 6) False"


@pytest.mark.slow
def test_a_draw_that_no_noise_makes_is_left_out(own, tmp_path):
    done = pv.to_onnx(own, X, C, folder=tmp_path, parts=["encode", "decode"])
    assert list(done["encode"].left_out) == ["w"]
    assert "no function of noise" in done["encode"].left_out["w"]
    assert {"w.concentration", "w.rate", "w.mean", "z"} <= set(done["encode"].outputs)
    assert [one.name for one in done["encode"].inputs] == ["x", "c", "noise.z"]
    assert [one.name for one in done["decode"].inputs] == ["c", "z", "w"]
    said = run(done["encode"], x=X[:4], c=C[:4], **{"noise.z": np.zeros((4, 2), np.float32)})
    np.testing.assert_allclose(said["w.mean"], pv.encode(own, X, C)["w"].mean[:4], rtol=1e-4)
    with pytest.raises(pv.PairError, match=r"'elbo' cannot be exported: it needs a draw of 'w'.*parts=\('decode'"):
        pv.to_onnx(own, X, C, folder=tmp_path / "all", parts=["decode", "elbo"])
    assert not (tmp_path / "all").exists()


def test_a_look_at_values_is_refused_with_its_line(tmp_path):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            shift = 1.0 if bool((z > -100).all()) else 0.0
            pyro.sample("x", dist.Normal(z.repeat(1, 3) + shift, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))

    with pytest.raises(pv.PairError, match=r"looks at a value \(.*test_deployment.py, line \d+\)"):
        pv.to_onnx(pv.Pair(model, guide), X, folder=tmp_path, parts=["decode"])


def test_rows_of_the_pairs_own_are_refused(tmp_path):
    def model(x):
        with pyro.plate("data", 9, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * torch.ones(6), 1.0).to_event(1), obs=x)

    pair = pv.own_store(pv.Pair(model, AutoNormal(model)))
    pair.guide(X)
    with pytest.raises(pv.PairError, match="one row of its own data"):
        pv.to_torch_export(pair, X, folder=tmp_path)


def test_without_the_extra_the_refusal_names_it(vae, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(pv.ArgumentError, match=r"pip install 'pyrovae\[onnx\]'"):
        pv.to_onnx(vae, X, folder=tmp_path)


def test_an_unknown_part_is_refused(vae, tmp_path):
    with pytest.raises(pv.ArgumentError, match="parts='decoder'; give some of 'encode', 'decode', 'elbo'"):
        pv.to_onnx(vae, X, folder=tmp_path, parts="decoder")


def test_nothing_global_is_left_behind(vae, tmp_path):
    before = torch.get_rng_state(), torch.distributions.Distribution._validate_args, set(pyro.get_param_store())
    check = torch.distributions.Distribution._validate_sample
    pv.to_torch_export(vae, X, folder=tmp_path, parts=["decode"])
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.distributions.Distribution._validate_args == before[1]
    assert torch.distributions.Distribution._validate_sample is check
    assert set(pyro.get_param_store()) == before[2]


@pytest.mark.slow
def test_counts_whose_density_needs_the_gamma_function_are_written(tmp_path):
    torch.manual_seed(0)
    x = torch.poisson(torch.full((20, 3), 4.0))
    vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [4], 3)), pv.DiagNormal(pv.MLP(3, [4], 4)))
    written = pv.to_onnx(vae, x, folder=tmp_path, parts=("elbo",))
    assert written["elbo"].difference < 1e-5
    counts = torch.tensor([1e-6, 0.5, 1.0, 3.7, 100.0, 1e8], dtype=torch.float64)
    assert torch.allclose(_log_gamma(counts), torch.lgamma(counts), rtol=1e-11)
