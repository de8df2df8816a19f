"""Staged training: a graph computes what Pyro's own pass computes, and says so where it cannot."""

from __future__ import annotations

import copy
import cProfile
import functools
import gc
import itertools
import logging
import math
import os
import pstats
import random
import re
import sys
import threading
import time
import warnings
from collections import deque
from types import ModuleType, SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from registry import ROWS, Entry, pairs
from torch import nn
from torch._dynamo import eval_frame
from torch._dynamo.utils import preserve_rng_state
from torch.fx.experimental.proxy_tensor import make_fx

import pyrovae as pv
from pyrovae.staged import compiling, graphs, products, selections, step_route
from pyrovae.staged.changes import Changes
from pyrovae.staged.comparing import Outcome, difference
from pyrovae.staged.deciding import worth_compiling, worth_tracing
from pyrovae.staged.graph_step import GraphStep
from pyrovae.staged.step_route import StepRoute
from pyrovae.staged.step_times import StepTimes
from pyrovae.staged.updating import make_update
from pyrovae.training.optimisers import make_optimiser
from pyrovae.training.step_maker import StepMaker

QUIET = {"progress": False, "device": "cpu"}
BATCH = 16
STEPS = 50
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(3))


def small(width: int = 5, **options) -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(
        pv.StandardNormal(2),
        pv.Normal(pv.MLP(2, [8], width), scale=1.0),
        pv.DiagNormal(pv.MLP(width, [8], 4)),
        **options,
    )


def fitted(entry: Entry, staged, *, steps=STEPS, loss=None, **options):
    """An entry's pair after some steps, the losses on the way, and the run."""
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    pair, data = entry.make()
    size = ROWS if entry.traits & {"full_data", "local_autoguide"} else BATCH
    with warnings.catch_warnings():
        if "unvalidated" in entry.traits:
            warnings.simplefilter("ignore", pv.PyrovaeWarning)
        running = pv.steps(
            pair, data, steps=steps, batch_size=size, seed=0, loss=loss or entry.loss(), device="cpu", staged=staged,
            **options,
        )  # fmt: skip
        losses = []
        while True:
            try:
                losses.append(next(running).loss)
            except StopIteration as end:
                return pair, losses, end.value, weights_of(end.value)


def weights_of(run) -> dict[str, torch.Tensor]:
    """What a saved file would hold: parameters and buffers."""
    pair, store = run.pair, pyro.get_param_store()
    found = {name: store._params[name].detach().clone() for name in store.keys()}  # noqa: SIM118
    parts = [pair] if isinstance(pair, nn.Module) else [getattr(f, "__self__", f) for f in (pair.model, pair.guide)]
    for number, part in enumerate(parts):
        if isinstance(part, nn.Module):
            found.update({f"{number}.{name}": value.detach().clone() for name, value in part.state_dict().items()})
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance=1e-5):
    keys = [{name.split("@")[0] + name.partition("$$$")[2]: value for name, value in x.items()} for x in (one, other)]
    assert list(keys[0]) == list(keys[1])
    assert keys[0]
    for name, value in keys[0].items():
        assert (value - keys[1][name]).double().norm() <= tolerance * value.double().norm() + 1e-8, name


LOSSES = {
    "own": lambda entry: entry.loss(),
    "particles": lambda entry: Trace_ELBO(num_particles=3),
    "vectorised": lambda entry: Trace_ELBO(num_particles=3, vectorize_particles=True),
    "mean_field": lambda entry: TraceMeanField_ELBO(),
    "graph": lambda entry: TraceGraph_ELBO(),
    "renyi": lambda entry: RenyiELBO(alpha=0.5, num_particles=3),
    "iwae": lambda entry: pv.objectives.IWAE(3),
    "dreg": lambda entry: pv.objectives.DReG(3),
}


def allowed(entry: Entry, loss: str) -> bool:
    """Whether an objective is right for a pair, by its traits."""
    needs = {"vectorised": "broadcasts", "mean_field": "mean_field", "renyi": "renyi_ok"}
    if loss == "own":
        return True
    if "enumerates" in entry.traits or (loss in needs and needs[loss] not in entry.traits):
        return False
    if loss == "dreg" and ("score_function" in entry.traits or entry.name == "autoregressive_flow_guide"):
        return False  # no pathwise gradient; an inverse that reads its order of columns from a tensor
    return loss != "graph" or not entry.traits & {"full_data", "auxiliary", "factor", "no_latent"}


def combinations():
    """Every other objective with each pair that it is right for; two slow ones with one pair of each set of traits."""
    seen = set()
    for entry, loss in itertools.product(pairs(), LOSSES):
        one = entry.values[0]
        kind = (loss, one.traits) if loss in ("iwae", "dreg") else (loss, one.name)
        if loss != "own" and allowed(one, loss) and kind not in seen:
            seen.add(kind)
            yield pytest.param(one, loss, id=f"{one.name}-{loss}")


@pytest.mark.parametrize("entry", pairs())
def test_fifty_steps_give_the_gradients_and_the_weights_of_the_plain_path(entry, monkeypatch):
    is_the_plain_path(entry, "own", monkeypatch, steps=STEPS)


FEW = 12  # two are looked at, three compared, and seven made by the graph: its faults add up at each


@pytest.mark.parametrize(("entry", "loss"), list(combinations()))
def test_any_objective_gives_the_gradients_and_the_weights_of_the_plain_path(entry, loss, monkeypatch):
    is_the_plain_path(entry, loss, monkeypatch, steps=FEW)


def is_the_plain_path(entry, loss, monkeypatch, *, steps):
    _, plain_losses, _, plain = fitted(entry, False, steps=steps, loss=LOSSES[loss](entry))
    seen = []

    monkeypatch.setattr("pyrovae.staged.graph_step.difference", lambda *both, **_: seen.append(both))
    _, losses, run, staged = fitted(entry, "traced", steps=steps, loss=LOSSES[loss](entry))
    assert run.route.startswith("traced")
    assert losses == pytest.approx(plain_losses, rel=1e-5, abs=1e-5)
    same(plain, staged)
    assert len(seen) >= 3
    assert any(gradient.any() for one, _ in seen for gradient in one.gradients.values())
    for one, other in seen:
        is_the_same_pass(one, other)


def is_the_same_pass(plain: Outcome, staged: Outcome) -> None:
    """Tensor by tensor, to 1e-5 of each gradient's norm."""
    assert plain.gradients.keys() == staged.gradients.keys()
    for name, gradient in plain.gradients.items():
        distance = float((gradient - staged.gradients[name]).double().norm())
        assert distance <= 1e-5 * float(gradient.double().norm()) + 1e-12, name
    assert torch.allclose(plain.figures, staged.figures, rtol=1e-5, atol=1e-5)
    for one, other in ((plain.buffers, staged.buffers), (plain.state, staged.state)):
        assert list(one) == list(other)
        for name in one:
            assert torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(plain.random, staged.random)


COMPILED = ("built_in", "batch_norm_and_dropout", "score_function_average_baseline", "bayesian_decoder")


