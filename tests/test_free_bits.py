"""free_bits around any pair: against losses written by hand."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from batch_gradients import BATCH, loss_and_gradients, make, same
from pyro import poutine
from pyro.infer import (
    SVI,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from registry import (
    LATENT,
    ROWS,
    Encoder,
    amortised_guide,
    arguments,
    binary,
    pairs,
)
from torch.distributions import kl_divergence

import pyrovae as pv


def kls(pair, batch, sites=("z",), draws=None):
    """KL of each site and datum, of one run."""
    positional, named = arguments(batch)
    pyro.set_rng_seed(11)
    outer = pyro.plate("outer", draws, dim=-2) if draws else (lambda f: f)
    q = poutine.trace(outer(pair.guide)).get_trace(*positional, **named)
    p = poutine.trace(poutine.replay(outer(pair.model), trace=q)).get_trace(*positional, **named)
    return q, p, [kl_divergence(q.nodes[site]["fn"], p.nodes[site]["fn"]).detach() for site in sites]


def gaps(pair, batch, free, loss):
    """The loss with free bits and the one without."""
    return [loss_and_gradients(one, batch, copy.copy(loss)) for one in (free, pair)]


closed = pairs(having={"mean_field"}, without={"no_latent", "full_data", "nested", "masked", "dropout", "scaled"})


@pytest.mark.parametrize("entry", [entry for entry in closed if len(entry.values[0].latent) == 1])
@pytest.mark.parametrize("kind", [Trace_ELBO, TraceMeanField_ELBO])
def test_free_bits_put_the_bound_in_place_of_the_kl(entry, kind):
    (site,) = entry.latent
    pair, batch = make(entry)
    size = ROWS if "subsampled" in entry.traits else BATCH
    kl = float(kls(pair, batch, [site])[2][0].mean())
    loss = kind(max_plate_nesting=1)
    for nats in (kl * 2, kl / 2):
        free, plain = gaps(pair, batch, pv.free_bits(pair, {site: nats}), loss)
        assert free[0] - plain[0] == pytest.approx(size * (max(nats, kl) - kl), rel=1e-3, abs=1e-3 * abs(plain[0]))
        if nats < kl:
            same(free, plain, tolerance=1e-5)


@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_below_the_bound_the_gradient_is_that_of_the_distortion(weight):
    pair, batch = make("plain_functions")
    loss = TraceMeanField_ELBO(max_plate_nesting=1)
    distortion = loss_and_gradients(pv.temper(pair, 0.0), batch, loss)
    for free in (
        pv.free_bits(pv.temper(pair, weight), {"z": 50.0}),
        pv.temper(pv.free_bits(pair, {"z": 50.0}), weight),
        pv.temper(pv.free_bits(pv.temper(pair, 0.5), {"z": 50.0}), 2 * weight),
    ):
        found = loss_and_gradients(free, batch, loss)
        assert found[0] == pytest.approx(distortion[0] + weight * BATCH * 50.0, rel=1e-6)
        same((0.0, found[1]), (0.0, distortion[1]))


@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_free_bits_and_temper_give_weight_times_the_bound(weight):
    pair, batch = make("plain_functions")
    kl = float(kls(pair, batch)[2][0].mean())
    for nats in (kl * 3, kl / 3):
        distortion = loss_and_gradients(pv.temper(pair, 0.0), batch, TraceMeanField_ELBO(max_plate_nesting=1))[0]
        expected = distortion + weight * BATCH * max(nats, kl)
        for free in (
            pv.free_bits(pv.temper(pair, weight), {"z": nats}),
            pv.temper(pv.free_bits(pair, {"z": nats}), weight),
            pv.temper(pv.free_bits(pair, {"z": nats}), {"z": weight}),
        ):
            found = loss_and_gradients(free, batch, TraceMeanField_ELBO(max_plate_nesting=1))
            assert found[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_below_the_bound_the_gradient_vanishes_in_expectation():
    pair, batch = make("plain_functions")
    bias = "encoder$$$log_scale.bias"
    free, tempered = pv.free_bits(pair, {"z": 50.0}), pv.temper(pair, 0.0)
    found = [
        loss_and_gradients(one, batch, Trace_ELBO(max_plate_nesting=1), seed=seed)[1][bias]
        for seed in range(150)
        for one in (free, tempered)
    ]
    apart = torch.stack(found[::2]) - torch.stack(found[1::2])
    assert (apart.mean(0).abs() < 4 * apart.std(0) / 150**0.5).all()


@pytest.mark.parametrize("particles", [{"num_particles": 4}, {"num_particles": 4, "vectorize_particles": True}])
@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_the_bound_holds_for_the_mean_over_particles(particles, scale):
    """z1's prior depends on z2, so that its KL differs from particle to particle."""
    pair, batch = make("hierarchical")
    bound = float(kls(pair, batch, ["z1"])[2][0].mean()) + 2.0
    nats = {"z1": bound}
    shrunk = [
        pv.Pair(poutine.scale(one.model, scale=scale), poutine.scale(one.guide, scale=scale))
        for one in (pv.free_bits(pair, nats), pair)
    ]
    loss = Trace_ELBO(max_plate_nesting=1, **particles)
    free, plain = gaps(shrunk[1], batch, shrunk[0], loss)
    if "vectorize_particles" in particles:
        kl = float(kls(pair, batch, ["z1"], draws=4)[2][0].mean())
        expected = max(bound, kl) - kl
    else:
        pyro.set_rng_seed(11)
        gap = []
        for _ in range(4):  # particle by particle: the bound is on each one's mean over the batch
            q = poutine.trace(pair.guide).get_trace(batch)
            p = poutine.trace(poutine.replay(pair.model, trace=q)).get_trace(batch)
            kl = float(kl_divergence(q.nodes["z1"]["fn"], p.nodes["z1"]["fn"]).detach().mean())
            gap.append(max(bound, kl) - kl)
        expected = sum(gap) / 4
    assert free[0] - plain[0] == pytest.approx(scale * BATCH * expected, rel=1e-3)
    assert expected > 0.1


