"""temper, free_bits and record around any pair: against losses written by hand."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
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
    REGISTRY,
    ROWS,
    Encoder,
    amortised_guide,
    arguments,
    binary,
    pairs,
    rows,
)
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae.objectives.figures import TEMPERING
from pyrovae.pairs.fixed_plate import FixedPlate

BATCH = 8


def make(name, seed=3):
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    entry = REGISTRY[name] if isinstance(name, str) else name
    pair, data = entry.make()
    batch = data if "full_data" in entry.traits else rows(data, slice(BATCH))
    positional, named = arguments(batch)
    with poutine.trace() as trace:  # autoguides and lazy parameters come into being
        pair.guide(*positional, **named)
    poutine.trace(poutine.replay(pair.model, trace=trace.trace)).get_trace(*positional, **named)
    return pair, batch


def loss_and_gradients(pair, batch, loss, seed=11):
    """A loss and the gradient of every parameter, by name."""
    positional, named = arguments(batch)
    store = pyro.get_param_store()
    for name in store:
        store[name].unconstrained().grad = None
    pyro.set_rng_seed(seed)
    value = loss.loss_and_grads(pair.model, pair.guide, *positional, **named)
    found = {name: store[name].unconstrained().grad for name in store}
    return value, {name: g.clone() for name, g in found.items() if g is not None}


def same(one, other, tolerance=1e-6):
    assert one[0] == pytest.approx(other[0], rel=tolerance, abs=tolerance)
    for name in {*one[1], *other[1]}:
        mine, theirs = (g.get(name, torch.zeros(())) for g in (one[1], other[1]))
        torch.testing.assert_close(*torch.broadcast_tensors(mine, theirs), rtol=1e-4, atol=1e-4)


def difference(one, other):
    return max(float((one[1][name] - other[1][name]).abs().max()) for name in one[1])


class ByHand:
    """`sum_s beta_s * (log q_s - log p_s) - log p(data)` of one draw, and its pathwise gradient."""

    def __init__(self, weights, everywhere=1.0):
        self.weights, self.everywhere = weights, everywhere

    def loss_and_grads(self, model, guide, *args, **kwargs):
        q = poutine.trace(guide).get_trace(*args, **kwargs)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(*args, **kwargs)
        loss = self.total(q, lambda name, node: True) - self.total(p, lambda name, node: not node["is_observed"])
        for node in p.nodes.values():
            if node["type"] == "sample" and node["is_observed"]:
                loss = loss - scaled(node)
        loss.backward()
        return loss.item()

    def total(self, trace, keep):
        total = torch.zeros(())
        for name, node in trace.nodes.items():
            if node["type"] == "sample" and type(node["fn"]).__name__ != "_Subsample" and keep(name, node):
                weight = self.weights.get(name, self.everywhere)
                total = total + (weight * scaled(node) if weight else 0.0)
        return total


def scaled(node):
    value = node["fn"].log_prob(node["value"]) * node["scale"]
    return value.sum() if node["mask"] is None else torch.where(node["mask"], value, 0.0).sum()


pathwise = pairs(without={"enumerates", "score_function", "no_latent"})


# --- temper: losses and gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.3, 4.0, 0.0])
@pytest.mark.parametrize("entry", pathwise)
def test_a_number_weights_every_latent_site(entry, weight):
    pair, batch = make(entry)
    expected = loss_and_gradients(pair, batch, ByHand({}, weight))
    same(loss_and_gradients(pv.temper(pair, weight), batch, Trace_ELBO(max_plate_nesting=2)), expected)


@pytest.mark.parametrize("entry", pairs(having={"global"}, without={"enumerates", "shared_auxiliary"}))
def test_one_site_is_weighted_with_the_auxiliary_sites_behind_it(entry):
    pair, batch = make(entry)
    site = entry.global_sites[0]
    weights = {site: 0.25, f"{site}_unconstrained": 0.25}
    expected = loss_and_gradients(pair, batch, ByHand(weights))
    found = loss_and_gradients(pv.temper(pair, {site: 0.25}), batch, Trace_ELBO(max_plate_nesting=2))
    same(found, expected)
    plain = loss_and_gradients(pair, batch, Trace_ELBO(max_plate_nesting=2))
    assert difference(found, plain) > 1e-3


def test_an_auxiliary_site_of_another_name_is_found_by_its_gradient():
    pair, batch = make("auxiliary_by_hand")
    expected = loss_and_gradients(pair, batch, ByHand({"z": 0.3, "u": 0.3}))
    tempered = pv.temper(pair, {"z": 0.3})
    with torch.no_grad():  # where the first call computes no gradients
        Trace_ELBO().loss(tempered.model, tempered.guide, batch)
    same(loss_and_gradients(tempered, batch, Trace_ELBO(max_plate_nesting=1)), expected)


@pytest.mark.parametrize("weight", [{"z": 0.3}, {"z1": 0.2, "z2": 3.0}, {"z2": 0.0}])
def test_weights_by_site(weight):
    pair, batch = make("hierarchical" if "z2" in weight else "local_and_global")
    expected = loss_and_gradients(pair, batch, ByHand(weight))
    same(loss_and_gradients(pv.temper(pair, weight), batch, Trace_ELBO(max_plate_nesting=1)), expected)


@pytest.mark.parametrize("weight", [0.3, 0.0, {"w": 0.5, "z": 2.0}])
def test_closed_kl_is_weighted_on_both_sides(weight):
    pair, batch = make("local_and_global")
    found = loss_and_gradients(pv.temper(pair, weight), batch, TraceMeanField_ELBO(max_plate_nesting=1))

    def by_hand(model, guide, x):
        q = poutine.trace(guide).get_trace(x)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x)
        loss = -scaled(p.nodes["x"])
        for site in "wz":
            kl = kl_divergence(q.nodes[site]["fn"], p.nodes[site]["fn"]).sum() * q.nodes[site]["scale"]
            loss = loss + kl * (weight[site] if isinstance(weight, dict) else weight)
        loss.backward()
        return loss.item()

    hand = type("Hand", (), {"loss_and_grads": staticmethod(by_hand)})
    same(found, loss_and_gradients(pair, batch, hand))


@pytest.mark.parametrize("kind", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_score_function_gradients_are_those_of_the_weighted_loss(kind, weight):
    """Exact gradients by going through all 2^4 values; the mean of many estimates, within their own error."""
    pyro.set_rng_seed(5)
    encoder, decoder = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    prior, x = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([1.0, 0.0, 1.0])
    values = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)

    def model():
        pyro.module("decoder", decoder)
        b = pyro.sample("b", dist.Bernoulli(prior).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=decoder(b)).to_event(1), obs=x)

    def guide():
        pyro.module("encoder", encoder)
        pyro.sample("b", dist.Bernoulli(logits=encoder(x)).to_event(1))

    posterior = dist.Bernoulli(logits=encoder(x)).to_event(1)
    q = posterior.log_prob(values)
    rate = (q.exp() * (q - dist.Bernoulli(prior).to_event(1).log_prob(values))).sum()
    likelihood = dist.Bernoulli(logits=decoder(values)).to_event(1).log_prob(x)
    exact = torch.autograd.grad(weight * rate - (q.exp() * likelihood).sum(), encoder.bias)[0]
    tempered, found = pv.temper(pv.Pair(model, guide), weight), []
    for seed in range(40):
        loss = kind(max_plate_nesting=0, num_particles=50, vectorize_particles=True)
        found += [loss_and_gradients(tempered, (), loss, seed=seed)[1]["encoder$$$bias"]]
    found = torch.stack(found)
    assert ((found.mean(0) - exact).abs() < 4.5 * found.std(0) / 40**0.5 + 1e-6).all()
    assert exact.abs().max() > 0.02


@pytest.mark.parametrize("kind", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO])
def test_zero_drops_a_site_whatever_its_log_probability(kind):
    loc = torch.tensor([0.5, -0.5], requires_grad=True)

    def model(x):
        with pyro.plate("data", 2):
            pyro.sample("z", dist.Uniform(10.0, 11.0, validate_args=False))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", 2):
            pyro.sample("z", dist.Normal(pyro.param("loc", loc), 1.0))

    x = torch.tensor([1.0, 2.0])
    expected = -float(dist.Normal(0.0, 1.0).log_prob(x).sum())
    tempered = pv.temper(pv.Pair(model, guide), 0.0)
    recorded = pv.record(tempered)
    value, gradients = loss_and_gradients(recorded, x, kind(max_plate_nesting=1))
    assert value == pytest.approx(expected)
    assert not gradients.get("loc", torch.zeros(())).any()
    assert float(recorded.figures().rate) == float("inf")  # figures are never tempered


@pytest.mark.parametrize("entry", pairs(without={"no_latent"}))
@pytest.mark.parametrize("weight", [1.0, 0.0, 0.3])
def test_figures_are_those_without_temper(entry, weight):
    if entry.enumerated and entry.name != "enumerated_prior":
        pytest.skip("the contraction holds data; see below")
    plate = "data" if "nested" in entry.traits else None
    kind = TraceEnum_ELBO if "enumerates" in entry.traits else Trace_ELBO
    found = []
    for around in (lambda pair: pair, lambda pair: pv.temper(pair, weight)):
        pair, batch = make(entry)
        # A scale further out is not temper's.
        shrunk = pv.Pair(*(poutine.scale(f, scale=0.125) for f in (around(pair).model, around(pair).guide)))
        tempered = around(pair)
        shrunk = pv.Pair(poutine.scale(tempered.model, scale=0.125), poutine.scale(tempered.guide, scale=0.125))
        recorded = pv.record(shrunk, data_plate=plate)
        loss_and_gradients(recorded, batch, kind(max_plate_nesting=2))
        found.append(recorded.figures())
    torch.testing.assert_close(tuple(found[0]), tuple(found[1]), rtol=1e-6, atol=1e-6)


def test_a_mask_on_one_side_stays_on_its_side():
    """`obs_mask`: the model masks what is observed, the guide does not."""
    figures = []
    for weight in (1.0, 0.3, 0.0, {"y_unobserved": 0.3}):
        pair, batch = make("observation_mask")
        tempered = pv.temper(pair, weight)
        recorded = pv.record(tempered)
        expected = ByHand(weight) if isinstance(weight, dict) else ByHand({}, weight)
        found = loss_and_gradients(recorded, batch, Trace_ELBO(max_plate_nesting=1))
        same(found, loss_and_gradients(pair, batch, expected))
        figures.append(recorded.figures())
    for other in figures[1:]:
        torch.testing.assert_close(tuple(figures[0]), tuple(other), rtol=1e-6, atol=1e-6)
    same(
        loss_and_gradients(pv.temper(pair, {"z": 0.5}), batch, Trace_ELBO(max_plate_nesting=1)),
        loss_and_gradients(pair, batch, ByHand({"z": 0.5})),
    )


def test_tempering_leaves_the_dictionaries_of_the_author_alone():
    mine = {"a": 1}

    def both(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0), infer=mine)
        return z

    tempered = pv.temper(pv.Pair(both, both), 0.5)
    trace = poutine.trace(tempered.guide).get_trace(torch.zeros(3))
    assert mine == {"a": 1}
    assert trace.nodes["z"]["infer"] == {"a": 1}
    assert trace.nodes["z"][TEMPERING].weight == 0.5


# --- temper: enumeration -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["enumerated_guide", "enumerated_guide_sequential"])
@pytest.mark.parametrize("weights", [{"y": 0.2}, {"z": 0.2}, {"y": 0.0, "z": 3.0}])
def test_guide_side_enumeration_runs_per_site(name, weights):
    pair, x = make(name)
    found = loss_and_gradients(pv.temper(pair, weights), x, TraceEnum_ELBO(max_plate_nesting=1))

    def by_hand(model, guide, x):
        q_y = poutine.trace(guide).get_trace(x).nodes["y"]["fn"]
        pyro.set_rng_seed(11)
        loss = torch.zeros(())
        noise = {}
        for label in reversed(range(3)) if name.endswith("sequential") else range(3):
            y = torch.nn.functional.one_hot(torch.full((len(x),), label), 3).float()
            if not name.endswith("sequential") and not noise:
                noise["all"] = torch.randn(3, len(x), LATENT)
            q_z = poutine.trace(poutine.condition(guide, data={"y": y})).get_trace(x).nodes["z"]["fn"].base_dist
            eps = noise["all"][label] if noise else None
            z = q_z.rsample() if eps is None else q_z.loc + q_z.scale * eps
            p = poutine.trace(poutine.condition(model, data={"y": y, "z": z})).get_trace(x)
            log_q_y = q_y.log_prob(y)
            terms = -p.nodes["x"]["fn"].log_prob(x)
            terms = terms + weights.get("y", 1.0) * (log_q_y - p.nodes["y"]["fn"].log_prob(y))
            terms = terms + weights.get("z", 1.0) * (q_z.log_prob(z).sum(-1) - p.nodes["z"]["fn"].log_prob(z))
            loss = loss + (log_q_y.exp() * terms).sum()
        loss.backward()
        return loss.item()

    if name == "enumerated_guide":
        hand = type("Hand", (), {"loss_and_grads": staticmethod(by_hand)})
        same(found, loss_and_gradients(pair, x, hand))
        return
    # One value a pass: the draws differ from any written here, but not the weighting of each draw.
    plain = pv.record(pair)
    losses = []
    for one in ({}, {"y": 0.0}, {"z": 0.0}):
        tempered = pv.temper(plain, one) if one else plain
        losses.append(loss_and_gradients(tempered, x, TraceEnum_ELBO(max_plate_nesting=1))[0])
    rates = {"y": losses[0] - losses[1], "z": losses[0] - losses[2]}
    expected = losses[0] + sum((weight - 1) * rates[site] for site, weight in weights.items())
    assert found[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.3, 0.0, {"y": 0.3, "z": 0.3}])
def test_what_the_model_sums_out_over_latent_sites_takes_one_weight(weight):
    pair, x = make("enumerated_prior")
    found = loss_and_gradients(pv.temper(pair, weight), x, TraceEnum_ELBO(max_plate_nesting=1))

    def by_hand(model, guide, x):
        q = poutine.trace(guide).get_trace(x).nodes["z"]
        prior = dist.MixtureSameFamily(
            dist.Categorical(pyro.param("weights")), dist.Normal(pyro.param("centres"), 1.0).to_event(1)
        )
        p = poutine.trace(poutine.condition(model, data={"z": q["value"]})).get_trace(x)
        rate = (q["fn"].log_prob(q["value"]) - prior.log_prob(q["value"])).sum()
        one = weight if isinstance(weight, float) else 0.3
        loss = (one * rate if one else 0.0) - p.nodes["x"]["fn"].log_prob(x).sum()
        loss.backward()
        return loss.item()

    same(found, loss_and_gradients(pair, x, type("Hand", (), {"loss_and_grads": staticmethod(by_hand)})))


@pytest.mark.parametrize("name", ["enumerated_likelihood", "enumerated_mixture", "enumerated_mixture_map"])
def test_a_sum_that_holds_data_is_refused(name):
    pair, batch = make(name)
    svi = SVI(*pv_pair(pv.temper(pair, 0.5)), pyro.optim.Adam({}), TraceEnum_ELBO(max_plate_nesting=1))
    with pytest.raises(pv.ArgumentError, match=r"'y', 'x' together, and 'x' is observed"):
        svi.step(batch)
    with pytest.raises(pv.ArgumentError, match="'x' is observed"):
        pv.fit(pair, REGISTRY[name].make()[1], epochs=1, temper=0.5, progress=False)


def pv_pair(pair):
    return pair.model, pair.guide


def test_what_a_sum_that_holds_data_leaves_out_can_be_tempered():
    pair, x = make("enumerated_likelihood")
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    plain, tempered = (loss_and_gradients(one, x, loss)[0] for one in (pair, pv.temper(pair, {"z": 0.5})))
    recorded = pv.record(pair)
    loss_and_gradients(recorded, x, loss)
    assert plain - tempered == pytest.approx(0.5 * float(recorded.figures().rate) * BATCH, rel=1e-5)


@pytest.mark.parametrize("weight", [{"y": 0.5}, {"z": 0.5}, {"y": 0.5, "z": 0.4}])
def test_unequal_weights_within_a_sum_are_refused(weight):
    pair, x = make("enumerated_prior")
    tempered = pv.temper(pair, weight)
    with pytest.raises(pv.ArgumentError, match=r"'y', 'z' together, which takes one weight"):
        TraceEnum_ELBO(max_plate_nesting=1).loss(tempered.model, tempered.guide, x)
    with pytest.raises(pv.ArgumentError, match="one weight"):
        pv.fit(pair, x, epochs=1, temper=weight, progress=False)


# --- temper: refusals, schedules, nesting -----------------------------------------------------------------


def test_a_shared_auxiliary_site_is_refused_by_name():
    pair, batch = make("auto_diagonal_normal")
    tempered = pv.temper(pair, {"weight": 0.5})
    with pytest.raises(pv.ArgumentError, match=r"'_AutoDiagonalNormal_latent' serves weight, bias together"):
        Trace_ELBO().loss(tempered.model, tempered.guide, *batch)
    tempered = pv.temper(pair, {"weight": 0.5})
    with pytest.raises(pv.ArgumentError, match="serves weight, bias"), torch.no_grad():
        Trace_ELBO().loss(tempered.model, tempered.guide, *batch)
    with pytest.raises(pv.ArgumentError, match="serves weight, bias"):
        pv.fit(pair, REGISTRY["auto_diagonal_normal"].make()[1], epochs=1, temper={"bias": 0.5}, progress=False)


def test_an_unknown_site_is_refused_by_name():
    pair, batch = make("plain_functions")
    for name in ("y", "x"):
        tempered = pv.temper(pair, {name: 0.5})
        with pytest.raises(pv.ArgumentError, match=f"names the site '{name}'.*latent sites are z"):
            Trace_ELBO().loss(tempered.model, tempered.guide, batch)
        with pytest.raises(pv.ArgumentError, match=f"names the site '{name}'"):
            pv.fit(pair, batch, epochs=1, temper={name: 0.5}, progress=False)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), {"z": -1.0}, "0.5", pv.linear(1, -1, steps=9)])
def test_what_is_no_weight_is_refused_at_once(weight):
    with pytest.raises(pv.ArgumentError):
        pv.temper(pv.Pair(print, print), weight)


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_a_schedule_that_goes_bad_is_stopped_at_that_step(bad):
    pair, batch = make("plain_functions")
    tempered = pv.temper(pair, lambda step: 1.0 if step < 3 else bad)
    svi = SVI(tempered.model, tempered.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    for tempered.step in range(3):
        svi.step(batch)
    tempered.step = 3
    with pytest.raises(pv.ArgumentError, match="at step 3"):
        svi.step(batch)
    with pytest.raises(pv.ArgumentError, match="at step 3"):
        pv.fit(pair, batch, steps=5, temper=lambda step: 1.0 if step < 3 else bad, progress=False)


def test_the_loop_of_ones_own_follows_the_schedule():
    pair, batch = make("plain_functions")
    weights, losses = [0.0, 0.25, 0.5, 0.75, 1.0, 1.0], []
    annealed = pv.temper(pair, pv.linear(0, 1, steps=4))
    svi = SVI(annealed.model, annealed.guide, pyro.optim.Adam({"lr": 0.0}), Trace_ELBO(max_plate_nesting=1))
    for annealed.step in range(6):
        pyro.set_rng_seed(7)
        losses.append(svi.step(batch))
        assert annealed.weight == weights[annealed.step]
    for weight, loss in zip(weights, losses, strict=True):
        assert loss == pytest.approx(loss_and_gradients(pair, batch, ByHand({}, weight), seed=7)[0], rel=1e-6)


def test_the_first_call_of_a_weight_by_site_costs_no_random_number():
    pair, batch = make("local_and_global")
    values = []
    for one in (pair, pv.temper(pair, {"z": 1.0}), pv.temper(pair, {"z": pv.constant(1.0)})):
        pyro.set_rng_seed(3)
        loss = Trace_ELBO(max_plate_nesting=1, num_particles=2)
        values.append((loss.loss(one.model, one.guide, batch), float(torch.rand(()))))
    assert values[1:] == values[:1] * 2


@pytest.mark.parametrize("name", ["plain_functions", "enumerated_guide", "auto_normal"])
def test_the_first_call_of_a_weight_by_site_within_other_handlers(name):
    entry = REGISTRY[name]
    pair, batch = make(name)
    positional, _ = arguments(batch)
    site = (*entry.latent, *entry.global_sites)[0]
    kind = TraceEnum_ELBO if name == "enumerated_guide" else Trace_ELBO
    loss = kind(max_plate_nesting=1, num_particles=3, vectorize_particles=True)
    first, later = pv.temper(pair, {site: 0.3}), pv.temper(pair, {site: 0.3})
    with poutine.trace(param_only=True), pyro.plate("outer", 1, dim=-5):
        later.guide(*positional)
    values = [loss_and_gradients(one, batch, copy.copy(loss)) for one in (first, later)]
    same(*values, tolerance=0)


def test_a_target_rate_in_a_loop_of_ones_own():
    pair, x = make("built_in")
    target = pv.TargetRate(1.0, gain=0.05)
    steered = pv.record(pv.temper(pair, target))
    svi = SVI(steered.model, steered.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    state = target.initial()
    for _ in range(5):
        svi.step(x)
        rate = float(steered.figures().rate)
        weight, state = target.update(rate, state)
        steered.pair.observe(rate)
        assert steered.pair.weight == weight
    assert steered.pair.states == {None: state}
    other = pv.temper(pair, target)
    other.states = {None: state}
    assert other.weight == steered.pair.weight != 1.0


def test_a_target_rate_of_one_site_among_several_is_refused():
    pair, batch = make("hierarchical")
    with pytest.raises(pv.ArgumentError, match="all 2 latent sites together"):
        pv.fit(pair, batch, epochs=1, temper={"z1": pv.TargetRate(1.0)}, progress=False)
    pair, batch = make("plain_functions")
    run = pv.fit(pair, batch, steps=3, temper={"z": pv.TargetRate(1.0)}, progress=False)
    assert run.history[-1].weight.keys() == {"z"}


def test_tempers_multiply():
    pair, batch = make("hierarchical")
    twice = pv.temper(pv.temper(pair, {"z1": pv.linear(0, 1, steps=10)}), pv.linear(0, 2, steps=10))
    twice.step = 5  # moves both on
    assert twice.weight == {"z1": 0.5}
    found = loss_and_gradients(twice, batch, Trace_ELBO(max_plate_nesting=1))
    same(found, loss_and_gradients(pair, batch, ByHand({"z1": 0.5, "z2": 1.0})))
    assert pv.temper(pv.temper(pair, 0.5), 0.5).weight == 0.25
    for nested in (pv.temper(pv.temper(pair, 0.0), 0.5), pv.temper(pv.temper(pair, 0.5), 0.0)):
        recorded = pv.record(nested)
        found = loss_and_gradients(recorded, batch, Trace_ELBO(max_plate_nesting=1))
        same(found, loss_and_gradients(pair, batch, ByHand({}, 0.0)))
        plain = pv.record(pair)
        loss_and_gradients(plain, batch, Trace_ELBO(max_plate_nesting=1))
        torch.testing.assert_close(recorded.figures().rate, plain.figures().rate, rtol=1e-6, atol=0)


def test_fit_moves_on_the_schedule_of_a_tempered_pair_and_keeps_its_state():
    pair, batch = make("plain_functions")
    rows_of = {}
    for name, (one, weight) in {
        "given to fit": (pair, pv.linear(0, 1, steps=10)),
        "around the pair": (pv.temper(pair, pv.linear(0, 1, steps=10)), 1.0),
        "inside free bits": (pv.free_bits(pv.temper(pair, pv.linear(0, 1, steps=10)), {"z": 0.0}), 1.0),
    }.items():
        start = {n: p.detach().clone() for n, p in pyro.get_param_store().items()}
        rows_of[name] = list(pv.steps(one, batch, steps=5, temper=weight, seed=0, batch_size=4))
        with torch.no_grad():
            for n, value in start.items():
                pyro.get_param_store()[n].unconstrained().copy_(value)
    plain, around, inside = rows_of.values()
    assert [step.weight for step in plain] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [(s.weight, s.loss, s.elbo) for s in around] == [(s.weight, s.loss, s.elbo) for s in plain]
    assert [s.elbo for s in inside] == pytest.approx([s.elbo for s in plain], rel=1e-4)
    steered = pv.temper(pv.temper(pair, pv.TargetRate(0.5)), pv.TargetRate(5.0))
    steered.observe(3.0)
    assert len(steered.states) == 2
    again = pv.temper(pv.temper(pair, pv.TargetRate(0.5)), pv.TargetRate(5.0))
    again.states = dict(steered.states)
    assert again.weight == steered.weight


# --- free bits -------------------------------------------------------------------------------------------


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


# --- the data plate -----------------------------------------------------------------------------------------


def test_the_data_plate_is_given_the_rows_of_the_batch():
    pair, batch = make("local_and_global")
    fixed = FixedPlate(pair, "data")

    def index(around=fixed):
        return poutine.trace(around.guide).get_trace(batch).nodes["data"]["value"]

    before = torch.get_rng_state()
    FixedPlate(pv.Pair(print, lambda x: pyro.plate("data", 100, subsample_size=8)), "data").guide(batch)
    assert torch.equal(torch.get_rng_state(), before)  # no permutation of 100 is drawn
    assert index().tolist() == list(range(BATCH))
    fixed.index = torch.arange(BATCH) + 5
    assert index().tolist() == list(range(5, 5 + BATCH))
    fixed.index = torch.arange(BATCH) + ROWS  # not of this data set
    assert index().tolist() == list(range(BATCH))
    fixed.index = torch.arange(3)  # not of this batch
    assert index().tolist() == list(range(BATCH))
    assert sorted(index(FixedPlate(pair, "other")).tolist()) != list(range(BATCH))
    pair, data = make("subsample_by_index")
    chosen = poutine.trace(FixedPlate(pair, "data").guide).get_trace(data).nodes["data"]["value"]
    assert sorted(chosen.tolist()) != list(range(8))  # all rows are given: the draw is the pair's own