@pytest.mark.parametrize("entry", [one for one in pairs() if one.id in COMPILED])
def test_compiled_code_gives_the_weights_of_the_plain_path(entry):
    _, plain_losses, _, plain = fitted(entry, False)
    _, losses, run, staged = fitted(entry, True)
    assert run.route.startswith("compiled")
    assert losses == pytest.approx(plain_losses, rel=1e-5, abs=1e-5)
    # Batch norm takes out a bias before it: its gradient is 0 but for rounding, whose sign Adam follows.
    ineffective = [name for name in plain if entry.name == "batch_norm_and_dropout" and name.endswith("0.bias")]
    same(*({name: value for name, value in x.items() if name not in ineffective} for x in (plain, staged)))
    assert pyro.distributions.is_validation_enabled()
    assert torch.distributions.Distribution._validate_args
    assert pyro.infer.util.is_validation_enabled()


# --- one pass ---------------------------------------------------------------------------------------------


def outcome(**changed) -> Outcome:
    values = {
        "figures": torch.tensor([3.0, -3.0, 1.0, 2.0]),
        "gradients": {"weight": torch.tensor([1.0, 0.0]), "small": torch.tensor([1e-8])},
        "buffers": {"0": torch.tensor([1.0])},
        "state": {"baseline": torch.tensor([1.0])},
        "random": torch.tensor([1, 2, 3]),
    }
    return Outcome(**{**values, **changed})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"gradients": {"weight": torch.tensor([1.0, 1e-6]), "small": torch.tensor([3e-8])}}, None),  # rounding
        ({"figures": torch.tensor([3.01, -3.0, 1.0, 2.0])}, "the loss is 3 and was expected to be 3.01"),
        ({"figures": torch.tensor([math.nan, -3.0, 1.0, 2.0])}, "the loss"),
        ({"gradients": {"weight": torch.tensor([1.0, 1e-3]), "small": torch.tensor([1e-8])}}, "gradient of 'weight'"),
        ({"gradients": {"weight": torch.tensor([1.0, 0.0])}}, "gradients of small come and go"),
        ({"buffers": {"0": torch.tensor([1.01])}}, "the buffer '0'"),
        ({"state": {"baseline": torch.tensor([1.01])}}, "the loss's own 'baseline'"),
        ({"random": torch.tensor([1, 2, 4])}, "another number of random numbers"),
    ],
)
def test_whatever_differs_is_found(changed, words):
    found = difference(outcome(), outcome(**changed))
    assert found is None if words is None else words in (found or "")


def test_three_steps_in_a_row_are_compared_and_some_later_ones(monkeypatch):
    compared, original = [], StepRoute.compared
    monkeypatch.setattr(
        StepRoute, "compared", lambda road, *found: compared.append(road.count) or original(road, *found)
    )
    pv.fit(small(), X, steps=90, batch_size=20, seed=0, staged="traced", **QUIET)
    assert compared == [2, 3, 4, 20, 68]
    due = [since for since in range(1, 5_000) if StepRoute._due(SimpleNamespace(_since=since))]  # type: ignore[arg-type]  # all it reads
    assert due == [16, 64, 256, 1_024, 2_048, 3_072, 4_096]


def test_a_schedule_is_an_input_of_the_graph():
    losses = {}
    for staged in (False, "traced"):
        run = pv.steps(small(), X, steps=30, batch_size=20, seed=0, temper=pv.linear(0, 1, steps=20), staged=staged)
        losses[staged] = [step.loss for step in run]
    assert losses["traced"] == pytest.approx(losses[False], rel=1e-5)


@pytest.mark.parametrize("waiting", [False, True])
def test_a_target_rate_hears_every_rate(waiting, monkeypatch):
    monkeypatch.setattr(StepRoute, "waits", staticmethod(lambda batch: waiting))
    ends = {}
    for staged in (False, "traced"):
        target = pv.TargetRate(1.0, gain=0.05)
        run = pv.fit(small(), X, steps=40, batch_size=20, seed=0, temper=target, staged=staged, **QUIET)
        ends[staged] = run.history[-1].weight
    assert ends["traced"] == pytest.approx(ends[False], rel=1e-4)
    assert ends["traced"] != 1.0


def test_clipping_averaging_schedules_and_frozen_parameters_are_part_of_the_step():
    options = {
        "clip_norm": 0.5,
        "average": 0.9,
        "learning_rate": {"*.layers.0.*": 0.0, "*": pv.linear(0.01, 0.001, steps=20)},
    }
    weights = {}
    for staged in (False, "traced"):
        vae = small()
        pv.fit(vae, X, steps=40, batch_size=20, seed=0, staged=staged, **options, **QUIET)
        weights[staged] = {name: p.detach().clone() for name, p in vae.named_parameters()}
    same(weights[False], weights["traced"])
    start = dict(small().named_parameters())
    assert torch.equal(
        weights["traced"]["likelihood.network.layers.0.weight"], start["likelihood.network.layers.0.weight"]
    )
    assert not torch.equal(
        weights["traced"]["likelihood.network.layers.2.weight"], start["likelihood.network.layers.2.weight"]
    )


OPTIMISERS = {
    "sgd": lambda: {"optim": lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)},
    "adamw": lambda: {"optim": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)},
    "pyro": lambda: {"optim": pyro.optim.Adam({"lr": 1e-3})},
    "pyro_clipped": lambda: {"optim": pyro.optim.ClippedAdam({"lr": 1e-3, "clip_norm": 0.1})},
    "pyro_schedule": lambda: {
        "optim": pyro.optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 1e-2}, "gamma": 0.5})
    },
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_any_optimiser_follows_a_staged_pass(name):
    weights = {}
    for staged in (False, "traced"):
        vae = small()
        pv.fit(vae, X, steps=30, batch_size=20, seed=0, staged=staged, **OPTIMISERS[name](), **QUIET)
        weights[staged] = vae.state_dict()
    same(weights[False], weights["traced"])


# --- shapes of batches ------------------------------------------------------------------------------------


def test_a_smaller_last_batch_does_not_trace_again(monkeypatch):
    captured = []
    original = StepRoute._trace
    monkeypatch.setattr(StepRoute, "_trace", lambda self, batch: captured.append(batch.rows) or original(self, batch))
    losses = {}
    for staged in (False, "traced"):
        run = pv.fit(small(), X, epochs=12, batch_size=16, seed=0, staged=staged, **QUIET)
        losses[staged] = [row.loss for row in run.history]
    assert losses["traced"] == pytest.approx(losses[False], rel=1e-5)
    assert sorted(captured) == [8, 16]


# --- checkpoints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(False, "traced"), ("traced", False), ("traced", "traced")])
def test_checkpoints_move_between_routes(first, second, tmp_path):
    straight = small()
    pv.fit(straight, X, epochs=20, batch_size=20, seed=0, staged=False, **QUIET)
    pv.fit(small(), X, epochs=10, batch_size=20, seed=0, staged=first, checkpoint=tmp_path, **QUIET)
    vae = small()
    run = pv.fit(vae, X, epochs=20, batch_size=20, seed=0, staged=second, checkpoint=tmp_path, resume=True, **QUIET)
    assert run.step == 40
    same(straight.state_dict(), vae.state_dict())


def test_a_resumed_run_takes_up_its_route(tmp_path, monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
    pv.fit(small(), X, epochs=10, batch_size=20, seed=0, checkpoint=tmp_path, **QUIET)
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: pytest.fail("the route is known"))
    run = pv.fit(small(), X, epochs=20, batch_size=20, seed=0, checkpoint=tmp_path, resume=True, **QUIET)
    assert run.route.startswith("traced")


