"""Mean and scale of values that come in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.prediction.blocks import array_of

# Taken at once: few enough for a core's own cache, and for sums in single precision. In one thread: the arithmetic
# is of steps so short that several threads wait for Python's lock more than they gain (1.9 ns a number for 1.2).
_COLUMNS, _DRAWS = 2**12, 64


class RunningMoments:
    """Mean and squared deviations of values that come in parts, by the update of Chan et al.

    `mean' = mean + (m - mean) k / n'` and `squares' = squares + s + (m - mean)^2 n k / n'` for k new values of mean m
    and squared deviations s; all counted from the first value, so that rounding is that of the values' spread. Of
    values that are not all finite the mean is what their sum makes it, the scale is NaN.

    References:
        Chan, Golub & LeVeque, "Algorithms for computing the sample variance" (1983).
    """

    def __init__(self):
        self.count = 0
        self.shape: torch.Size | None = None
        self._first = self._mean = self._squares = self._sum = torch.zeros(0)

    def add(self, values: torch.Tensor) -> None:
        """Take in values `(count, ...)`."""
        exact = values.dtype in (torch.float32, torch.float64)
        values = values if exact else values.float() if values.is_floating_point() else values.double()
        flat = values.reshape(len(values), -1)
        if self.shape is None:
            self.shape = values.shape[1:]
            self._first = flat[0].nan_to_num(0, 0, 0)
            self._mean, self._squares, self._sum = flat.new_zeros((3, flat.shape[1]), dtype=torch.float64)
        for part in flat.split(_DRAWS):
            self._update(part)

    def _update(self, values: torch.Tensor) -> None:
        whole, first, mean, squares, total = map(array_of, (values, self._first, self._mean, self._squares, self._sum))
        before, self.count = self.count, self.count + len(values)

        def work(columns: slice) -> None:
            part: Any = whole[:, columns] - first[columns]
            centre = part.mean(0)
            total[columns] += centre * len(part)
            with np.errstate(invalid="ignore"):  # infinity minus infinity
                part -= centre
                part *= part
                delta = centre - mean[columns]
                mean[columns] += delta * (len(part) / self.count)
                delta *= delta
                squares[columns] += part.sum(0) + delta * (before * len(part) / self.count)

        size = _COLUMNS if values.device.type == "cpu" else whole.shape[1] or 1
        for start in range(0, whole.shape[1], size):
            work(slice(start, start + size))

    @property
    def mean(self) -> torch.Tensor:
        """The mean, in double precision."""
        mean = torch.where(self._mean.isfinite(), self._mean, self._sum / max(self.count, 1))
        return (self._first + mean).reshape(self.shape or ())

    @property
    def scale(self) -> torch.Tensor:
        """The standard deviation, unbiased in its square; zero for one draw."""
        return (self._squares / max(self.count - 1, 1)).sqrt().reshape(self.shape or ())
