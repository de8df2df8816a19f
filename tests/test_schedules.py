from __future__ import annotations

import copy
import functools
import itertools
import math
import pickle
import random
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pyrovae as pv
from pyrovae.objectives.schedules import Schedule, evaluate
from pyrovae.training.saved.fingerprint import fingerprint

RAMPS = {
    "linear": pv.linear,
    "cosine": pv.cosine,
    "sigmoid": pv.sigmoid,
    "cyclic": functools.partial(pv.cyclic, cycles=3, rise=0.4),
}
ends = st.floats(-1e6, 1e6)


@pytest.mark.parametrize("ramp", RAMPS.values(), ids=RAMPS)
@given(start=ends, stop=ends, steps=st.integers(3, 10_000), step=st.integers(0, 20_000))
def test_a_ramp_has_exact_ends_and_stays_between_them(ramp, start, stop, steps, step):
    schedule = ramp(start, stop, steps=steps)
    assert schedule(0) == start
    assert schedule(steps) == schedule(steps + 7) == stop
    slack = 1e-9 * max(abs(start), abs(stop))
    assert min(start, stop) - slack <= schedule(step) <= max(start, stop) + slack


@pytest.mark.parametrize("ramp", [pv.linear, pv.cosine, pv.sigmoid])
def test_a_simple_ramp_never_turns_and_is_symmetric(ramp):
    schedule = ramp(0, 1, steps=101)
    values = [schedule(step) for step in range(102)]
    assert values == sorted(values)
    assert values == pytest.approx([1 - value for value in reversed(values)])


def test_values_between_the_ends_follow_the_formulas():
    assert pv.linear(1, 3, steps=8)(2) == 1.5
    assert pv.cosine(0, 2, steps=9)(3) == pytest.approx(1 - math.cos(math.pi / 3))
    curve = pv.sigmoid(0, 1, steps=100)
    logistic = [1 / (1 + math.exp(-12 * (step / 100 - 0.5))) for step in range(101)]
    expected = [(y - logistic[0]) / (logistic[-1] - logistic[0]) for y in logistic]
    assert [curve(step) for step in range(101)] == pytest.approx(expected)


def test_cycles_rise_anew():
    schedule = pv.cyclic(0, 2, steps=100, cycles=2, rise=0.2)
    assert [schedule(step) for step in (0, 5, 10, 49, 50, 55, 99, 100)] == [0, 1, 2, 2, 0, 1, 2, 2]


def test_a_constant_is_the_same_everywhere():
    assert {pv.constant(0.3)(step) for step in (0, 1, 10**9)} == {0.3}


