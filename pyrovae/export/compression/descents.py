"""Symbols as the decisions that lead to them: is it in the upper half, in the upper half of that half, and so on.

Each decision has its own probability, so that a symbol costs the logarithm of its mass, whatever the distribution, and
any rounding in a probability costs a little length and never a wrong symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyrovae.export.compression.bit_stack import BitStack
from pyrovae.export.compression.exact_functions import Tails, exp

Borders = Callable[[Tensor], Tails]  # index of a border between symbols -> the mass below and above it


class MassTree:
    """A descent through masses that are all there.

    Args:
        masses: of every symbol, (n, symbols); they need not sum to 1.
    """

    def __init__(self, masses: Tensor):
        self.depth = max(1, (masses.shape[-1] - 1).bit_length())
        level = torch.nn.functional.pad(masses.double(), (0, 2**self.depth - masses.shape[-1]))
        self._levels = [level]
        while level.shape[-1] > 1:
            level = level[..., 0::2] + level[..., 1::2]
            self._levels.append(level)

    def levels(self) -> list[Tensor]:
        """Masses of all that there is to decide for."""
        return self._levels

    def start(self) -> None:
        """At the top."""
        self._at = self._levels[-1].new_zeros(len(self._levels[-1]), dtype=torch.int64)
        self._left = self.depth

    def share(self) -> Tensor:
        """The probability of the upper half."""
        below = self._levels[self._left - 1]
        lower, upper = (below.gather(-1, (2 * self._at + side).unsqueeze(-1)).squeeze(-1) for side in (0, 1))
        return _share(lower, upper)

    def take(self, bits: Tensor) -> None:
        """Go into the halves that were decided for."""
        self._at, self._left = 2 * self._at + bits, self._left - 1


class BorderTree:
    """A descent by a distribution function, which is asked at one border for each decision.

    Args:
        borders: of all symbols of all n distributions.
        depth: decisions to a symbol; borders 0 and 2^depth are the ends.
        parameters: what the borders follow from, (n,) each.
    """

    def __init__(self, borders: Borders, depth: int, parameters: Sequence[Tensor]):
        self.depth, self.parameters, self._borders, self._count = depth, parameters, borders, len(parameters[0])

    def start(self) -> None:
        """At the top."""
        zero, one = torch.zeros(self._count, dtype=torch.float64), torch.ones(self._count, dtype=torch.float64)
        self._low, self._high = Tails(zero, one), Tails(one, zero)
        self._at = torch.zeros(self._count, dtype=torch.int64)
        self._left = self.depth

    def share(self) -> Tensor:
        """The probability of the upper half; differences are of the tails in which they are small."""
        self._middle = self._borders((2 * self._at + 1) << (self._left - 1))
        right = self._middle.below > 0.5
        upper = torch.where(right, self._middle.above - self._high.above, self._high.below - self._middle.below)
        lower = torch.where(right, self._low.above - self._middle.above, self._middle.below - self._low.below)
        return _share(lower, upper)

    def take(self, bits: Tensor) -> None:
        """Go into the halves that were decided for."""
        up = bits.bool()
        self._low = Tails(*(torch.where(up, new, old) for new, old in zip(self._middle, self._low, strict=True)))
        self._high = Tails(*(torch.where(up, old, new) for new, old in zip(self._middle, self._high, strict=True)))
        self._at, self._left = 2 * self._at + bits, self._left - 1


class OneDecision:
    """0 or 1, with the probability of 1."""

    depth = 1

    def __init__(self, share: Tensor):
        self._one = share

    def start(self) -> None:
        """Nothing was decided."""

    def share(self) -> Tensor:
        """The probability of 1."""
        return self._one.nan_to_num(0.5).clamp(0, 1)

    def take(self, bits: Tensor) -> None:
        """That was all."""


class MixtureDescent:
    """Numbers whose distribution is one of several, which one unknown: bits-back coding of the choice costs nothing
    more.

    To push numbers, a component is popped from what the numbers say of it, then pushed as if it had been known.

    Args:
        weights: masses of the components, (rows, components).
        component: components (rows,) -> the descent of all rows' numbers.
        log_masses: numbers -> their log density under each component, (rows, components), up to a constant of the row.
        parameters: what these follow from.
    """

    def __init__(
        self,
        weights: Tensor,
        component: Callable[[Tensor], BorderTree],
        log_masses: Callable[[Tensor], Tensor],
        parameters: Sequence[Tensor],
    ):
        self.parameters, self._weights, self._component, self._log_masses = parameters, weights, component, log_masses

    def push(self, stack: BitStack, numbers: Tensor) -> None:
        """Put numbers in."""
        chosen = pop(stack, self._given(numbers))
        push(stack, self._component(chosen), numbers)
        push(stack, MassTree(self._weights), chosen)

    def pop(self, stack: BitStack) -> Tensor:
        """Take numbers out."""
        chosen = pop(stack, MassTree(self._weights))
        numbers = pop(stack, self._component(chosen))
        push(stack, self._given(numbers), chosen)
        return numbers

    def _given(self, numbers: Tensor) -> MassTree:
        log_masses = self._log_masses(numbers)
        return MassTree(self._weights * exp(log_masses - log_masses.max(-1, keepdim=True).values))


Descent = MassTree | BorderTree | OneDecision | MixtureDescent


def _share(lower: Tensor, upper: Tensor) -> Tensor:
    lower, upper = lower.clamp(min=0), upper.clamp(min=0)
    whole = lower + upper
    # Where no mass is left, in far tails, both halves are as good.
    return torch.where(whole > 0, upper / torch.where(whole > 0, whole, 1.0), 0.5).nan_to_num(0.5)


def push(stack: BitStack, descent: Descent, symbols: Tensor) -> None:
    """Put symbols in, the last decisions first."""
    if isinstance(descent, MixtureDescent):
        return descent.push(stack, symbols)
    taken = []
    descent.start()
    for level in reversed(range(descent.depth)):
        bits = symbols >> level & 1
        taken.append((bits, descent.share()))
        descent.take(bits)
    for bits, shares in reversed(taken):
        stack.push(bits, shares)


def pop(stack: BitStack, descent: Descent) -> Tensor:
    """Take symbols out."""
    if isinstance(descent, MixtureDescent):
        return descent.pop(stack)
    descent.start()
    found: Tensor | None = None
    for _ in range(descent.depth):
        bits = torch.from_numpy(stack.pop(descent.share())).long()
        descent.take(bits)
        found = bits if found is None else 2 * found + bits
    assert found is not None, "a descent has a decision at least"
    return found
