"""Pairs that keep something from pass to pass, in every place where Python can keep it, are not staged."""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections import deque
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from staged_pairs import QUIET, X, asked_to, pair_of

import pyrovae as pv
from pyrovae.staged.pair_code.changes import Changes
from pyrovae.staged.routes import step_route

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


def behind_a_tensor():
    calls = torch.zeros(())

    def noise(loc):
        calls.data = calls.data + 1
        return 0.5 * (calls > LATER)

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
    "data": (behind_a_tensor, r"puts other numbers behind a tensor that it holds, calls \(.data = ...\)"),
    "python_generator": (by_own_numbers(random.Random), "own is another one"),
    "numpy_generator": (by_own_numbers(np.random.default_rng), "own is another one"),
    "clock": (by_the_clock, r"reads the clock \(.*test_staged_counting.py, line \d+\)"),
}


@pytest.mark.filterwarnings("ignore:the pair takes from an iterator")
@pytest.mark.parametrize("name", COUNTING)
def test_a_pair_that_keeps_something_from_pass_to_pass_is_not_staged(name, monkeypatch):
    monkeypatch.setitem(sys.modules, settings.__name__, settings)
    make, words = COUNTING[name]
    with pytest.raises(pv.ArgumentError, match=f"cannot be staged: .*{words}"):
        pv.fit(pair_of(make()), X, steps=20, batch_size=20, seed=0, staged="traced", **QUIET)


def test_a_graph_that_is_refused_leaves_no_pass_behind(monkeypatch):
    held = SimpleNamespace(calls=torch.zeros(()))

    def noise(loc):
        held.calls = held.calls + 1
        return 0.001 * held.calls

    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    run = pv.fit(pair_of(noise), X, steps=10, batch_size=40, seed=0, **QUIET)
    assert "SimpleNamespace.calls" in run.route
    assert held.calls == 10


def test_a_pair_that_was_looked_at_in_vain_is_looked_at_no_more(monkeypatch):
    looks, original = [], Changes.look
    monkeypatch.setattr(Changes, "look", lambda changes: looks.append(changes) or original(changes))
    monkeypatch.setattr(step_route, "worth_tracing", asked_to)
    run = pv.fit(pair_of(OfObject()), X, steps=40, batch_size=20, seed=0, **QUIET)
    assert "OfObject.calls" in run.route
    assert len(looks) == 3  # after one pass, before and after the next