# --- what cannot be staged --------------------------------------------------------------------------------


def pair_of(noise) -> pv.Pair:
    """An ordinary pair whose guide calls `noise` between its two lines."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(5, 4), nn.Linear(2, 5)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, scale = encoder(x).chunk(2, -1)
        loc = loc + noise(loc)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


def branching(loc):
    return 0.0 if loc.mean().item() > 1e9 else 0.1


def numbers(loc):
    return float(loc.detach().numpy().mean()) * 0.0


def selecting(loc):
    return loc[loc > 0].sum() * 0.01


UNSTAGEABLE = {
    "branching": (branching, r"\.item\(\).*test_staging.py, line \d+"),
    "numbers": (numbers, r"\.numpy\(\)"),
    "numpy_noise": (lambda loc: np.random.normal(), "Python or numpy"),  # noqa: NPY002 - as a user may write it
    "python_noise": (lambda loc: random.random(), "Python or numpy"),
    "selecting": (selecting, "selects by values"),
}


@pytest.mark.parametrize("name", UNSTAGEABLE)
def test_what_a_graph_cannot_repeat_is_said(name):
    noise, words = UNSTAGEABLE[name]
    with pytest.raises(pv.ArgumentError, match=f"cannot be staged.*{words}"):
        pv.fit(pair_of(noise), X, steps=20, batch_size=20, seed=0, staged="traced", **QUIET)
    assert torch.distributions.Distribution._validate_args
    assert torch.tensor(2.0).item() == 2.0


def test_what_others_hook_to_the_garbage_collector_is_not_the_pairs_doing():
    def hook(phase, info):
        time.perf_counter()

    threshold = gc.get_threshold()
    gc.callbacks.append(hook)
    gc.set_threshold(1)
    try:
        run = pv.fit(small(), X, steps=6, batch_size=20, seed=0, staged="traced", **QUIET)
    finally:
        gc.callbacks.remove(hook)
        gc.set_threshold(*threshold)
    assert run.route.startswith("traced")
    assert gc.isenabled()


def test_a_profiler_of_the_users_goes_on():
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        run = pv.fit(small(), X, steps=8, batch_size=20, seed=0, staged="traced", **QUIET)
        small()
    finally:
        profiler.disable()
    assert run.route.startswith("traced")
    calls = {name: number for (*_, name), (number, *_) in pstats.Stats(profiler).stats.items()}  # type: ignore[attr-defined]  # typeshed lacks it
    assert calls["small"] == 2  # before and after


@pytest.mark.parametrize("name", UNSTAGEABLE)
def test_auto_trains_it_on_the_plain_path_with_the_reason(name, monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
    noise, words = UNSTAGEABLE[name]
    pyro.clear_param_store()
    run = pv.fit(pair_of(noise), X, steps=20, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("plain")
    assert re.search(words, run.route)


def splined() -> pv.Pair:
    """A flow that is the identity outside an interval, as Pyro writes it: `y[outside] = x[outside]`."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(5, 4), nn.Linear(2, 5)
    spline = dist.transforms.spline_coupling(2, count_bins=3, hidden_dims=[4], bound=1.0)

    def model(x):
        pyro.module("decoder", decoder)
        pyro.module("spline", spline)
        base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.TransformedDistribution(base, [spline]))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


def test_a_spline_flow_is_staged():
    ends = {}
    for staged in (False, "traced"):
        pyro.clear_param_store()
        run = pv.fit(splined(), X, steps=50, batch_size=20, seed=0, staged=staged, **QUIET)
        ends[staged] = weights_of(run)
    assert run.route.startswith("traced")
    same(ends[False], ends["traced"])


@pytest.mark.parametrize("of_rows", [False, True])
def test_a_selection_that_goes_back_to_its_place_has_no_shape_of_its_own(of_rows):
    def program(x, weight):
        with torch.enable_grad():
            weight = weight.detach().requires_grad_()
            mask = x[:, 0] > 0 if of_rows else x > 0
            inside = (x * weight).cos()
            view = inside.view(-1)
            inside[mask] = (x.sin() * weight)[mask]
            inside[~mask] = 2.0
            (gradient,) = torch.autograd.grad((inside * x).sum(), weight)
        return view.clone(), gradient

    weight = torch.randn(3)
    first, second, none = torch.randn(8, 3), torch.randn(8, 3), -torch.rand(8, 3)
    graph = make_fx(program, tracing_mode="real")(first, weight)
    selections.select_in_place(graph)
    graph.recompile()
    assert not any(node.target is torch.ops.aten.index.Tensor for node in graph.graph.nodes)
    for x in (first, second, none):
        for one, other in zip(program(x, weight), graph(x, weight), strict=True):
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_values_that_never_change_may_be_read():
    flag = torch.tensor(True)
    run = pv.fit(
        pair_of(lambda loc: 0.1 if flag.item() else 0.0), X, steps=30, batch_size=20, seed=0, staged="traced", **QUIET
    )
    assert run.route.startswith("traced")


# --- pairs that change ------------------------------------------------------------------------------------


def test_a_pair_that_changes_at_every_step_is_not_staged():
    switch = SimpleNamespace(on=0.0)
    running = pv.steps(pair_of(lambda loc: switch.on), X, steps=60, batch_size=20, seed=0, staged="auto")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
        run = finished(running, lambda step: setattr(switch, "on", 0.01 * step.index))
    assert run.route.startswith("plain")
    assert "goes on changing: SimpleNamespace.on" in run.route


def finished(running, between=lambda step: None):
    """The end of a loop over steps in which the user does something."""
    while True:
        try:
            between(next(running))
        except StopIteration as end:
            return end.value


LATER = 200  # passes after which the pairs below change: in a graph they do not run, and the change would never come
settings = ModuleType("settings_of_a_user")


class OfClass:
    calls = 0

    def __call__(self, loc):
        OfClass.calls += 1
        return 0.5 if OfClass.calls > LATER else 0.0


class OfObject:
    def __init__(self):
        self.calls = 0

    def __call__(self, loc):
        self.calls += 1
        return 0.5 if self.calls > LATER else 0.0


class OfSlots(OfObject):
    __slots__ = ("calls",)


def in_a_list():
    calls = [0]

    def noise(loc):
        calls[0] += 1
        return 0.5 if calls[0] > LATER else 0.0

    return noise


def in_a_large_dictionary():
    calls = dict.fromkeys("abcdefghijklmnopqrstuvwxyz", 0)

    def noise(loc):
        calls["k"] += 1
        return 0.5 if calls["k"] > LATER else 0.0

    return noise


def by_size(kind, add):
    def make():
        calls = kind()

        def noise(loc):
            add(calls, len(calls))
            return 0.5 if len(calls) > LATER else 0.0

        return noise

    return make


def in_a_closure():
    calls = 0

    def count():
        nonlocal calls
        calls += 1
        return calls

    def ask():
        return count()

    def go_on():
        return ask()

    return lambda loc: 0.5 if go_on() > LATER else 0.0


def by_itertools():
    calls = itertools.count()
    return lambda loc: 0.5 if next(calls) > LATER else 0.0


