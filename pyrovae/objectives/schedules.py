"""Numbers that change while training goes on: weights of the rate, learning rates.

A schedule is any function of the optimiser step; those made here are values too: two of them can be
compared, and their `repr` is the call that makes them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyrovae.errors import ArgumentError
from pyrovae.pairs.numbers import as_number, check_count, finite

# The logistic curve is followed to 6 on either side (3 in tanh's scale): there it is within 0.25% of its
# limits, so that the stretch to the exact end values does not show.
_REACH = 3.0


@dataclass(frozen=True, repr=False)
class Schedule:
    r"""A way from one number to another, `value(t) = start + (stop - start) * share(t / steps)`.

    Made by [constant][pyrovae.constant], [linear][pyrovae.linear], [cosine][pyrovae.cosine],
    [sigmoid][pyrovae.sigmoid] and [cyclic][pyrovae.cyclic]. Its `repr` is that call.

    Examples:
        >>> import pyrovae as pv
        >>> warm_up = pv.linear(0, 1, steps=1_000)
        >>> warm_up
        linear(0.0, 1.0, steps=1000)
        >>> warm_up(0), warm_up(250), warm_up(5_000)
        (0.0, 0.25, 1.0)
    """

    made_by: str
    start: float
    stop: float
    steps: int
    share: Callable[[int, int], float] = field(compare=False)

    def __call__(self, step: int) -> float:
        """The value at an optimiser step, counted from 0; it stays at `stop` after `steps`."""
        share = 1.0 if step >= self.steps else self.share(max(step, 0), self.steps)
        # The two ends are returned as given: start + (stop - start) need not be stop in floating point.
        return self.stop if share >= 1 else self.start + (self.stop - self.start) * share

    def __repr__(self) -> str:
        return self.made_by


def constant(value: float) -> Schedule:
    """The same number at every step: `value(t) = value`.

    Args:
        value: the number.

    Returns:
        A schedule, `step -> float`.

    Examples:
        >>> import pyrovae as pv
        >>> pv.constant(4)(123)
        4.0
    """
    number = finite("constant", "value", value)
    return Schedule(f"constant({number!r})", number, number, 1, _straight)


def linear(start: float, stop: float, *, steps: int) -> Schedule:
    """A straight line: `value(t) = start + (stop - start) * min(t / steps, 1)`.

    Args:
        start: the value at step 0.
        stop: the value at `steps` and after it.
        steps: the number of optimiser steps from one to the other.

    Returns:
        A schedule, `step -> float`.

    Examples:
        >>> import pyrovae as pv
        >>> pv.linear(0, 1, steps=4)(3)
        0.75
    """
    return _ramp("linear", start, stop, steps, _straight)


def cosine(start: float, stop: float, *, steps: int) -> Schedule:
    """Half a wave, flat at both ends: `value(t) = start + (stop - start) * (1 - cos(pi * t / steps)) / 2`.

    Args:
        start: the value at step 0.
        stop: the value at `steps` and after it.
        steps: the number of optimiser steps from one to the other.

    Returns:
        A schedule, `step -> float`.

    Examples:
        A learning rate that falls off, as in Loshchilov and Hutter, "SGDR" (2017):

        >>> import pyrovae as pv
        >>> rate = pv.cosine(1e-3, 1e-5, steps=10_000)
        >>> round(rate(5_000), 6)
        0.000505
    """
    return _ramp("cosine", start, stop, steps, _half_wave)


def sigmoid(start: float, stop: float, *, steps: int) -> Schedule:
    """A logistic curve: `value(t) = start + (stop - start) * s(t / steps)`.

    Here `s(u) = (1 + tanh(3 (2u - 1)) / tanh(3)) / 2`: the logistic function over -6 ... 6, stretched so that
    it starts at exactly 0 and ends at exactly 1.

    Args:
        start: the value at step 0.
        stop: the value at `steps` and after it.
        steps: the number of optimiser steps from one to the other.

    Returns:
        A schedule, `step -> float`.

    References:
        Bowman et al., "Generating sentences from a continuous space" (2016).

    Examples:
        >>> import pyrovae as pv
        >>> curve = pv.sigmoid(0, 1, steps=100)
        >>> curve(0), round(curve(10), 3), curve(50), curve(100)
        (0.0, 0.006, 0.5, 1.0)
    """
    return _ramp("sigmoid", start, stop, steps, _logistic)


def cyclic(start: float, stop: float, *, steps: int, cycles: int = 4, rise: float = 0.5) -> Schedule:
    """Several straight rises: `value(t) = start + (stop - start) * min(phase / rise, 1)`.

    Here `phase = (t * cycles / steps) mod 1`: each of `cycles` equal parts rises over its first `rise`
    and stays at `stop` for the rest; after `steps` the value is `stop`.

    Args:
        start: the value at the beginning of each cycle.
        stop: the value at the end of each cycle and after `steps`.
        steps: the number of optimiser steps of all cycles together.
        cycles: how many.
        rise: the part of a cycle that rises, in (0, 1].

    Returns:
        A schedule, `step -> float`.

    References:
        Fu et al., "Cyclical annealing schedule" (2019).

    Examples:
        >>> import pyrovae as pv
        >>> curve = pv.cyclic(0, 1, steps=80, cycles=2)
        >>> [curve(step) for step in (0, 10, 20, 39, 40, 50, 80)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0]
    """
    cycles = check_count("cycles", cycles, where="cyclic: ")
    rise = finite("cyclic", "rise", rise)
    if not 0 < rise <= 1:
        raise ArgumentError(f"cyclic: rise is {rise}; the part of a cycle that rises is above 0, at most 1")
    steps = check_count("steps", steps, where="cyclic: ")
    if steps < cycles:
        raise ArgumentError(f"cyclic: {cycles} cycles do not fit into {steps} steps; give {cycles} at least")
    share = functools.partial(_saw, cycles=cycles, rise=rise)
    return _ramp("cyclic", start, stop, steps, share, options=f", cycles={cycles}, rise={rise!r}")


def evaluate(schedule: float | Callable[[int], Any], step: int) -> float:
    """The number that a number or a schedule gives at a step, checked: finite and not negative.

    Args:
        schedule: a number, one of ours, or any function of the step.
        step: the optimiser step, counted from 0.

    Returns:
        A float.

    Raises:
        ArgumentError: it is negative, not finite or not a number.

    Examples:
        >>> from pyrovae.objectives.schedules import evaluate
        >>> evaluate(0.5, 10), evaluate(lambda step: step / 20, 10)
        (0.5, 0.5)
        >>> evaluate(lambda step: 1 - step, 10)
        Traceback (most recent call last):
            ...
        pyrovae.errors.ArgumentError: <lambda> gives -9 at step 10; ...
    """
    value = schedule(step) if callable(schedule) else schedule
    number = as_number(value)
    if number is None or not math.isfinite(number) or number < 0:
        raise ArgumentError(_complaint(schedule, value, f"at step {step}"))
    if isinstance(schedule, Schedule) and min(schedule.start, schedule.stop) < 0:
        # Told at the first step, not after an hour on the way down.
        raise ArgumentError(_complaint(schedule, min(schedule.start, schedule.stop), "at one end"))
    return number


def _complaint(schedule: Any, value: Any, where: str) -> str:
    rule = "a weight or a learning rate is a finite number, 0 at least"
    if not callable(schedule):
        return f"{value!r} was given; {rule}, or a function of the step that returns one"
    return f"{getattr(schedule, '__qualname__', repr(schedule))} gives {value!r} {where}; {rule}"


def _ramp(function: str, start: Any, stop: Any, steps: Any, share: Any, *, options: str = "") -> Schedule:
    start, stop = finite(function, "start", start), finite(function, "stop", stop)
    steps = check_count("steps", steps, where=f"{function}: ")
    return Schedule(f"{function}({start!r}, {stop!r}, steps={steps}{options})", start, stop, steps, share)


# The shares are functions of (step, steps), not of their ratio, so that whole numbers stay exact.
def _straight(step: int, steps: int) -> float:
    return step / steps


def _half_wave(step: int, steps: int) -> float:
    return (1 - math.cos(math.pi * step / steps)) / 2


def _logistic(step: int, steps: int) -> float:
    return (1 + math.tanh(_REACH * (2 * step / steps - 1)) / math.tanh(_REACH)) / 2


def _saw(step: int, steps: int, *, cycles: int, rise: float) -> float:
    return min((step * cycles % steps) / (steps * rise), 1.0)
