"""Columns less their mean, divided by their spread, and likelihoods of the raw ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, DataError, warn_user
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.conditionals.continuous import Normal
from pyrovae.models.conditionals.discrete import NegativeBinomial


def center_and_spread(rows: Tensor, dims: int | tuple[int, ...] = 0) -> tuple[Tensor, Tensor]:
    r"""The mean and the standard deviation of columns, in double precision whatever their level.

    \[ m = x_1 + \tfrac1N \sum_n (x_n - x_1), \qquad c = \sqrt{\tfrac1N \sum_n (x_n - m)^2} \]

    What does not vary, but for the last bits of double precision, has no spread to divide by: it gets \( |m| \), or 1
    where that is 0. A warning names columns that vary in these bits.

    Args:
        rows: data (rows, ...).
        dims: over which to go.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[1.7e9 - 300, 5.0], [1.7e9 + 300, 5.0]], dtype=torch.float64)
        >>> [part.tolist() for part in center_and_spread(x)]
        [[1700000000.0, 5.0], [300.0, 5.0]]
    """
    rows = rows.double()
    origin = rows[:1] if dims == 0 else rows.flatten()[0]
    moved = rows - origin
    center = (origin + moved.mean(dims, keepdim=True)).mean(dims)
    spread = moved.std(dims, correction=0)
    constant = spread <= 4 * torch.finfo(torch.float64).eps * center.abs()
    lost = constant & (spread > 0)
    if bool(lost.any()):
        warn_user(
            f"columns {torch.nonzero(lost).flatten()[:5].tolist()} vary in the last digits of double precision alone "
            f"(around {float(center[lost].flatten()[0]):.17g}) and count as constant. Where their differences mean "
            "something, subtract what they have in common first."
        )
    return center, torch.where(constant, torch.where(center == 0, 1.0, center.abs()), spread)


class StandardColumns(nn.Module):
    """Columns less their mean, divided by their scale: those of the first batch met in train mode, or as given.

    In double precision: columns may differ by little at a high level, as times and pressures do.
    """

    takes_double = True

    mean: Tensor
    scale: Tensor
    decided: Tensor
    kind: Tensor

    def __init__(self, size: int, mean: Any = None, scale: Any = None):
        super().__init__()
        if (mean is None) != (scale is None):
            raise ArgumentError("vector_vae: mean= and scale= go together: give both or neither")
        self.register_buffer("mean", _column(mean, size, "mean", 0.0))
        self.register_buffer("scale", _column(scale, size, "scale", 1.0))
        self.register_buffer("decided", torch.tensor(mean is not None))
        self.register_buffer("kind", torch.zeros(()), persistent=False)  # the networks' type: it follows .double()
        if not bool((self.scale > 0).all()):
            raise ArgumentError("vector_vae: scale= must be positive")

    def forward(self, x: Tensor) -> Tensor:
        """The columns, standardised."""
        if x.dim() < 1 or x.shape[-1] != len(self.mean):
            raise DataError(
                f"the pair takes {len(self.mean)} columns, the data have shape {tuple(x.shape)}, so "
                f"{x.shape[-1] if x.dim() else 0} columns"
            )
        # All zeros stand for data where only the shape counts, see VAE.blank.
        if self.training and not self.decided and x.any():
            self._decide(x.detach().reshape(-1, x.shape[-1]).double())
        return ((x.to(self.mean.dtype) - self.mean) / self.scale).to(self.kind.dtype)

    def _decide(self, rows: Tensor) -> None:
        mean, spread = center_and_spread(rows)
        if not bool(torch.isfinite(spread).all()):
            columns = torch.nonzero(~torch.isfinite(spread)).flatten()[:5].tolist()
            raise DataError(f"columns {columns} of the first batch hold NaN, infinity or numbers too large to square")
        self.mean.copy_(mean)
        self.scale.copy_(spread)
        self.decided.fill_(True)


class InColumnUnits(Conditional):
    """A normal of standardised columns, as the normal of the raw ones."""

    def __init__(self, likelihood: Normal, columns: StandardColumns):
        super().__init__()
        self.likelihood, self.columns = likelihood, columns

    def forward(self, *given: Tensor) -> Any:
        """The normal of the raw columns."""
        base, columns = self.likelihood(*given).base_dist, self.columns
        return dist.Normal(columns.mean + columns.scale * base.loc, columns.scale * base.scale).to_event(1)


class AtColumnLevel(Conditional):
    """A negative binomial whose means are counted from the level of the columns."""

    def __init__(self, likelihood: NegativeBinomial, columns: StandardColumns):
        super().__init__()
        self.likelihood, self.columns = likelihood, columns

    def forward(self, *given: Tensor) -> Any:
        """The negative binomial of the raw counts."""
        base = self.likelihood(*given).base_dist
        return dist.NegativeBinomial(
            base.total_count, logits=base.logits + self.columns.mean.to(base.logits.dtype)
        ).to_event(1)


def _column(value: Any, size: int, name: str, default: float) -> Tensor:
    numbers = torch.as_tensor(np.asarray(default if value is None else value, dtype=np.float64))
    if numbers.dim() > 1 or numbers.numel() not in (1, size) or not bool(torch.isfinite(numbers).all()):
        raise ArgumentError(f"vector_vae: {name}= takes a finite number, or one for each of the {size} columns")
    return numbers.expand(size).clone()