def by_a_generator():
    calls = (0.5 if number > LATER else 0.0 for number in itertools.count())
    return lambda loc: next(calls)


def on_the_function():
    def noise(loc):
        noise.calls = getattr(noise, "calls", 0) + 1
        return 0.5 if noise.calls > LATER else 0.0

    return noise


def in_a_module():
    settings.calls = 0

    def noise(loc):
        settings.calls += 1
        return 0.5 if settings.calls > LATER else 0.0

    return noise


def deep_inside():
    outer = SimpleNamespace(a=SimpleNamespace(b=SimpleNamespace(c=SimpleNamespace(d=SimpleNamespace(calls=0)))))

    def noise(loc):
        outer.a.b.c.d.calls += 1
        return 0.5 if outer.a.b.c.d.calls > LATER else 0.0

    return noise


def in_an_array():
    calls = np.zeros(1)

    def noise(loc):
        calls[0] += 1
        return 0.5 if calls[0] > LATER else 0.0

    return noise


def held_as(start, go_on, reached):
    def make():
        held = SimpleNamespace(calls=start)

        def noise(loc):
            held.calls = go_on(held.calls)
            return 0.5 * reached(held.calls)

        return noise

    return make


def by_own_numbers(generator):
    def make():
        own = generator(5)
        return lambda loc: 0.5 if own.random() < 1e-3 else 0.0

    return make


def by_the_clock():
    end = time.monotonic() + 1e9
    return lambda loc: 0.5 if time.monotonic() > end else 0.0


COUNTING = {
    "class": (OfClass, r"OfClass.calls was \d+ before a pass and is \d+ after"),
    "object": (OfObject, r"OfObject.calls was \d+ before a pass and is \d+ after"),
    "slots": (OfSlots, r"OfSlots.calls was \d+ before a pass and is \d+ after"),
    "list": (in_a_list, r"calls\[0\] was \d+ before a pass and is \d+ after"),
    "large_dictionary": (in_a_large_dictionary, r"calls.k was \d+"),
    "list_size": (by_size(list, list.append), r"the size of calls was \d+"),
    "set_size": (by_size(set, set.add), r"the size of calls was \d+"),
    "deque": (by_size(deque, deque.append), r"the size of calls was \d+"),
    "closure": (in_a_closure, r"calls was \d+ before a pass and is \d+ after"),
    "itertools": (by_itertools, r"calls was count\(\d+\)"),
    "generator": (by_a_generator, r"holds an iterator \(calls\)"),
    "function": (on_the_function, r"noise.calls was \d+"),
    "module": (in_a_module, r"settings_of_a_user.calls was \d+"),
    "deep": (deep_inside, r"SimpleNamespace.calls was \d+"),
    "array": (in_an_array, "calls is another one after each pass"),
    "numpy": (held_as(np.int64(0), lambda n: n + 1, lambda n: n > LATER), r"calls was np.int64\(\d+\)"),
    "text": (held_as("", lambda text: text + "x", lambda text: len(text) > LATER), "calls was 'x+'"),
    "tensor": (held_as(torch.zeros(()), lambda n: n + 1, lambda n: n > LATER), "SimpleNamespace.calls"),
    "python_generator": (by_own_numbers(random.Random), "own is another one"),
    "numpy_generator": (by_own_numbers(np.random.default_rng), "own is another one"),
    "clock": (by_the_clock, r"reads the clock \(.*test_staging.py, line \d+\)"),
}


@pytest.mark.parametrize("name", COUNTING)
def test_a_pair_that_keeps_something_from_pass_to_pass_is_not_staged(name, monkeypatch):
    monkeypatch.setitem(sys.modules, settings.__name__, settings)
    make, words = COUNTING[name]
    with pytest.raises(pv.ArgumentError, match=f"cannot be staged: .*{words}"):
        pv.fit(pair_of(make()), X, steps=20, batch_size=20, seed=0, staged="traced", **QUIET)


def test_a_pair_that_was_looked_at_in_vain_is_looked_at_no_more(monkeypatch):
    looks, original = [], Changes.look
    monkeypatch.setattr(Changes, "look", lambda changes: looks.append(changes) or original(changes))
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
    run = pv.fit(pair_of(OfObject()), X, steps=40, batch_size=20, seed=0, **QUIET)
    assert "OfObject.calls" in run.route
    assert len(looks) == 3  # after one pass, before and after the next


