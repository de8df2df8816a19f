"""A row of a table as a network takes it: numbers standardised, classes one-hot, holes marked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyrovae.errors import DataError
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import check_column, has_classes, kind_of

_HALF = 0.5  # in the place of what is missing: every kind has a number for it


class TableUnits(nn.Module):
    """Rows `(..., columns)` with NaN for what is missing -> `(..., width)`, which holds no NaN.

    Each column gives its number, standardised, or its class as zeros and a one; then whether it is there. A number
    that is far out is brought nearer, so that one absurd cell does not drown the row.

    Args:
        columns: what they are.
        position: of the pair's arguments, which of them holds the rows.

    Attributes:
        width: how many numbers come out.
    """

    center: Tensor
    spread: Tensor
    kind: Tensor

    takes_double = True  # a date in seconds loses its minutes in single precision

    def __init__(self, columns: Sequence[Column], *, position: int = 0):
        super().__init__()
        self.columns, self.position = tuple(map(check_column, columns)), position
        self.classes = [(place, one.classes) for place, one in enumerate(self.columns) if has_classes(one)]
        self.numbers = [place for place, one in enumerate(self.columns) if not has_classes(one)]
        self.width = len(self.numbers) + sum(count for _, count in self.classes) + len(self.columns)
        center = [self.columns[place].center for place in self.numbers]
        spread = [self.columns[place].spread for place in self.numbers]
        self.register_buffer("center", torch.tensor(center, dtype=torch.float64))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float64))
        lows, highs, wholes = zip(*(kind_of(one).range_of(one) for one in self.columns), strict=True)
        # No buffers: data are looked at where they come in, before they go where the networks are.
        self._range = [torch.tensor(part, dtype=torch.float64) for part in (lows, highs)] + [torch.tensor(wholes)]
        self.register_buffer("kind", torch.zeros(()), persistent=False)  # the networks' type: it follows .double()

    def check_data(self, *data: Tensor, **named: Tensor) -> None:
        """Refuse what a column's kind cannot be, where the data come in; missing cells are another matter."""
        x = data[self.position] if self.position < len(data) else named.get(("x", "c")[self.position])
        if x is None:  # of a pair under one condition
            return
        if x.shape[-1] != len(self.columns) or not x.any():
            return  # the first run says so; all zeros stand for data of which only the shape counts, see VAE.blank
        low, high, whole = (part.to(x.device) for part in self._range)
        bad = (x < low) | (x > high) | (whole & (x % 1 != 0) & ~x.isnan())
        if bad.any():
            row, place = bad.reshape(-1, len(self.columns)).nonzero()[0].tolist()
            column, value = self.columns[place], float(x.reshape(-1, len(self.columns))[row, place])
            raise DataError(
                f"column {column.name!r} is {column.kind}, and holds {value:g} in row {row} of a batch. Make it a hole "
                "(NaN), or give the column another kind."
            )

    def forward(self, x: Tensor) -> Tensor:
        """The rows, as described above."""
        if x.dim() < 1 or x.shape[-1] != len(self.columns):
            raise DataError(
                f"the pair takes {len(self.columns)} columns, the data have shape {tuple(x.shape)}, so "
                f"{x.shape[-1] if x.dim() else 0} columns"
            )
        seen = ~x.isnan()
        parts = [self._standardised(x[..., self.numbers], seen[..., self.numbers])] if self.numbers else []
        for place, count in self.classes:
            levels = torch.arange(count, device=x.device)
            parts.append((x[..., place, None] == levels).to(self.kind.dtype))  # nothing equals NaN: zeros
        return torch.cat([*parts, seen.to(self.kind.dtype)], -1)

    def _standardised(self, x: Tensor, seen: Tensor) -> Tensor:
        columns = [self.columns[place] for place in self.numbers]
        filled = torch.where(seen, x, _HALF)
        parts = [kind_of(column).transformed(column, filled[..., n]) for n, column in enumerate(columns)]
        standard = (torch.stack(parts, -1) - self.center) / self.spread
        near = 8 * (standard / 8).tanh()  # the identity up to two or three spreads
        return torch.where(seen, near, 0.0).to(self.kind.dtype)
