"""A weight of the rate that is steered by the distortion."""

from __future__ import annotations

import math

import pytest
import torch

import pyrovae as pv

QUIET = {"progress": False, "device": "cpu"}
X = pv.truth.LinearGaussian(torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(6), 0.5).sample(
    128, seed=1
)


def vae():
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 6), scale=0.5), pv.DiagNormal(pv.MLP(6, [], 4)))


def test_the_weight_falls_while_the_distortion_exceeds_the_target():
    for nats in (-3.0, 0.0, 90.0):
        target = pv.TargetDistortion(nats, gain=0.1)
        over, under = (target.observe(5.0, nats + apart, 0.0) for apart in (1e9, -1e9))
        assert (over, under) == (pytest.approx(-0.1), pytest.approx(0.1))
        assert target.observe(5.0, nats, 0.3) == 0.3
    assert pv.TargetDistortion(90.0, gain=0.1).observe(0.0, 99.0, 0.0) == pytest.approx(-0.01)
    assert pv.TargetDistortion(0.5, gain=0.1).observe(0.0, 0.6, 0.0) == pytest.approx(-0.01)
    assert pv.TargetDistortion(9.0, gain=9.0, minimum=0.1).weight(-50.0) == 0.1


@pytest.mark.slow
def test_training_ends_at_the_target_with_the_multiplier_of_the_tempered_optimum():
    nats = 8.0
    target = pv.TargetDistortion(nats, gain=0.05)
    steered = pv.fit(vae(), X, steps=500, batch_size=128, learning_rate=2e-2, temper=target, seed=0, **QUIET)
    tail = steered.history[-100:]
    assert sum(row.distortion for row in tail) / 100 == pytest.approx(nats, abs=0.1)
    weight = math.exp(sum(math.log(row.weight) for row in tail) / 100)
    assert abs(math.log(weight)) > 0.1
    fixed = pv.fit(vae(), X, steps=500, batch_size=128, learning_rate=2e-2, temper=weight, seed=0, **QUIET)
    assert sum(row.distortion for row in fixed.history[-100:]) / 100 == pytest.approx(nats, abs=0.2)


def test_it_hears_every_step_staged_or_not_and_goes_on_after_a_stop(tmp_path):
    ends, options = {}, {"batch_size": 20, "seed": 0, **QUIET}
    for staged in (False, "traced"):
        target = pv.TargetDistortion(5.0, gain=0.05)
        ends[staged] = pv.fit(vae(), X, epochs=4, temper=target, staged=staged, **options).history[-1].weight
    assert ends["traced"] == pytest.approx(ends[False], rel=1e-4)
    assert ends["traced"] != 1.0
    for epochs in (2, 4):
        target = pv.TargetDistortion(5.0, gain=0.05)
        run = pv.fit(
            vae(), X, epochs=epochs, temper=target, staged=False, checkpoint=tmp_path, resume=epochs == 4, **options
        )
    assert run.history[-1].weight == ends[False]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.TargetDistortion(math.inf), "nats is inf"),
        (lambda: pv.TargetDistortion(3, gain=0), "gain is 0"),
        (lambda: pv.TargetDistortion(3, maximum=0.5), "leave out 1"),
        (lambda: pv.TargetDistortion(3).observe(1.0, math.nan, 0.0), "distortion is nan"),
        (lambda: pv.temper(vae(), pv.TargetDistortion(3)).observe(1.0), "distortion is nan"),
    ],
)
def test_what_is_no_target_is_refused(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make()