class Averaging(nn.Module):
    """Keeps a moving average in a plain attribute, changed in place, and a buffer of which a part is."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)
        self.mean = torch.zeros(5)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        self.seen[1:].add_(0.01)
        self.rows, self.last = len(x), x  # which nobody reads
        return self.layer(x - self.mean) + self.seen.mean()


class Spectral(nn.Sequential):
    def __init__(self):
        super().__init__(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 8)), nn.Linear(8, 4))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.out(self.two(torch.tanh(self.one(x))))


def pair_with(encoder: nn.Module) -> pv.Pair:
    decoder = nn.Linear(2, 5)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


def both_ways(make, between=lambda pair, step: None, *, steps=60, data=X, **options):
    """Losses, end and held tensors of a plain and of a staged loop in which the user does something."""
    ways = []
    for staged in (False, "traced"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        pair, losses = make(), []
        given = {name: value() if name == "optim" else value for name, value in options.items()}
        running = pv.steps(pair, data.clone(), steps=steps, batch_size=16, seed=0, staged=staged, **given)

        def note(step, pair=pair, losses=losses):
            losses.append(step.loss)
            between(pair, step)

        ways.append((losses, finished(running, note)))
    (plain, _), (losses, run) = ways
    assert losses == pytest.approx(plain, rel=1e-5, abs=1e-5)
    return run


@pytest.mark.parametrize("kind", [Averaging, Spectral, Tied])
def test_what_a_module_keeps_in_place_is_part_of_the_step(kind):
    ends = []

    def make():
        ends.append(kind())
        return pair_with(ends[-1])

    assert both_ways(make).route.startswith("traced")
    same(*({name: value.detach() for name, value in {**end.state_dict(), **tensors(end)}.items()} for end in ends))


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(module).items() if name == "mean"}


def test_modules_may_share_a_part_with_buffers():
    def make():
        scaling = nn.BatchNorm1d(5, affine=False)
        decoder = nn.Sequential(nn.Linear(2, 5), scaling)
        return pv.VAE(
            pv.StandardNormal(2),
            pv.Normal(decoder, scale=1.0),
            pv.DiagNormal(nn.Sequential(scaling, nn.Linear(5, 4))),
        )

    assert both_ways(make).route.startswith("traced")


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTM(1, 3, batch_first=True), nn.Linear(3, 4)

    def forward(self, x):
        return self.out(self.cell(x[..., None])[0][:, -1])


class Replacing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x):
        self.layer.weight.data = self.layer.weight.data.clamp(-0.1, 0.1)
        return self.layer(x)


class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x):
        x[:, 0].mul_(0.9)
        return self.layer(x)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Untraceable, "does not run"), (Replacing, r"\.data = "), (Scaling, "changes its data in place")],
)
def test_what_a_graph_would_do_otherwise_goes_on_plain(kind, words, monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
    ends = {}
    for staged in (False, "auto"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        ends[staged] = pv.fit(pair_with(kind()), X.clone(), steps=40, batch_size=16, seed=0, staged=staged, **QUIET)
    assert ends["auto"].route.startswith("plain")
    assert re.search(words, ends["auto"].route)
    assert ends["auto"].history[-1].loss == ends[False].history[-1].loss


# --- what the user changes between two steps ----------------------------------------------------------------

switch = SimpleNamespace(on=0.0, tensor=torch.tensor(0.0), flag=torch.tensor(False))


class OwnAdam:
    """Keeps the optimiser where its user can reach it."""

    def __init__(self, parameters=None):
        self.adam: torch.optim.Adam

    def __call__(self, parameters):
        self.adam = OwnAdam.last = torch.optim.Adam(parameters, lr=1e-2)
        return self.adam


def pyro_adam():
    OwnAdam.last = pyro.optim.Adam({"lr": 1e-2})
    return OwnAdam.last


def forget_momentum(vae, step):
    OwnAdam.last.state.clear()


def hook_a_clamp(vae, step):
    OwnAdam.last.register_step_post_hook(lambda *_: [p.data.clamp_(-0.3, 0.3) for p in vae.parameters()])


def slow_one_down(vae, step):
    list(OwnAdam.last.optim_objs.values())[-1].param_groups[0]["lr"] = 0.0


def replace_weights(vae, step):
    vae.likelihood.network.layers[0].weight = nn.Parameter(torch.zeros(8, 2))


BETWEEN = {
    "number": (lambda vae, step: setattr(switch, "on", 1.0), {}),
    "tensor": (lambda vae, step: setattr(switch, "tensor", torch.tensor(1.0)), {}),
    "filled": (lambda vae, step: switch.tensor.fill_(1.0), {}),
    "flag": (lambda vae, step: switch.flag.fill_(True), {}),
    "environment": (lambda vae, step: os.environ.__setitem__("PYROVAE_TEST_SHIFT", "0.5"), {}),
    "dropout": (lambda vae, step: setattr(vae.likelihood.network.layers[2], "p", 0.1), {}),
    "eval": (lambda vae, step: vae.likelihood.eval(), {}),
    "frozen": (lambda vae, step: vae.posterior.requires_grad_(False), {}),
    "layer": (lambda vae, step: vae.likelihood.network.layers.append(nn.Tanh()), {}),
    "hook": (lambda vae, step: vae.likelihood.network.register_forward_hook(lambda m, i, o: 0.1 * o), {}),
    "weights": (replace_weights, {}),
    "adam_state": (forget_momentum, {"optim": OwnAdam}),
    "adam_hook": (hook_a_clamp, {"optim": OwnAdam}),
    "adam_rate": (lambda vae, step: OwnAdam.last.param_groups[0].update(lr=1e-4), {"optim": OwnAdam}),
    "pyro_rate": (slow_one_down, {"optim": pyro_adam}),
}


def changeable() -> pv.VAE:
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 5))

        def forward(self, z):
            shift = switch.on + switch.tensor + (0.3 if switch.flag.item() else 0.0)
            return self.layers(z) + shift + float(os.environ["PYROVAE_TEST_SHIFT"])

    return pv.VAE(pv.StandardNormal(2), pv.Normal(Network(), scale=1.0), pv.DiagNormal(pv.MLP(5, [8], 4)))


@pytest.mark.parametrize("name", BETWEEN)
def test_what_the_user_changes_between_steps_takes_effect_at_once(name, monkeypatch):
    monkeypatch.setenv("PYROVAE_TEST_SHIFT", "0.0")
    change, options = BETWEEN[name]

    def make():
        switch.on, switch.tensor, switch.flag = 0.0, torch.tensor(0.0), torch.tensor(False)
        os.environ["PYROVAE_TEST_SHIFT"] = "0.0"
        return changeable()

    run = both_ways(make, lambda vae, step: change(vae, step) if step.index == 29 else None, **options)
    assert run.route.startswith("traced")


@pytest.mark.parametrize("change", ["clear", "set", "delete"])
def test_a_parameter_that_is_replaced_in_the_store_is_trained(change):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).expand([len(x), 5]).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("shift", torch.tensor(1.0)) + x.mean(1), 0.5))

    shifts = []

    def act(pair, step):
        store = pyro.get_param_store()
        if step.index == 29 and change == "clear":
            store.clear()
        if step.index == 29 and change == "set":
            store["shift"] = torch.tensor(3.0)
        if step.index == 29 and change == "delete":
            del store["shift"]
        shifts.append(float(store["shift"].detach()) if "shift" in store else None)

    both_ways(lambda: pv.Pair(model, guide), act, learning_rate=1e-2)
    assert shifts[-1] != shifts[31]
    assert abs(shifts[-1] - shifts[31]) > 0.1


def test_a_change_that_cannot_be_seen_is_caught_later_and_traced_again():
    def losses_of(staged):
        pyro.clear_param_store()
        held, losses = [0.0] * 100, []  # too long to be looked at before each step
        for step in pv.steps(pair_of(lambda loc: held[-1]), X, steps=120, batch_size=20, seed=0, staged=staged):
            held[-1] = 1.0 if step.index >= 10 else 0.0
            losses.append(step.loss)
        return losses

    plain = losses_of(False)
    with pytest.warns(pv.PyrovaeWarning, match="the pair is not what it was") as caught:
        losses = losses_of("traced")
    assert len(caught) == 1
    assert losses[:10] == pytest.approx(plain[:10], rel=1e-5)
    # Ten steps or so were made with the old structure; from then on the two train the same pair.
    assert sum(losses[-20:]) == pytest.approx(sum(plain[-20:]), rel=0.05)


def test_a_loop_of_the_users_between_steps_meets_no_gradient():
    def between(vae, step):
        if step.index in (10, 30):
            pyro.infer.SVI(vae.model, vae.guide, pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO()).step(X)

    both_ways(small, between)


@pytest.mark.parametrize("off", [0.0, 1.0])
def test_kernels_are_replayed_where_they_give_what_the_pass_gives(off, monkeypatch, caplog):
    class Recording:
        """What stands on a device; here the function itself, and something added."""

        def __init__(self, function, examples, moving):
            made.append(self)
            self.function, self.calls = function, 0

        def __call__(self, *inputs):
            self.calls += 1
            figures, *rest = self.function(*inputs)
            return [figures + off, *rest]

    made: list[Recording] = []
    gradients: list[torch.Tensor | None] = []
    monkeypatch.setattr("pyrovae.staged.graph_step.Replayed", Recording)
    monkeypatch.setattr(StepRoute, "wants_recording", lambda self, batch: self._since == self._to_compare == 0)
    with caplog.at_level(logging.INFO, logger="pyrovae"):
        both_ways(small, lambda vae, step: gradients.extend(p.grad for p in vae.parameters()))
    assert made
    assert all((one.calls > 1) == (off == 0) for one in made)
    assert any("kernels are not replayed (the loss is" in record.message for record in caplog.records) == (off != 0)
    assert not any(gradient is not None for gradient in gradients)


# --- numbers that go bad ----------------------------------------------------------------------------------


def exploding(staged, **options):
    """A run whose data are harmless but for a value in the 31st batch on which the loss overflows."""
    calls = itertools.count()
    vae = small()

    def transform(x):
        return x + (1e30 if next(calls) >= 31 else 0.0)

    running = pv.steps(vae, X, steps=60, batch_size=20, seed=0, staged=staged, transform=transform, **options)
    while True:
        weights = [p.detach().clone() for p in vae.parameters()]
        try:
            next(running)
        except pv.DivergedError as error:
            caught = error
            break
    assert all(torch.equal(p, before) for p, before in zip(vae.parameters(), weights, strict=True))
    return caught


def test_a_bad_step_is_made_again_by_the_plain_path_which_says_what_is_wrong():
    plain, staged = exploding(False), exploding("traced")
    assert str(staged) == str(plain)
    assert (staged.step, staged.site) == (plain.step, plain.site)
    assert staged.step > 20


def test_figures_that_nobody_looks_at_are_found_bad_in_the_end(monkeypatch):
    plain = exploding(False)
    monkeypatch.setattr(StepRoute, "waits", staticmethod(lambda batch: True))
    staged = exploding_unseen()
    assert staged.step == plain.step
    assert str(staged) == str(plain)


def exploding_unseen():
    calls = itertools.count()
    vae = small()

    def transform(x):
        return x + (1e30 if next(calls) >= 31 else 0.0)

    with pytest.raises(pv.DivergedError) as caught:
        pv.fit(vae, X, steps=60, batch_size=20, seed=0, staged="traced", transform=transform, **QUIET)
    good = small()
    pv.fit(good, X, steps=caught.value.step, batch_size=20, seed=0, staged=False, **QUIET)
    same(good.state_dict(), vae.state_dict())
    return caught.value


@pytest.mark.parametrize(
    "entry", [one for one in pairs() if one.id in ("built_in", "batch_norm_and_dropout", "covariates")]
)
def test_figures_may_wait_on_the_device(entry, monkeypatch):
    _, losses, _, _ = fitted(entry, False)
    monkeypatch.setattr(StepRoute, "waits", staticmethod(lambda batch: True))
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    pair, data = entry.make()
    steps = list(pv.steps(pair, data, steps=STEPS, batch_size=BATCH, seed=0, device="cpu", staged="traced"))
    assert [step.loss for step in steps] == pytest.approx(losses, rel=1e-5)
    assert [step.elbo for step in steps] == [pytest.approx(-(step.rate + step.distortion)) for step in steps]


def test_data_outside_the_support_are_found_in_a_staged_step():
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
    calls = itertools.count()

    def transform(x):
        return x + (0.5 if next(calls) >= 31 else 0.0)

    with pytest.raises(pv.DataError, match="outside the likelihood's support"):
        pv.fit(vae, (X > 0).float(), steps=60, batch_size=20, seed=0, staged="traced", transform=transform, **QUIET)


@pytest.mark.parametrize("validated", [True, False])
def test_values_that_nobody_validates_are_no_reason_for_a_plain_step(validated, monkeypatch):
    plain = []
    original = StepMaker._plain
    monkeypatch.setattr(StepMaker, "_plain", lambda maker, batch: plain.append(batch) or original(maker, batch))
    torch.manual_seed(0)
    grey = torch.rand(40, 5)

    def model(x):
        decoder = pyro.module("decoder", net)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z), validate_args=False).to_event(1), obs=x)

    net, encoder = nn.Linear(2, 5), nn.Linear(5, 4)
    guide = pair_with(encoder).guide
    with warnings.catch_warnings(), pyro.validation_enabled(validated):
        warnings.simplefilter("ignore", pv.PyrovaeWarning)
        run = pv.fit(
            pv.Pair(model, guide),
            grey,
            steps=30,
            batch_size=20,
            seed=0,
            staged="traced",
            transform=torch.clone,
            **QUIET,
        )
    assert run.route.startswith("traced")
    assert not plain


# --- "auto" -----------------------------------------------------------------------------------------------


def test_changes_of_route_have_to_repay_themselves():
    assert worth_tracing(plain=2e-3, steps_left=8_000).go
    assert not worth_tracing(plain=2e-3, steps_left=200).go
    assert not worth_tracing(plain=2e-3, steps_left=8_000, known=10.0).go
    assert worth_compiling(staged=1e-3, steps_left=1e6, cost=15.0).go
    few = worth_compiling(staged=1e-3, steps_left=20_000, cost=15.0)
    assert not few.go
    assert "20 s left do not repay 15 s" in few.why


def test_a_short_run_stays_plain_and_says_why(caplog):
    with caplog.at_level(logging.INFO, logger="pyrovae"):
        run = pv.fit(small(), X, epochs=10, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("plain")
    assert "too few to repay tracing" in run.route
    assert not any("traced" in record.message for record in caplog.records)


def test_a_long_run_is_traced_and_a_slower_route_left(monkeypatch):
    run = pv.fit(small(), X, steps=3_000, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("traced")
    assert "plain" in run.route
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
    monkeypatch.setattr(StepTimes, "typical", lambda self: next(times))
    times = iter([1.0, 1.0, *[2.0] * 50])
    run = pv.fit(small(), X, steps=60, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("plain")
    assert "traced was no faster" in run.route


def test_code_is_compiled_beside_the_training(monkeypatch):
    class AtOnce:
        def __init__(self, module, examples):
            self.function, self.error = module, None

        def done(self):
            return True

    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
    monkeypatch.setattr(step_route, "worth_compiling", lambda *_: SimpleNamespace(go=True, why="asked to"))
    monkeypatch.setattr(step_route, "Compiling", AtOnce)
    monkeypatch.setattr(StepTimes, "typical", lambda self: next(times))
    times = iter([3.0, 2.0, 2.0, 2.0, *[1.0] * 50])
    straight, vae = small(), small()
    pv.fit(straight, X, steps=60, batch_size=20, seed=0, staged=False, **QUIET)
    run = pv.fit(vae, X, steps=60, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("compiled")
    same(straight.state_dict(), vae.state_dict())


def test_modules_run_while_the_compiler_traces_in_another_thread():
    tracing, done = threading.Event(), threading.Event()

    def traced(x):
        tracing.set()
        done.wait(30)
        return x + 1

    def trace():
        with compiling.own_calls_only():
            torch.fx.symbolic_trace(traced)

    thread = threading.Thread(target=trace)
    thread.start()
    try:
        assert tracing.wait(30)
        # The tracer knows no such module, and would refuse it.
        assert nn.Linear(2, 3)(torch.zeros(1, 2)).shape == (1, 3)
    finally:
        done.set()
        thread.join()


def test_a_compilation_that_outlives_its_training_leaves_validation_and_random_numbers_alone(monkeypatch):
    started, end = threading.Event(), threading.Event()
    patched: list[threading.Thread] = []
    states = (torch.get_rng_state, lambda: repr(np.random.get_state()), random.getstate)  # noqa: NPY002  # the old global state is what must stay

    def patch():
        patched.append(threading.current_thread())
        torch.distributions.Distribution.set_default_validate_args(False)

    def standalone_compile(module, examples, **_):
        """What of torch's own could be seen outside."""
        eval_frame.TorchPatcher.patch()
        with preserve_rng_state():
            started.set()
            end.wait(30)
        return module

    monkeypatch.setattr("torch._inductor.standalone_compile", standalone_compile)
    monkeypatch.setattr(eval_frame.TorchPatcher, "patch", functools.cache(patch))
    compiling.make_patches.cache_clear()
    under_way = compiling.Compiling(make_fx(torch.sin)(X), [X])
    try:
        assert started.wait(30)
        assert patched == [threading.current_thread()]
        assert torch.distributions.Distribution._validate_args
        pyro.enable_validation(False)  # the user's own doing
        torch.rand(3)
        before = [state() for state in states]
        end.set()
        under_way._thread.join()
        assert under_way.function is not None
        assert not torch.distributions.Distribution._validate_args
        assert not pyro.infer.util.is_validation_enabled()
        for state, value in zip(states, before, strict=True):
            assert torch.equal(state(), value) if isinstance(value, torch.Tensor) else state() == value
    finally:
        end.set()
        pyro.enable_validation(True)
    state = torch.random.get_rng_state()
    torch.rand(3)
    torch.random.set_rng_state(state)  # works as before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_was_compiled_once_takes_little_time_the_next_time(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.standalone_compile", lambda module, *_, **options: module)
    module, other = make_fx(torch.sin)(X), make_fx(torch.cos)(X)
    before = compiling.seconds_to_compile(module)
    compiling.compile_graph(module, [X])
    assert compiling.seconds_to_compile(module) < before / 2
    assert compiling.seconds_to_compile(make_fx(torch.sin)(X)) < before / 2  # the same of another run
    assert compiling.seconds_to_compile(other) == before
    assert compiling.seconds_to_compile(make_fx(torch.sin)(X[:3])) == before


