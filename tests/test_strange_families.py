"""Families that lack what others have: a variance of a line, an inverse, a length, draws."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import planar

import pyrovae as pv

X = torch.randn(6, generator=torch.Generator().manual_seed(0))


# --- angles ---------------------------------------------------------------------------------------------
def angles(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.VonMises(0.0, 0.5))
        pyro.sample("x", dist.VonMises(a, 2.0), obs=x)


def around(x):
    with pyro.plate("data", len(x)):
        pyro.sample("a", dist.VonMises(torch.full_like(x, 3.0), 2.0))


def test_the_scale_of_an_angle_is_that_of_a_circle():
    pair = pv.Pair(angles, around)
    found = pv.encode(pair, X)["a"]
    length = math.exp(_log_bessel(1) - _log_bessel(0))
    assert torch.allclose(found.mean, torch.full_like(X, 3.0), atol=1e-5)
    assert torch.allclose(found.scale, torch.full_like(X, math.sqrt(-2 * math.log(length))), atol=1e-4)


def _log_bessel(order: int) -> float:
    return float((torch.special.i1 if order else torch.special.i0)(torch.tensor(2.0)).log())


def test_an_angle_drawn_near_a_seam_has_its_mean_there():
    """The direction of the mean hangs on another draw of the guide: half of the time 3, half of the time -3."""

    def around_a_seam(x):
        with pyro.plate("data", len(x)):
            side = pyro.sample("side", dist.Bernoulli(0.5), infer={"is_auxiliary": True})
            pyro.sample("a", dist.VonMises(3 * (2 * side - 1), 50.0))

    mean = pv.encode(pv.Pair(angles, around_a_seam), X, draws=400)["a"].mean
    assert bool((mean.abs() > math.pi - 0.1).all())


def test_the_variance_of_an_angle_adds_up_with_no_other():
    for likelihood in (lambda a: dist.VonMises(a, 2.0), _two_angles):

        def model(x, likelihood=likelihood):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.VonMises(0.0, 0.5))
                pyro.sample("x", likelihood(a), obs=x)

        with pytest.raises(pv.PairError, match=r"'x', a .*, has no mean and variance"):
            pv.uncertainty(pv.Pair(model, around), X)


def _two_angles(a):
    centres = torch.stack([a, a + 1], -1)
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.VonMises(centres, 2.0))


# --- flows without an inverse ----------------------------------------------------------------------------
def test_a_flow_without_an_inverse_has_its_evidence():
    torch.manual_seed(0)
    flow = planar(1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    def guide(x):
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(x[:, None] / 2, 0.5**0.5).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    pair = pv.Pair(model, guide)
    pyro.clear_param_store()
    pv.fit(pair, X, steps=1, learning_rate=1e-9, progress=False)
    found = pv.log_evidence(pair, X, draws=300)
    away = found.value - dist.Normal(0.0, 2**0.5).log_prob(X)
    assert bool((away.abs() < 5 * found.error).all())
    assert bool((found.error < 0.2).all())
    with pytest.raises(pv.PairError, match="flow without an inverse"):
        pv.ais(pair, X)


# --- chains of any length ---------------------------------------------------------------------------------
def _chain(duration):
    def model(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            one = dist.Normal(torch.zeros(1), 1.0).to_event(1)
            seen = dist.Normal(u[..., None, None], 0.5).to_event(1)
            hmm = dist.GaussianHMM(one, torch.eye(1), one, torch.eye(1), seen, duration=duration)
            pyro.sample("x", hmm, obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("u", dist.Normal(x.mean((1, 2)), 0.5))

    return pv.Pair(model, guide)


def test_a_chain_of_any_length_has_the_figures_of_one_of_this_length():
    x = torch.randn(4, 5, 1, generator=torch.Generator().manual_seed(1))
    assert pv.check_pair(_chain(None), x) == ()
    open_end, told = (pv.log_evidence(_chain(duration), x, draws=20) for duration in (None, 5))
    assert torch.allclose(open_end.value, told.value, atol=1e-4)
    with pytest.raises(pv.PairError, match="has none of its own to be drawn in: say it"):
        pv.posterior_predictive(_chain(None), x)


def test_a_chain_of_another_length_is_still_found():
    with pytest.raises(pv.PairError, match="shape"):
        pv.check_pair(_chain(4), torch.randn(4, 5, 1))


# --- counts that cannot be drawn ----------------------------------------------------------------------------
def test_novelty_of_counts_needs_no_draw_of_them():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.DirichletMultinomial(z.exp(), total_count=x.sum(-1)), obs=x)  # torch draws none such

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    counts = torch.tensor([[1.0, 2, 3], [4, 0, 1], [2, 2, 2], [0, 5, 1]])
    found = pv.novelty(pv.Pair(model, guide), counts, calibration=counts, draws=5)
    assert bool(found.complexity.score.isfinite().all())
