"""Slots, variables of modules, attributes of classes and whatever else a pair counts in is after a look as before."""

from __future__ import annotations

import array
import collections
import dataclasses
import functools
import itertools
from typing import ClassVar

import pytest
import torch
from test_held_numbers import X, fitted, pair_of
from torch import nn

import pyrovae as pv

CALLS = 0
LIST: list[int] = []


@dataclasses.dataclass(slots=True)
class Slots:
    calls: int = 0
    tensor: torch.Tensor = dataclasses.field(default_factory=lambda: torch.zeros(()))


class OfTheClass:
    calls = 0
    held: ClassVar[list[torch.Tensor]] = [torch.zeros(())]

    @classmethod
    def count(cls):
        cls.calls += 1
        cls.held[0] += 1
        return cls.calls

    @property
    def counted(self):
        type(self).calls += 1
        self.held[0].add_(1)
        return self.calls


class Module(nn.Module):
    """Counts in what its code names, in a container of a kind of its own, and in an object."""

    def __init__(self):
        super().__init__()
        self.recent, self.slots = collections.deque(), Slots()

    def forward(self):
        LIST.append(1)
        self.recent.append(1)
        self.slots.calls += 1
        return self.slots.calls


def slots():
    held = Slots()

    def count():
        held.calls += 1
        held.tensor += 1
        return held.calls

    return count, lambda: (held.calls, float(held.tensor))


def module_variable():
    global CALLS
    CALLS = 0

    def count():
        global CALLS
        CALLS += 1
        return CALLS

    return count, lambda: CALLS


def of_the_class():
    OfTheClass.calls, OfTheClass.held[0] = 0, torch.zeros(())
    return OfTheClass.count, lambda: (OfTheClass.calls, float(OfTheClass.held[0]))


def by_a_property():
    of_the_class()
    held = OfTheClass()
    return (lambda: held.counted), lambda: (OfTheClass.calls, float(OfTheClass.held[0]))


def module():
    LIST.clear()
    held = Module()
    return held, lambda: (len(LIST), len(held.recent), held.slots.calls)


def bytes_and_arrays():
    held, other = bytearray(1), array.array("d", [0.0])

    def count():
        held[0] += 1
        other[0] += 1
        return held[0]

    return count, lambda: (held[0], other[0])


def a_method_of_a_list():
    held = []
    note = held.append

    def count():
        note(1)
        return 0

    return count, lambda: len(held)


def inside_a_cache():
    held = collections.Counter()

    @functools.lru_cache(maxsize=0)
    def count():
        held["calls"] += 1
        return held["calls"]

    return count, lambda: held["calls"]


MADE = [
    slots,
    module_variable,
    of_the_class,
    by_a_property,
    module,
    bytes_and_arrays,
    a_method_of_a_list,
    inside_a_cache,
]


@pytest.mark.parametrize("make", MADE)
def test_a_training_counts_its_steps_alone_and_questions_count_nothing(make):
    count, state = make()
    expected = [count() for _ in range(2)] and state()
    pair, state, _ = fitted(make, 2)
    assert state() == expected
    pv.check_pair(pair, X)
    pv.elbo(pair, X)
    assert state() == expected


def iterators():
    one = itertools.count()
    two, three = iter(range(1000)), (number for number in range(1000))
    return [lambda: 0 * next(one), lambda: 0 * next(two), lambda: 0 * next(three)]


@pytest.mark.parametrize("count", iterators(), ids=["count", "range", "generator"])
def test_an_iterator_cannot_be_put_back_which_is_said_once(count):
    with pytest.warns(pv.errors.PyrovaeWarning, match="takes from an iterator that it holds .* cannot be put back"):
        pv.check_pair(pair_of(count), X)
    pv.check_pair(pair_of(count), X)
