"""Every style of pair on a device: asked there, saved there, and opened on a processor."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from registry.entries import arguments, on_device, pairs

import pyrovae as pv

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    pytest.mark.filterwarnings("ignore"),
]

ASKED = {
    "elbo": lambda pair, *data, **named: pv.elbo(pair, *data, **named, draws=8, seed=0).value,
    "rate_distortion": lambda pair, *data, **named: pv.rate_distortion(pair, *data, **named, seed=0).elbo,
    "log_evidence": lambda pair, *data, **named: pv.log_evidence(pair, *data, **named, draws=8, seed=0).value,
    "posterior": lambda pair, *data, **named: pv.posterior(pair, *data, **named, draws=3, seed=0),
    "posterior_predictive": lambda pair, *data, **named: pv.posterior_predictive(pair, *data, **named, draws=3, seed=0),
    "log_likelihood": lambda pair, *data, **named: pv.log_likelihood(pair, *data, **named, draws=3, seed=0),
    "uncertainty": lambda pair, *data, **named: pv.uncertainty(pair, *data, **named, draws=4, seed=0),
    "to_arviz": lambda pair, *data, **named: pv.to_arviz(pair, *data, **named, draws=4, seed=0),
}


def made(entry, device="cpu"):
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    return on_device(*entry.make(), device)


def answers(entry, device):
    """What each function gives for a pair that was trained on a device, or the kind of its refusal."""
    pair, data = made(entry, device)
    pv.fit(pair, data, steps=1, seed=0, loss=entry.loss(), device=device, progress=False)
    args, kwargs = arguments(data)
    found = {}
    for name, ask in ASKED.items():
        try:
            found[name] = type(ask(pair, *args, **kwargs)).__name__
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}" if not isinstance(error, pv.PyrovaeError) else "refused"
    return found


@pytest.mark.parametrize("entry", pairs())
def test_what_is_answered_on_a_processor_is_answered_on_a_device(entry):
    assert answers(entry, "cuda") == answers(entry, "cpu")


@pytest.mark.parametrize("entry", pairs(without={"point"}))
def test_weights_that_a_device_has_saved_are_opened_on_a_processor(entry, tmp_path):
    pair, data = made(entry, "cuda")
    pv.fit(pair, data, steps=1, seed=0, loss=entry.loss(), device="cuda", progress=False)
    args, kwargs = arguments(data)
    before = pv.elbo(pair, *args, **kwargs, draws=64, seed=0)
    pv.save(pair, tmp_path / "model.safetensors")
    again, _ = made(entry)
    pv.load(again, tmp_path / "model.safetensors")
    after = pv.elbo(again, *args, **kwargs, draws=64, seed=0)
    spread = float(np.hypot(before.error.mean(), after.error.mean()))
    assert abs(float((before.value - after.value).mean())) < 6 * spread + 1e-3 * abs(float(before.value.mean()))


def test_a_gaussian_has_its_exact_evidence_on_a_device(linear):
    x = linear.sample(64, seed=0)
    pair = pv.truth.LinearGaussian(linear.weight.to("cuda"), linear.mean.to("cuda"), linear.noise)
    found = pv.log_evidence(pair, x, draws=20, seed=0)
    assert float((found.value.cpu() - linear.log_evidence(x)).abs().max()) < 1e-3