def test_two_compilations_follow_each_other(monkeypatch):
    at_once, most = [], []

    def standalone_compile(module, examples, **_):
        at_once.append(module)
        time.sleep(0.05)
        most.append(len(at_once))
        at_once.clear()
        return module

    monkeypatch.setattr("torch._inductor.standalone_compile", standalone_compile)
    before = compiling._Patcher.patch_method
    both = [compiling.Compiling(make_fx(torch.sin)(X), [X]) for _ in range(2)]
    for one in both:
        one._thread.join()
    assert most == [1, 1]
    assert compiling._Patcher.patch_method is before


@pytest.mark.parametrize("weight", [pv.linear(0, 1, steps=10), pv.cyclic(0, 1, steps=40)])
def test_the_graph_of_most_steps_is_compiled_and_no_other(weight, monkeypatch):
    """A weight of 0 makes a graph of its own, often that of the first step."""
    compiled = []
    monkeypatch.setattr(step_route, "compile_graph", lambda module, _: compiled.append(module) or compiled_by(module))
    run = pv.fit(small(), X, steps=60, batch_size=20, seed=0, staged=True, temper=weight, **QUIET)
    assert run.route.startswith("compiled")
    assert len(compiled) == 1
    with pytest.raises(pv.ArgumentError, match="cannot be staged"):
        pv.fit(pair_of(branching), X, steps=60, batch_size=20, seed=0, staged=True, temper=weight, **QUIET)


