"""A weight of the rate that is steered by the rate: training to a capacity in nats."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from pyrovae.errors import ArgumentError
from pyrovae.pairs.numbers import finite


@dataclass(frozen=True)
class SteeredWeight(ABC):
    """A weight that a figure of training moves, step by step; its state is the logarithm, a plain float."""

    nats: float
    gain: float = 0.01
    minimum: float = 1e-3
    maximum: float = 1e3

    def __post_init__(self):
        name = type(self).__name__
        for field in ("nats", "gain", "minimum", "maximum"):
            object.__setattr__(self, field, finite(name, field, getattr(self, field)))
        for field in ("gain", "minimum", "maximum"):
            if getattr(self, field) <= 0:
                raise ArgumentError(f"{name}: {field} is {getattr(self, field)}; give a number above 0")
        if not self.minimum <= 1 <= self.maximum:
            bounds = f"{self.minimum} ... {self.maximum}"
            raise ArgumentError(f"{name}: the bounds {bounds} leave out 1, where the weight starts")

    def initial(self) -> float:
        """The state before the first step: log 1."""
        return 0.0

    def weight(self, state: float) -> float:
        """The weight of the rate that belongs to a state: `exp(state)` within the bounds."""
        return min(max(math.exp(state), self.minimum), self.maximum)

    @abstractmethod
    def error(self, rate: float, distortion: float) -> float:
        """How far a step's figures, in nats per datum, are off the target: above 0 the weight rises."""

    def observe(self, rate: float, distortion: float, state: float) -> float:
        """The next state, after a step with these figures."""
        moved = state + self.gain * min(max(self.error(rate, distortion), -1.0), 1.0)
        return min(max(moved, math.log(self.minimum)), math.log(self.maximum))


@dataclass(frozen=True)
class TargetRate(SteeredWeight):
    r"""A weight of the rate that is steered until the rate is a number of nats.

    `log beta <- clip(log beta + gain * clip((rate - nats) / nats, -1, 1))`: the weight rises while the rate
    exceeds the target and falls below it. The state is log beta, a plain float.

    Args:
        nats: the target of the rate, in nats per datum.
        gain: how far log beta moves in one step at most. The rate answers a change of beta within some 50
            optimiser steps, about in proportion; such a loop is well damped up to a gain of 1 / (2 * 50).
        minimum: below a thousandth the rate is as good as free, and the way back to 1 would only grow longer
            (700 steps from here).
        maximum: above a thousand the posterior has long collapsed; the same way back.

    References:
        Shao et al., "ControlVAE" (2020).

    Examples:
        >>> import pyrovae as pv
        >>> target = pv.TargetRate(10.0)
        >>> state = target.initial()
        >>> beta, state = target.update(15.0, state)
        >>> round(beta, 4)
        1.005
    """

    def __post_init__(self):
        super().__post_init__()
        if self.nats <= 0:
            raise ArgumentError(f"TargetRate: nats is {self.nats}; give a number above 0")

    def error(self, rate: float, distortion: float = math.nan) -> float:
        """How far the rate exceeds the target, in parts of it."""
        if math.isnan(rate):
            raise ArgumentError(f"TargetRate: the rate is {rate}; a weight cannot be steered by it")
        return (rate - self.nats) / self.nats

    def update(self, rate: float, state: float) -> tuple[float, float]:
        """Take in the rate of one step.

        Args:
            rate: the measured rate, in nats per datum; one noisy batch is enough.
            state: what the last call, or `initial`, returned.

        Returns:
            The weight for the next step, and the next state.
        """
        state = self.observe(rate, math.nan, state)
        return self.weight(state), state
