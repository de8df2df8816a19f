"""A likelihood of tables: each column has the family of its kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.models.columns import KINDS, Column, check_column
from pyrovae.models.conditionals.base import Conditional, check_network, network_output
from pyrovae.models.conditionals.side_by_side import SideBySide


class ByColumn(Conditional):
    r"""Columns of several kinds, independent given what the network sees: \( \prod_j p_{k(j)}(x_j \mid \cdot) \).

    Numbers stand in the units of the data; those of classes count from 0.

    Args:
        network: gives `ByColumn.outputs(columns)` numbers: those of the first column first.
        columns: what they are, in their order.

    Examples:
        >>> import torch, pyrovae as pv
        >>> columns = [pv.Column("age", "real", center=40.0, spread=12.0), pv.Column("job", "categorical", classes=3)]
        >>> likelihood = pv.ByColumn(pv.MLP(2, [8], pv.ByColumn.outputs(columns)), columns)
        >>> likelihood(torch.zeros(5, 2)).event_shape
        torch.Size([2])
    """

    def __init__(self, network: Any, columns: Sequence[Column]):
        super().__init__()
        self.columns = tuple(map(check_column, columns))
        if not self.columns:
            raise ArgumentError("pv.ByColumn: give one column at least.")
        wanted, declared = self.outputs(self.columns), getattr(network, "output_shape", None)
        if declared is not None and tuple(declared) != (wanted,):
            raise ArgumentError(
                f"pv.ByColumn: these columns take {wanted} numbers of the network, and it gives {tuple(declared)}: "
                "pv.MLP(..., pv.ByColumn.outputs(columns))"
            )
        self.network = check_network(network, "ByColumn", 1)
        # A scale, in spreads of the column, or a total count, which the spread of logarithms is the root of one over.
        free = [_total(column) if "count" in column.kind else 0.0 for column in self.columns]
        self.free = nn.Parameter(torch.tensor(free))

    @staticmethod
    def outputs(columns: Sequence[Column]) -> int:
        """How many numbers the network of these columns has to give."""
        return sum(KINDS[check_column(column).kind].outputs(column) for column in columns)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (columns,)."""
        output, dims = network_output(self.network, given, "ByColumn")
        if dims != 1 or output.shape[-1] != self.outputs(self.columns):
            raise ArgumentError(
                f"pv.ByColumn: these columns take {self.outputs(self.columns)} numbers, its network gave "
                f"{tuple(output.shape[output.dim() - dims :])}"
            )
        return SideBySide([self._part(output, *group) for group in self._groups()]).to_event(1)

    def _groups(self) -> list[tuple[list[int], list[int]]]:
        """Columns of one kind and size, which are worked on together: their places, and where their numbers begin."""
        start, known = 0, []
        for place, column in enumerate(self.columns):
            size = KINDS[column.kind].outputs(column)
            known.append((column.kind, size, column.classes, place, start))
            start += size
        known.sort(key=lambda one: one[:3])
        groups = [list(group) for _, group in groupby(known, key=lambda one: one[:3])]
        return [([one[3] for one in group], [one[4] for one in group]) for group in groups]

    def _part(self, output: Tensor, places: list[int], starts: list[int]) -> tuple[list[int], Any]:
        columns = [self.columns[place] for place in places]
        kind = KINDS[columns[0].kind]
        size = kind.outputs(columns[0])
        index = torch.tensor([start + number for start in starts for number in range(size)], device=output.device)
        raw = output.index_select(-1, index).reshape(*output.shape[:-1], len(places), size)
        free = self.free.index_select(0, torch.tensor(places, device=output.device))
        return places, kind.make(columns, raw, free)


def _total(column: Column) -> float:
    return min(max(-2 * math.log(column.spread), -2.0), 6.0)