def compiled_by(module):
    return lambda *inputs: module(*inputs)


def test_nothing_compiles_in_a_thread_while_workers_are_copied(monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", lambda *_: SimpleNamespace(go=True, why="asked to"))
    monkeypatch.setattr(step_route, "worth_compiling", lambda *_: SimpleNamespace(go=True, why="asked to"))
    monkeypatch.setattr(step_route, "Compiling", lambda *_: pytest.fail("in a thread"))
    monkeypatch.setattr(step_route, "compile_graph", lambda module, examples: lambda *inputs: module(*inputs))
    monkeypatch.setattr(StepTimes, "typical", lambda self: 1.0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=20, num_workers=1)
    run = pv.fit(small(), loader, epochs=15, seed=0, **QUIET)
    assert run.route.startswith("compiled")


@pytest.mark.parametrize("staged", ["fast", 1, 0, None, "plain"])
def test_other_words_are_refused(staged):
    with pytest.raises(pv.ArgumentError, match="staged="):
        pv.fit(small(), X, steps=1, staged=staged, **QUIET)


# --- products ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["plain", "left", "right", "both"])
def test_products_by_onednn_are_in_single_precision(layout):
    left = torch.randn(64, 96) if layout in ("plain", "right") else torch.randn(96, 64).t()
    right = torch.randn(96, 48) if layout in ("plain", "left") else torch.randn(48, 96).t()
    bias = torch.randn(48)
    exact = left.double() @ right.double() + bias.double()
    error = float((products.product(left, right, bias) - exact).norm() / exact.norm())
    assert error < 1e-6
    assert float((products.product(left, right, None) - (exact - bias)).norm() / exact.norm()) < 1e-6


def test_products_are_replaced_where_that_is_faster():
    def function(left, right, bias):
        return torch.addmm(bias, left, right).sum(0, keepdim=True) @ right.t()

    given = (torch.randn(8, 4), torch.randn(4, 6), torch.randn(6))
    module = make_fx(function)(*given)
    assert graphs.replace_products(module, lambda left, right: left.shape[0] == 8, products.product) == 1
    graphs.plain(module).graph.lint()
    targets = [node.target for node in module.graph.nodes]
    assert targets.count(products.product) == 1
    assert torch.ops.aten.mm.default in targets
    assert torch.allclose(module(*given), function(*given), atol=1e-5)


def test_the_route_of_a_product_is_measured(monkeypatch):
    times = {"mm": 1.0, "onednn": 2.0}
    monkeypatch.setattr(
        products, "_timed", lambda route: times["onednn" if "onednn" in route.__code__.co_names[0] else "mm"]
    )
    big, other = torch.randn(256, 256), torch.randn(256, 257)
    assert not products.onednn_is_faster(big, other)
    times["onednn"] = 0.5
    products._measure.cache_clear()
    assert products.onednn_is_faster(big, other)
    assert not products.onednn_is_faster(big.double(), other.double())
    assert not products.onednn_is_faster(big[:4, :4], other[:4, :4])
    products._measure.cache_clear()


def test_what_else_the_machine_does_decides_no_route(monkeypatch):
    disturbed = iter(itertools.cycle([9.0, 9.0, 9.0, 1.0]))
    monkeypatch.setattr(
        products, "_timed", lambda route: 2.0 if "onednn" in route.__code__.co_names[0] else next(disturbed)
    )
    products._measure.cache_clear()
    assert not products.onednn_is_faster(torch.randn(256, 256), torch.randn(256, 258))
    products._measure.cache_clear()


# --- precision --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("staged", [False, "traced"])
def test_bfloat16_is_for_products_alone(staged):
    kinds: dict[str, set] = {"product": set(), "density": set()}

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 2) * 0.3)

        def forward(self, z):
            result = nn.functional.linear(z, self.weight)
            kinds["product"].add(result.dtype)
            return result

    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(Watching(), scale=1.0), pv.DiagNormal(pv.MLP(5, [8], 4)))
    losses = {}
    for precision in (None, "bfloat16"):
        torch.manual_seed(0)
        vae.load_state_dict(small_start(vae))
        run = pv.fit(vae, X, steps=30, batch_size=20, seed=0, staged=staged, precision=precision, **QUIET)
        losses[precision] = run.history[-1].loss
    assert kinds["product"] == {torch.float32}
    assert {p.dtype for p in vae.parameters()} == {torch.float32}
    assert losses["bfloat16"] == pytest.approx(losses[None], rel=2e-2)
    assert losses["bfloat16"] != losses[None]