@pytest.mark.parametrize(
    "schedule",
    [
        pv.constant(0.1),
        pv.linear(0, 1, steps=7),
        pv.cosine(1e-3, 0, steps=7),
        pv.sigmoid(0, 0.1, steps=7),
        pv.cyclic(0, 1, steps=70, cycles=3, rise=0.3),
        pv.TargetRate(3.0, gain=0.1),
    ],
    ids=repr,
)
def test_the_repr_makes_the_schedule_again(schedule):
    again = eval(repr(schedule), {name: getattr(pv, name) for name in (*RAMPS, "constant", "TargetRate")})
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert repr(again) == repr(schedule) == fingerprint(schedule)
    if isinstance(schedule, Schedule):
        for clone in (again, copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
            assert [clone(step) for step in range(80)] == [schedule(step) for step in range(80)]


def test_different_schedules_differ():
    schedules = [pv.linear(0, 1, steps=7), pv.cosine(0, 1, steps=7), pv.linear(0, 1, steps=8)]
    schedules += [pv.cyclic(0, 1, steps=70), pv.cyclic(0, 1, steps=70, cycles=5)]
    assert len(set(schedules)) == len({fingerprint(schedule) for schedule in schedules}) == len(schedules)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: pv.linear(0, 1, steps=0), "steps=0"),
        (lambda: pv.cosine(0, 1, steps=-3), "steps=-3"),
        (lambda: pv.sigmoid(0, 1, steps=2.5), "steps=2.5"),
        (lambda: pv.sigmoid(0, 1, steps=True), "steps=True"),
        (lambda: pv.linear(math.nan, 1, steps=3), "start is nan"),
        (lambda: pv.linear(0, math.inf, steps=3), "stop is inf"),
        (lambda: pv.linear("0", 1, steps=3), "start is '0'"),
        (lambda: pv.constant(None), "value is None"),
        (lambda: pv.cyclic(0, 1, steps=3), "4 cycles do not fit into 3"),
        (lambda: pv.cyclic(0, 1, steps=30, cycles=0), "cycles=0"),
        (lambda: pv.cyclic(0, 1, steps=30, rise=0), "rise is 0"),
        (lambda: pv.cyclic(0, 1, steps=30, rise=1.1), "rise is 1.1"),
        (lambda: pv.TargetRate(0), "nats is 0"),
        (lambda: pv.TargetRate(3, gain=-1), "gain is -1"),
        (lambda: pv.TargetRate(3, minimum=2), "leave out 1"),
        (lambda: pv.TargetRate(3).update(math.nan, 0.0), "nan"),
    ],
)
def test_wrong_arguments_are_named(make, named):
    with pytest.raises(pv.ArgumentError, match=named):
        make()


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), np.int64(3), torch.tensor(0.25), np.array(2.0)])
def test_evaluate_takes_numbers_and_functions_alike(value):
    assert evaluate(value, 5) == evaluate(lambda step: value, 5) == float(value)
    assert type(evaluate(value, 5)) is float


@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf, None, "1", True, 1j, torch.ones(2), [1.0]])
def test_evaluate_refuses_what_is_no_weight(value):
    with pytest.raises(pv.ArgumentError, match=r"<lambda> gives .* at step 17; .* finite number, 0 at least"):
        evaluate(lambda step: value, 17)
    with pytest.raises(pv.ArgumentError, match="was given"):
        evaluate(value, 17)


def test_a_schedule_on_its_way_below_zero_is_refused_at_its_first_step():
    with pytest.raises(pv.ArgumentError, match=r"linear\(1.0, -1.0, steps=10\) gives -1.0"):
        evaluate(pv.linear(1, -1, steps=10), 0)


def closed_loop(target, *, elasticity, lag, noise, steps=20_000):
    """A rate that follows beta ** -elasticity with a delay, measured with noise."""
    draw = random.Random(0)
    state, beta, log_rate, rates = target.initial(), 1.0, math.log(40.0), []
    for _ in range(steps):
        log_rate += (math.log(40.0) - elasticity * math.log(beta) - log_rate) / lag
        rates.append(math.exp(log_rate))
        beta, state = target.update(rates[-1] * (1 + noise * draw.gauss(0, 1)), state)
    return rates


@pytest.mark.parametrize("nats", [5.0, 20.0, 150.0])
@pytest.mark.parametrize(("elasticity", "lag"), [(0.3, 30), (1.0, 30), (1.0, 100), (0.6, 150)])
def test_the_rate_arrives_at_the_target_and_stays(nats, elasticity, lag):
    rates = closed_loop(pv.TargetRate(nats), elasticity=elasticity, lag=lag, noise=0.1)
    late = rates[-5_000:]
    assert max(late) < 1.1 * nats
    assert min(late) > 0.9 * nats
    assert overshoot(rates, nats) < 0.25


def overshoot(rates, nats):
    """How far the rate goes beyond its target, as a part of the way there from 40 nats, in the log."""
    way = math.log(nats / 40)
    return max(math.log(rate / nats) / way for rate in rates)


def test_a_far_too_large_gain_overshoots():
    """That the test above can fail, and the reason for the default."""
    rates = closed_loop(pv.TargetRate(5.0, gain=0.5), elasticity=1.0, lag=100, noise=0.1)
    assert overshoot(rates, 5.0) > 0.3


