"""A likelihood of tables: each column has the family of its kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, argument
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import check_column, kind_of
from pyrovae.models.conditionals.conditional import Conditional, bounded, check_network, network_output
from pyrovae.models.conditionals.or_anything import OrAnything
from pyrovae.models.conditionals.side_by_side import SideBySide

_START = 0.05  # the share of outliers from which one is learned


class ByColumn(Conditional):
    r"""Columns of several kinds, independent given what the network sees: \( \prod_j p_{k(j)}(x_j \mid \cdot) \).

    Numbers stand in the units of the data; those of classes count from 0.

    Args:
        network: gives `ByColumn.outputs(columns)` numbers: those of the first column first.
        columns: what they are, in their order.
        outliers: how probable it is of a cell that it is anything its column can hold (`OrAnything`); "learned" for a
            number of each column, which begins at 0.05; None for never.
        outlier_draws: whether draws are outliers as often, or of the columns' families alone.

    Examples:
        >>> import torch, pyrovae as pv
        >>> columns = [pv.Column("age", "real", center=40.0, spread=12.0), pv.Column("job", "categorical", classes=3)]
        >>> likelihood = pv.ByColumn(pv.MLP(2, [8], pv.ByColumn.outputs(columns)), columns)
        >>> likelihood(torch.zeros(5, 2)).event_shape
        torch.Size([2])
    """

    def __init__(
        self,
        network: Any,
        columns: Sequence[Column],
        *,
        outliers: float | str | None = None,
        outlier_draws: bool = True,
    ):
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
        free = [kind_of(column).free_start(column) for column in self.columns]
        self.free = nn.Parameter(
            torch.tensor(free), requires_grad=any(kind_of(column).has_free for column in self.columns)
        )
        self.outlier_draws, logits = outlier_draws, _logits_of(outliers, len(self.columns))
        if logits is not None and outliers == "learned":
            self.outlier_logits = nn.Parameter(logits)
        else:
            self.register_buffer("outlier_logits", logits, persistent=False)
        self._wanted, self._groups = wanted, self._grouped()
        for number, (places, starts) in enumerate(self._groups):  # once, and not at every step
            size = kind_of(self.columns[places[0]]).outputs(self.columns[places[0]])
            index = [start + one for start in starts for one in range(size)]
            self.register_buffer(f"_index_{number}", torch.tensor(index), persistent=False)
            self.register_buffer(f"_places_{number}", torch.tensor(places), persistent=False)

    @staticmethod
    def outputs(columns: Sequence[Column]) -> int:
        """How many numbers the network of these columns has to give."""
        return sum(kind_of(check_column(column)).outputs(column) for column in columns)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (columns,)."""
        output, dims = network_output(self.network, given, "ByColumn")
        if dims != 1 or output.shape[-1] != self._wanted:
            raise ArgumentError(
                f"pv.ByColumn: these columns take {self._wanted} numbers, its network gave "
                f"{tuple(output.shape[output.dim() - dims :])}"
            )
        found: Any = SideBySide([self._part(output, number) for number in range(len(self._groups))])
        if self.outlier_logits is not None:
            logits = bounded(self.outlier_logits).to(output.dtype)
            found = OrAnything(found, self.columns, logits, draws=self.outlier_draws)
        return found.to_event(1)

    def shares_of_outliers(self) -> Tensor | None:
        """How probable it is of a cell of each column that it is an outlier, (columns,); None where none can be."""
        return None if self.outlier_logits is None else bounded(self.outlier_logits).sigmoid()

    def _grouped(self) -> list[tuple[list[int], list[int]]]:
        """Columns of one kind and size, which are worked on together: their places, and where their numbers begin."""
        start, known = 0, []
        for place, column in enumerate(self.columns):
            size = kind_of(column).outputs(column)
            known.append((column.kind, size, column.classes, place, start))
            start += size
        known.sort(key=lambda one: one[:3])
        groups = [list(group) for _, group in groupby(known, key=lambda one: one[:3])]
        return [([one[3] for one in group], [one[4] for one in group]) for group in groups]

    def _part(self, output: Tensor, number: int) -> tuple[list[int], Any]:
        places, _ = self._groups[number]
        raw = output.index_select(-1, self.get_buffer(f"_index_{number}"))
        raw = raw.reshape(*output.shape[:-1], len(places), -1)
        free = self.free.index_select(0, self.get_buffer(f"_places_{number}"))
        columns = [self.columns[place] for place in places]
        return places, kind_of(columns[0]).make(columns, raw, free)


def _logits_of(outliers: float | str | None, count: int) -> Tensor | None:
    """Of the shares of outliers, such that they are these once bounded."""
    if outliers is None:
        return None
    share = _START if outliers == "learned" else outliers
    if isinstance(share, bool) or not isinstance(share, float) or not 1e-4 <= share <= 0.5:
        raise ArgumentError(f"{argument('outliers', outliers)}; give a probability from 0.0001 to 0.5, or 'learned'.")
    logit = math.log(share / (1 - share))
    return torch.full((count,), math.tan(logit * math.pi / 20) * 20 / math.pi)
