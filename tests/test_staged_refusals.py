"""What a graph cannot repeat is found before it is trusted, and said."""

from __future__ import annotations

import cProfile
import gc
import pstats
import random
import re
import time

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from staged_pairs import QUIET, X, asked_to, branching, pair_of, pair_with, small
from torch import nn

import pyrovae as pv
from pyrovae.staged.routes import step_route


def numbers(loc):
    return float(loc.detach().numpy().mean()) * 0.0


def selecting(loc):
    return loc[loc > 0].sum() * 0.01


def counting(loc):
    return 0.01 * len(loc[loc > 0])


UNSTAGEABLE = {
    "branching": (branching, r"\.item\(\).*staged_pairs.py, line \d+"),
    "numbers": (numbers, r"\.numpy\(\) in .*staged_refusals.py, line \d+"),
    "numpy_noise": (lambda loc: np.random.normal(), r"Python or numpy in .*staged_refusals.py, line \d+"),  # noqa: NPY002 - as a user may write it
    "python_noise": (lambda loc: random.random(), r"Python or numpy in .*staged_refusals.py, line \d+"),
    "counting": (counting, r"counts what a selection by values has left \(.*staged_refusals.py, line \d+\)"),
    "selecting": (selecting, r"selects by values \(aten.index.Tensor in .*staged_refusals.py, line \d+\)"),
}


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
@pytest.mark.parametrize("name", UNSTAGEABLE)
def test_what_a_graph_cannot_repeat_is_said(name):
    noise, words = UNSTAGEABLE[name]
    with pytest.raises(pv.ArgumentError, match=f"cannot be staged.*{words}"):
        pv.fit(pair_of(noise), X, steps=20, batch_size=20, seed=0, staged="traced", **QUIET)
    assert torch.distributions.Distribution._validate_args
    assert torch.tensor(2.0).item() == 2.0


@pytest.mark.filterwarnings("ignore:.reads-other-rows")
@pytest.mark.parametrize("name", UNSTAGEABLE)
def test_auto_trains_it_on_the_plain_path_with_the_reason(name, monkeypatch):
    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    noise, words = UNSTAGEABLE[name]
    pyro.clear_param_store()
    run = pv.fit(pair_of(noise), X, steps=20, batch_size=20, seed=0, **QUIET)
    assert run.route.startswith("plain")
    assert re.search(words, run.route)


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


def test_values_that_never_change_may_be_read():
    flag = torch.tensor(True)
    run = pv.fit(
        pair_of(lambda loc: 0.1 if flag.item() else 0.0), X, steps=30, batch_size=20, seed=0, staged="traced", **QUIET
    )
    assert run.route.startswith("traced")


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
    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    ends = {}
    for staged in (False, "auto"):
        pyro.clear_param_store()
        torch.manual_seed(0)
        ends[staged] = pv.fit(pair_with(kind()), X.clone(), steps=40, batch_size=16, seed=0, staged=staged, **QUIET)
    assert ends["auto"].route.startswith("plain")
    assert re.search(words, ends["auto"].route)
    assert ends["auto"].history[-1].loss == ends[False].history[-1].loss


class Choosy(dist.Normal):
    def log_prob(self, value):
        return super().log_prob(value) + (0.0 if self.loc.sum().item() < 1e9 else 1.0)


def test_the_density_of_a_site_is_named_beside_the_line():
    def model(x):
        loc = pyro.param("loc", torch.zeros(5))
        with pyro.plate("data", len(x)):
            pyro.sample("x", Choosy(loc, 1.0).to_event(1), obs=x)

    with pytest.raises(pv.ArgumentError, match=r"staged_refusals.py, line \d+, for the density of site 'x'"):
        pv.fit(pv.Pair(model, lambda x: None), X, steps=20, batch_size=20, seed=0, staged="traced", **QUIET)