_START: dict[int, dict] = {}


def small_start(vae):
    return _START.setdefault(id(vae), {name: value.clone() for name, value in vae.state_dict().items()})


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_the_graph_is_in_the_precision_that_was_asked_for(precision, monkeypatch):
    made, original = [], StepRoute._trace
    monkeypatch.setattr(StepRoute, "_trace", lambda self, batch: made.append(self) or original(self, batch))
    pv.fit(small(), X, steps=6, batch_size=20, seed=0, staged="traced", precision=precision, **QUIET)
    nodes = made[0].graph.module.graph.nodes
    kinds = [node.meta["val"].dtype for node in nodes if hasattr(node.meta.get("val"), "dtype")]
    assert (torch.bfloat16 in kinds) == (precision is not None)


def test_log_probabilities_keep_their_precision():
    from pyrovae.staged.precision import computing_in

    x, weight = torch.randn(64, 64), torch.randn(64, 64)
    correlated = dist.LowRankMultivariateNormal(torch.zeros(64), torch.randn(64, 3), torch.ones(64))
    exact = correlated.log_prob(x)
    with computing_in("bfloat16"):
        low = nn.functional.linear(x, weight)
        assert torch.equal(correlated.log_prob(x), exact)
    assert low.dtype == torch.float32
    assert not torch.equal(low, nn.functional.linear(x, weight))
    assert torch.allclose(low, nn.functional.linear(x, weight), rtol=0.05, atol=0.2)


@pytest.mark.parametrize("precision", ["float16", "bf16", 16])
def test_other_precisions_are_refused(precision):
    with pytest.raises(pv.ArgumentError, match="precision="):
        pv.fit(small(), X, steps=1, precision=precision, **QUIET)


@pytest.mark.parametrize("name", ["adamw", "pyro", "pyro_schedule", "sgd", "pyro_clipped"])
def test_adam_of_any_make_is_one_kernel(name, monkeypatch):
    made = []
    original = GraphStep._updating
    monkeypatch.setattr(GraphStep, "_updating", lambda graph: made.append(original(graph)) or made[-1])
    pv.fit(small(), X, steps=8, batch_size=20, seed=0, staged="traced", **OPTIMISERS[name](), **QUIET)
    assert (type(made[0]).__name__ == "Fused") == (name in ("adamw", "pyro", "pyro_schedule"))


def test_groups_that_start_alike_keep_their_own_schedules():
    rates = {"vae.likelihood.*": pv.linear(0.01, 0.0, steps=10), "*": pv.linear(0.01, 0.1, steps=10)}
    weights = {}
    for staged in (False, "traced"):
        vae = small()
        pv.fit(vae, X, steps=30, batch_size=20, seed=0, staged=staged, learning_rate=rates, **QUIET)
        weights[staged] = vae.state_dict()
    same(weights[False], weights["traced"])


def cleared(held, before):
    for adam in held():
        adam.state.clear()


def loaded(held, before):
    for adam, state in zip(held(), before, strict=True):
        adam.load_state_dict(state)


def taken_out(held, before):
    held()[0].param_groups[0]["params"].pop()


def slowed(held, before):
    held()[0].param_groups[0]["lr"] = 1e-6


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("torch", cleared),
        ("torch", loaded),
        ("torch", taken_out),
        ("pyro", cleared),
        ("pyro", loaded),
        ("pyro", slowed),
    ],
)
def test_an_optimiser_changed_in_the_users_loop_is_followed(kind, change):
    ends = {}
    for staged in (False, "traced"):
        pyro.clear_param_store()
        made = []

        def torchs(parameters, made=made):
            made.append(torch.optim.Adam(parameters, lr=1e-2))
            return made[0]

        optim = torchs if kind == "torch" else pyro.optim.Adam({"lr": 1e-2})
        vae = small()
        names = {id(parameter): name for name, parameter in vae.named_parameters()}

        def held(made=made, optim=optim, names=names):
            if made:
                return made
            return [optim.optim_objs[p] for p in sorted(optim.optim_objs, key=lambda p: names[id(p)])]

        for step in pv.steps(vae, X, steps=30, batch_size=20, seed=0, staged=staged, optim=optim, device="cpu"):
            if step.index == 4:
                before = [copy.deepcopy(adam.state_dict()) for adam in held()]
            if step.index == 15:
                change(held, before)
        ends[staged] = vae.state_dict()
    same(ends[False], ends["traced"])


# --- CUDA -------------------------------------------------------------------------------------------------

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@cuda
@pytest.mark.parametrize("entry", pairs())
def test_fifty_steps_on_cuda_give_the_weights_of_the_plain_path(entry):
    ends = {}
    for staged in (False, "traced"):
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        pair, data = entry.make()
        size = ROWS if entry.traits & {"full_data", "local_autoguide"} else BATCH
        run = pv.fit(
            pair, data, steps=STEPS, batch_size=size, seed=0, loss=entry.loss(), device="cuda", staged=staged,
            progress=False,
        )  # fmt: skip
        ends[staged] = (weights_of(run), run.history[-1].loss)
    same(ends[False][0], ends["traced"][0])
    assert ends["traced"][1] == pytest.approx(ends[False][1], rel=1e-4)


@cuda
def test_an_epoch_on_cuda_does_not_wait_for_the_device():
    x = X.repeat(20, 1).cuda()
    running = pv.steps(small(), x, steps=400, batch_size=20, seed=0, device="cuda", staged="traced")
    for _ in range(30):
        next(running)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            next(running)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert math.isfinite(next(running).loss)


@pytest.mark.parametrize("eps", [1e-8, 0.0])
def test_moments_of_dead_weights_never_become_subnormal(eps):
    def make():
        parameters = {"dead": torch.ones(20, requires_grad=True), "live": torch.ones(20, requires_grad=True)}
        for parameter in parameters.values():
            parameter.grad = torch.full((20,), 1e-3)
        optimiser = make_optimiser(lambda held: torch.optim.Adam(held, eps=eps, betas=(0.9, 0.9)), 1e-3)
        optimiser.update(parameters, 0)
        return parameters, optimiser

    (plain, adam), (staged, optimiser) = make(), make()
    update = make_update(optimiser, staged)
    plain["dead"].grad = torch.zeros(20)
    for step in range(1, 1_300):  # 0.9 ** 820 is the last normal number
        adam.update(plain, step)
        update([torch.zeros(20), plain["live"].grad], step, None)
    one, other = adam.optimizers()[0].state, optimiser.optimizers()[0].state
    assert 0 < float(one[plain["dead"]]["exp_avg"].max()) < torch.finfo(torch.float32).tiny
    assert not other[staged["dead"]]["exp_avg"].any()
    assert bool(other[staged["dead"]]["exp_avg_sq"].any()) == (eps == 0)  # which must not be divided by 0
    assert torch.equal(staged["live"], plain["live"])
    assert torch.allclose(staged["dead"], plain["dead"], rtol=1e-6, atol=0)