def test_per_dim_bounds_each_dimension():
    for name, site in (("plain_functions", "z"), ("nested_plates", "z"), ("pyro_modules", "z")):
        pair, batch = make(name)
        q, p, _ = kls(pair, batch)
        each = [n.base_dist if hasattr(n, "base_dist") else n for n in (q.nodes[site]["fn"], p.nodes[site]["fn"])]
        kl = kl_divergence(*each).detach().reshape(BATCH, -1).mean(0)
        nats = float(kl.median()) + 1e-3
        free, plain = gaps(
            pair,
            batch,
            pv.free_bits(pair, {site: nats}, per_dim=True, data_plate="data"),
            TraceMeanField_ELBO(max_plate_nesting=2),
        )
        expected = BATCH * float((kl.clamp(min=nats) - kl).sum())
        assert free[0] - plain[0] == pytest.approx(expected, rel=2e-3, abs=1e-3)


def test_masked_rows_have_no_kl():
    pair, batch = make("time_steps")
    _, lengths = batch
    kl = float((kls(pair, batch, ["z_1"])[2][0] * (lengths > 1)).sum() / BATCH)
    for nats in (kl + 1, kl / 2):
        free, plain = gaps(pair, batch, pv.free_bits(pair, {"z_1": nats}), Trace_ELBO(max_plate_nesting=1))
        assert free[0] - plain[0] == pytest.approx(BATCH * (max(nats, kl) - kl), abs=1e-3)


def test_a_global_site_counts_per_datum_and_inner_plates_add_up():
    pair, batch = make("local_and_global")
    kl = float(kls(pair, batch, ["w"])[2][0]) / ROWS
    for nats in (kl * 2, kl / 2):
        free, plain = gaps(pair, batch, pv.free_bits(pair, {"w": nats}), TraceMeanField_ELBO(max_plate_nesting=1))
        assert free[0] - plain[0] == pytest.approx(ROWS * (max(nats, kl) - kl), rel=1e-3, abs=1e-2)
    pair, batch = make("crossed_plates")
    kl = float(kls(pair, batch, ["loading"])[2][0].sum()) / ROWS
    free = pv.free_bits(pair, {"loading": kl * 2}, data_plate="data")
    free, plain = gaps(pair, batch, free, TraceMeanField_ELBO(max_plate_nesting=2))
    assert free[0] - plain[0] == pytest.approx(ROWS * kl, rel=1e-3)


def test_free_bits_on_a_discrete_site():
    pair, batch = make("score_function")
    kl = float(kls(pair, batch, ["b"])[2][0].mean())
    for kind in (Trace_ELBO, TraceGraph_ELBO):
        free, plain = gaps(pair, batch, pv.free_bits(pair, {"b": kl + 1}), kind(max_plate_nesting=1))
        assert free[0] - plain[0] == pytest.approx(BATCH, rel=1e-3)


def test_the_factor_enters_no_figure_and_nobody_reports_it():
    pair, batch = make("plain_functions")
    free, figures = pv.free_bits(pair, {"z": 50.0}), []
    for one in (pair, free):
        recorded = pv.record(one)
        loss_and_gradients(recorded, batch, Trace_ELBO(max_plate_nesting=1))
        figures.append(tuple(recorded.figures()))
    assert figures[0] == figures[1]
    assert pv.check_pair(free, batch) == ()
    assert pv.rate_distortion(free, batch) == pv.rate_distortion(pair, batch)
    assert pv.generate(free, batch, seed=1).keys() == {"z", "x"}

    def nothing(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(LATENT), 1.0).to_event(1))

    with pytest.raises(pv.PairError, match="nothing"):
        pv.check_pair(pv.free_bits(pv.Pair(nothing, amortised_guide(Encoder())), {"z": 1.0}), batch)


