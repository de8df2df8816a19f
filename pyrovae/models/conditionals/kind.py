"""What a kind of column is: its family, the numbers it can be, and what is made of them everywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.conditional import bounded

Make = Callable[[Sequence[Column], Tensor, Tensor], Any]

WIDTH = 2.0  # in spreads of the column: half of what is absurd lies within
_LARGEST = torch.finfo(torch.float64).max
_FAR = 6.0  # spreads from a column's centre that a network's mean comes near to, and never past


class Kind:
    """A kind of column; as it stands, of numbers on both sides of 0.

    All that depends on the kind is said here or in its subclasses, and nowhere else.

    Args:
        words: what it is for, in words.
        make: from several columns of one size, the network's numbers (..., columns, outputs) and a free number for
            each column, their distributions (..., columns).
        outputs: how many numbers of a network one column takes.
        likely: what stands for several draws: their "mean", "median" or "mode".

    Attributes:
        has_classes: whether its numbers are those of classes.
        ordered: whether one number can be between two others.
        lowest: the lowest number.
        highest: the highest one.
        whole: whether they are whole.
        has_free: whether their family has a free number.
        alike: whether the numbers that `transformed` gives do not depend on the column.
    """

    has_classes = False
    ordered = True
    lowest, highest = -_LARGEST, _LARGEST
    whole = False
    alike = True
    has_free = True

    def __init__(self, words: str, make: Make, *, outputs: int = 1, likely: str = "mean"):
        self.words, self.make, self.likely, self._outputs = words, make, likely, outputs

    def outputs(self, column: Column) -> int:
        """How many numbers of a network a column takes."""
        return self._outputs

    def trouble(self, column: Column) -> str | None:
        """What is wrong with a column of this kind, in words."""
        return None

    # --- its numbers ----------------------------------------------------------------------------------------
    def range_of(self, column: Column) -> tuple[float, float, bool]:
        """The lowest and the highest number, and whether they are whole."""
        return self.lowest, self.highest, self.whole

    def transformed(self, column: Column, x: Tensor) -> Tensor:
        """The numbers of which `center` and `spread` are mean and deviation."""
        return x

    def learned(self, column: Column, seen: Tensor) -> Column:
        """The column with what its numbers say of it: center and spread."""
        scaled = self.transformed(column, seen).numpy() if len(seen) else torch.zeros(1).double().numpy()
        # By powers of two, which change no digit: squares of 1e-200 are 0.
        size = math.frexp(float(abs(scaled).max()))[1] if len(scaled) else 0
        scaled = np.ldexp(scaled, -size)
        center, spread = (math.ldexp(float(one), size) for one in (scaled.mean(), scaled.std()))
        # Against the level alone: currents of 1e-13 A vary.
        return column._replace(center=center, spread=spread if spread > 1e-12 * abs(center) else 1.0)

    def free_start(self, column: Column) -> float:
        """Where the free number of a column begins: a scale, in spreads of the column."""
        return 0.0

    # --- outliers -------------------------------------------------------------------------------------------
    def anything(self, column: Column, x: Tensor) -> Tensor:
        """Log-densities of cells that may be anything that the column can hold."""
        off = (self.transformed(column, x) - column.center) / (WIDTH * column.spread)
        return -math.log(math.pi * WIDTH * column.spread) - off.square().log1p()

    def anything_drawn(self, column: Column, uniform: Tensor) -> Tensor:
        """Draws of it from numbers between 0 and 1."""
        return wide_quantile(column, uniform)


def wide_quantile(column: Column, uniform: Tensor) -> Tensor:
    """Of the Cauchy around a column's centre."""
    inside = uniform.clamp(1e-12, 1 - 1e-12)
    return column.center + WIDTH * column.spread * (math.pi * (inside - 0.5)).tan()


# --- for families -------------------------------------------------------------------------------------------
def numbers(columns: Sequence[Column], field: str, like: Tensor) -> Tensor:
    """A field of several columns, in double precision: a date in seconds has a level of 1e9."""
    return torch.tensor([getattr(column, field) for column in columns], dtype=torch.float64, device=like.device)


def mean(columns: Sequence[Column], raw: Tensor) -> Tensor:
    """Where a number, or its logarithm, lies: off the data a network goes anywhere, and a logarithm's is in exp()."""
    off = bounded(raw[..., 0], -_FAR, _FAR)
    return numbers(columns, "center", raw) + numbers(columns, "spread", raw) * off


def level(columns: Sequence[Column], raw: Tensor) -> Tensor:
    """The same in the network's precision."""
    return mean(columns, raw).to(raw.dtype)


def near(columns: Sequence[Column], off: Tensor) -> Tensor:
    """How far from the columns' centres, in spreads: bounded likewise."""
    return bounded(off, -_FAR, _FAR)


def logits(columns: Sequence[Column], raw: Tensor) -> Tensor:
    """The logarithms of the classes' shares, (columns, classes)."""
    shares = [column.shares or (1.0,) * max(column.classes, 2) for column in columns]
    return torch.tensor(shares, device=raw.device).clamp(min=1e-4).log().to(raw.dtype)