def test_the_steered_weight_stays_within_its_bounds_and_comes_back():
    target = pv.TargetRate(10.0, gain=0.5, minimum=0.1, maximum=4.0)
    state = target.initial()
    for rate, bound in ((math.inf, 4.0), (-5.0, 0.1)):
        for _ in range(100):
            beta, state = target.update(rate, state)
            assert 0.1 <= beta <= 4.0
        assert beta == pytest.approx(bound)
        assert isinstance(state, float)
        assert target.weight(state) == beta


def test_the_weight_rises_above_the_target_and_falls_below():
    target = pv.TargetRate(10.0)
    assert target.update(11.0, 0.0)[0] > 1 > target.update(9.0, 0.0)[0]
    assert target.update(10.0, 0.0) == (1.0, 0.0)


def compiled(source, **names):
    """A function from source text, as another process would read it from a file."""
    space = types.ModuleType("elsewhere").__dict__ | names
    exec(source, space)
    return space["f"]


CODE = "def f(step, base=BASE):\n    return base * RATE if step in {1, 2, 'a', 'b'} else sum(s for s in (1, 2))"


def test_a_function_is_known_by_what_it_computes():
    same = {fingerprint(compiled(CODE, BASE=1, RATE=2.0)) for _ in range(3)}
    assert len(same) == 1
    assert "f#" in same.pop()
    variants = [
        compiled(CODE, BASE=1, RATE=2.0),
        compiled(CODE, BASE=2, RATE=2.0),
        compiled(CODE, BASE=1, RATE=3.0),
        compiled(CODE.replace("(1, 2)", "(1, 3)"), BASE=1, RATE=2.0),
        compiled(CODE.replace("base *", "base +"), BASE=1, RATE=2.0),
        compiled(CODE.replace("sum", "max"), BASE=1, RATE=2.0),
    ]
    assert len({fingerprint(function) for function in variants}) == len(variants)


def test_what_a_function_closes_over_counts():
    def made(rate, helper=None):
        return lambda step: rate * step if helper is None else helper(step)

    assert fingerprint(made(1.0)) == fingerprint(made(1.0)) != fingerprint(made(2.0))
    assert fingerprint(made(1, lambda s: s)) != fingerprint(made(1, lambda s: -s))
    assert fingerprint(made(torch.ones(2))) == fingerprint(made(torch.ones(2))) != fingerprint(made(torch.zeros(2)))
    assert (
        fingerprint(made([0.1, {"a": 2}])) == fingerprint(made([0.1, {"a": 2}])) != fingerprint(made([0.1, {"a": 3}]))
    )


def test_how_far_an_iterator_has_come_is_no_setting():
    counted = itertools.count()

    def counting(step):
        return next(counted)

    before = fingerprint(counting)
    assert counting(0) == 0
    assert fingerprint(counting) == before


class Decay:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate**step

    def at(self, step):
        return self(step)


def test_objects_methods_and_partials_have_fingerprints_without_addresses():
    for make in (
        Decay,
        lambda rate: Decay(rate).at,
        lambda rate: functools.partial(pow, rate),
        lambda rate: {"z": rate, "w": Decay(rate)},
        lambda rate: [Decay(rate), None],
    ):
        assert fingerprint(make(0.5)) == fingerprint(make(0.5)) != fingerprint(make(0.6))
        assert " at 0x" not in fingerprint(make(0.5))


@pytest.mark.slow
def test_a_fingerprint_is_the_same_in_another_process():
    script = (
        "from pyrovae.training.saved.fingerprint import fingerprint\n"
        "print(fingerprint([lambda s: s in {'a', 'b', 'c', 'd'}, {'b': 1, 'a': 2, 'c': max}, print]))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1
    assert "max" in texts.pop()


def test_numbers_and_dicts_are_told_apart_by_value():
    assert fingerprint(1) == fingerprint(1.0) == fingerprint(np.float64(1))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 1})
    assert fingerprint(None) != fingerprint(0)