def test_draws_from_the_prior_have_no_factor():
    pair, batch = make("plain_functions")
    free = pv.free_bits(pair, {"z": 50.0})
    pv.encode(free, batch)
    free.guide(batch)  # a guide that no model followed
    assert "z_free_bits" not in poutine.trace(free.model).get_trace(batch[:3])
    guide = poutine.trace(free.guide).get_trace(batch)
    assert "z_free_bits" in poutine.trace(poutine.replay(free.model, trace=guide)).get_trace(batch)
    assert free._drawn == {}  # nothing is kept between calls


def test_what_free_bits_refuses():
    loss = Trace_ELBO(max_plate_nesting=1)

    def refused(name, nats, words, loss=loss, around=lambda one: one, **options):
        pair, batch = make(name)
        free = around(pv.free_bits(pair, nats, **options))
        positional, named = arguments(batch)
        with pytest.raises(pv.ArgumentError, match=words):
            loss.loss(free.model, free.guide, *positional, **named)

    enumerating = TraceEnum_ELBO(max_plate_nesting=1)
    refused("mixture_prior", {"z": 1.0}, "'z' has no closed form")
    refused("plain_functions", {"y": 1.0}, "'y', which the guide does not draw; it draws 'z'")
    refused("plain_functions", {"x": 1.0}, "'x', which the guide does not draw")
    refused("auxiliary_by_hand", {"u": 1.0}, "'u', which is no site of the model")
    refused("auxiliary_by_hand", {"z": 1.0}, "at a point")
    refused("auto_normal", {"weight": 1.0}, "at a point")
    refused("enumerated_prior", {"y": 1.0}, "'y', which the guide does not draw", enumerating)
    refused("enumerated_prior", {"z": 1.0}, "depends on a site that is", enumerating)
    refused("enumerated_guide", {"y": 1.0}, "'y' is enumerated", enumerating)
    refused("enumerated_guide", {"z": 1.0}, "depends on a site that is", enumerating)
    refused("enumerated_guide_sequential", {"z": 1.0}, "'y' one value a pass", enumerating)
    refused("conditioned", {"z": 1.0}, "MultivariateNormal at site 'z' does not split", per_dim=True)
    mask = torch.arange(BATCH) < 3
    masked = lambda one: pv.Pair(poutine.mask(one.model, mask=mask), poutine.mask(one.guide, mask=mask))  # noqa: E731
    refused("plain_functions", {"z": 1.0}, "Mask the pair first", around=masked)
    for nats in ({"z": -1.0}, {"z": float("nan")}, 0.5, {"z": pv.linear(0, 1, steps=3)}):
        with pytest.raises(pv.ArgumentError):
            pv.free_bits(pv.Pair(print, print), nats)
    pair, batch = make("mixture_prior")
    with pytest.raises(pv.ArgumentError, match="no closed form"):
        pv.fit(pv.free_bits(pair, {"z": 1.0}), batch, epochs=1, progress=False)


def test_free_bits_in_fit_and_in_a_loop_of_ones_own_are_the_same():
    losses = []
    for own in (True, False):
        pair, _ = make("built_in")
        free, x = pv.free_bits(pair, {"z": 1.0}), binary()[:1].repeat(ROWS, 1)  # fit shuffles rows
        if own:
            pyro.set_rng_seed(0)
            svi = SVI(free.model, free.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO(max_plate_nesting=1))
            losses.append([svi.step(x) / ROWS for _ in range(4)])
        else:
            options = {"optim": pyro.optim.Adam({"lr": 1e-2}), "loss": Trace_ELBO(max_plate_nesting=1), "steps": 4}
            run = pv.fit(free, x, batch_size=ROWS, seed=0, progress=False, **options)
            losses.append([row.loss for row in run.history])
            assert all(row.loss != pytest.approx(-row.elbo, rel=1e-3) for row in run.history)
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_free_bits_keep_a_rate_that_would_collapse():
    """Data without structure: the rate falls to 0, and with free bits to the bound."""
    x = torch.randn(256, 4)
    rates = {}
    for nats in (0.0, 0.5):
        pyro.set_rng_seed(0)
        likelihood = pv.Normal(pv.MLP(1, [], 4), scale=1.0)
        pair = pv.VAE(pv.StandardNormal(1), likelihood, pv.DiagNormal(pv.MLP(4, [], 2)))
        pv.fit(
            pv.free_bits(pair, {"z": nats}), x, steps=120, batch_size=256, seed=0, progress=False, learning_rate=5e-2
        )
        rates[nats] = pv.rate_distortion(pair, x, draws=20).rate
    assert rates[0.0] < 0.2
    assert rates[0.5] == pytest.approx(0.5, abs=0.1)
