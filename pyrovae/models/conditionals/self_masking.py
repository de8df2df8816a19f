"""Whether cells of a table are there, where that depends on what they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.column import Column, HasColumns
from pyrovae.models.conditionals.columns import check_column, has_classes, kind_of
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.conditionals.side_by_side import SideBySide

_SHOWN = 12  # columns, or classes of one

Known = Mapping[str, float | Sequence[float]]


class SelfMasking(Conditional):
    r"""Which cells of a row are there, each by what it holds itself.

    \[ P(m_j = 1 \mid x) = \sigma\big(a_j + b_j\, t_j(x_j)\big) \text{ of a number}, \qquad
    P(m_j = 1 \mid x) = \sigma\big(a_j + b_{j, x_j}\big) \text{ of a class} \]

    with t the number (the logarithm of what is positive, log(1 + x) of a count, the logit of a proportion), less the
    column's center, by its spread. A slope b above 0 says that large numbers are seen more often than small ones.
    `print(mechanism)` shows both by column, those that are learned as they are now.

    The intercept of a number is the log-odds that it is seen where it lies at its center. Of classes the data tell the
    sums \( a_j + b_{j, c} \) alone, the log-odds that a cell of class c is seen: what is learned of a by itself means
    nothing, and with an intercept that is known to be 0 the slopes are these log-odds.

    Args:
        columns: what they are, in their order: `pv.tables.schema(frame)`, or a list of `Column`.
        intercepts: a by name of a column, where it is known; learned of the others, from 2 on.
        slopes: b by name, a number, or of classes one for each, where it is known; learned of the others, from 0 on.

    References:
        Ipsen, Mattei and Frellsen, "not-MIWAE: deep generative modelling with missing not at random data" (2021).

    Examples:
        >>> import torch, pyrovae as pv
        >>> pay, job = pv.Column("pay", "real", center=40.0, spread=10.0), pv.Column("job", "categorical", classes=3)
        >>> mechanism = pv.SelfMasking([pay, job], slopes={"pay": -1.5})
        >>> mechanism(torch.tensor([[40.0, 0.0], [60.0, 2.0]])).base_dist.logits.detach()
        tensor([[ 2.,  2.],
                [-1.,  2.]])
    """

    known_intercepts: Tensor
    known_slopes: Tensor
    order: Tensor
    highest: Tensor

    def __init__(
        self, columns: Sequence[Column] | HasColumns, *, intercepts: Known | None = None, slopes: Known | None = None
    ):
        super().__init__()
        self.columns = tuple(map(check_column, columns.columns if isinstance(columns, HasColumns) else columns))
        self._groups = [
            [place for place, _ in group]
            for _, group in groupby(sorted(enumerate(self.columns), key=_alike), key=_alike)
        ]
        placed = [place for places in self._groups for place in places]
        highest = [max(column.classes - 1, 0) for column in self.columns]
        self.register_buffer("order", torch.tensor(placed).argsort(), persistent=False)  # of groups, back to columns
        self.register_buffer("highest", torch.tensor(highest), persistent=False)  # class
        width = max([1, *(column.classes for column in self.columns if has_classes(column))])
        self.intercepts = nn.Parameter(torch.full((len(self.columns), 1), 2.0))
        self.slopes = nn.Parameter(torch.zeros(len(self.columns), width))
        for field, known, start in (("intercepts", intercepts, self.intercepts), ("slopes", slopes, self.slopes)):
            values = torch.full(start.shape, torch.nan)
            for name, given in (known or {}).items():
                self._put(values, field, name, given)
            self.register_buffer(f"known_{field}", values)
            start.requires_grad_(bool(values[self._used(values)].isnan().any()))

    def learned_slopes(self) -> list[str]:
        """The columns whose slope, or one of whose slopes, is learned."""
        open_ = (self.known_slopes.isnan() & self._used(self.known_slopes)).any(1).tolist()
        return [column.name for column, learned in zip(self.columns, open_, strict=True) if learned]

    def extra_repr(self) -> str:
        """What is known and what was learned, a line for each column."""
        names = max(len(column.name) for column in self.columns)
        return "\n".join(
            [f"{column.name:<{names}}  {self._in_words(place)}" for place, column in enumerate(self.columns[:_SHOWN])]
            + [f"and {len(self.columns) - _SHOWN} more columns"] * (len(self.columns) > _SHOWN)
        )

    def _in_words(self, place: int) -> str:
        column = self.columns[place]
        size = column.classes if has_classes(column) else 1
        slopes, given = (part[place, :size].tolist() for part in (self._slopes(), self.known_slopes))
        shown = ", ".join(f"{slope:.3g}" for slope in slopes[:_SHOWN]) + ", ..." * (size > _SHOWN)
        intercept, known = self._intercepts()[place], not bool(self.known_intercepts[place].isnan())
        return (
            f"intercept {intercept.item():.3g}{' (known)' * known}, slope{'s' * (size > 1)} {shown}"
            f"{' (known)' * (not any(map(math.isnan, given)))}"
        )

    def forward(self, *given: Tensor) -> Any:
        """Of complete rows `(..., columns)` what is there; event shape (columns,)."""
        (rows,) = given
        intercepts, slopes = self._intercepts(), self._slopes()
        parts = []
        for places in self._groups:
            cells, column = rows[..., places], self.columns[places[0]]
            if has_classes(column):
                parts.append(slopes[places, cells.long().clamp(min=0).minimum(self.highest[places])])
            else:
                parts.append(slopes[places, 0] * self._standardised(places, cells).to(slopes.dtype))
        logits = intercepts + torch.cat(parts, -1).index_select(-1, self.order)
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(1)

    def of_hidden(self, cells: SideBySide) -> HiddenCells:
        """Of the distribution of cells nearly that of those which are hidden.

        Exact of classes, by a step of Newton's of numbers and logarithms that are normal, the family itself of others.
        """
        return HiddenCells([(places, self._hidden(places, fn)) for places, fn in cells.parts])

    # --- parts ----------------------------------------------------------------------------------------------
    def _intercepts(self) -> Tensor:
        return torch.where(self.known_intercepts.isnan(), self.intercepts, self.known_intercepts)[:, 0]

    def _slopes(self) -> Tensor:
        return torch.where(self.known_slopes.isnan(), self.slopes, self.known_slopes)

    def _standardised(self, places: list[int], cells: Tensor) -> Tensor:
        center, spread = self._units(places)
        column = self.columns[places[0]]
        return (kind_of(column).transformed(column, cells) - center) / spread

    def _units(self, places: list[int]) -> tuple[Tensor, ...]:
        return tuple(
            torch.tensor([getattr(self.columns[place], field) for place in places], dtype=torch.float64).to(
                self.slopes.device
            )
            for field in ("center", "spread")
        )

    def _hidden(self, places: list[int], fn: Any) -> Any:
        if has_classes(self.columns[places[0]]):
            return self._hidden_classes(places, fn)
        return self._hidden_normals(places, fn) if isinstance(fn, dist.Normal | dist.LogNormal) else fn

    def _hidden_normals(self, places: list[int], fn: Any) -> Any:
        """The normal whose mode and curvature are those of N(t) (1 - σ(a + b t)), about the mean of the first."""
        center, spread = self._units(places)
        a, b = self._intercepts()[places].to(fn.loc.dtype), self._slopes()[places, 0].to(fn.loc.dtype)
        seen = (a + b * (fn.loc - center) / spread).sigmoid()
        variance = (fn.scale / spread).square()
        variance = variance / (1 + variance * b.square() * seen * (1 - seen))
        loc, scale = fn.loc - spread * variance * b * seen, spread * variance.sqrt()
        return type(fn)(loc.to(fn.loc.dtype), scale.to(fn.scale.dtype), validate_args=False)

    def _hidden_classes(self, places: list[int], fn: Any) -> Any:
        """p(c) (1 - σ(a + b_c)), normalised; Bernoulli stays what it is, so that draws have its shape."""
        count = self.columns[places[0]].classes
        hidden = logsigmoid(-(self._intercepts()[places, None] + self._slopes()[places, :count]))
        if isinstance(fn, dist.Bernoulli):
            return dist.Bernoulli(logits=fn.logits + hidden[:, 1] - hidden[:, 0], validate_args=False)
        return dist.Categorical(logits=fn.logits + hidden, validate_args=False)

    def _used(self, values: Tensor) -> Tensor:
        """Which numbers of a parameter mean something: one of a number, one of each class."""
        counts = [column.classes if has_classes(column) else 1 for column in self.columns]
        return torch.arange(values.shape[1]) < torch.tensor(counts)[:, None]

    def _put(self, values: Tensor, field: str, name: str, given: Any) -> None:
        places = {column.name: place for place, column in enumerate(self.columns)}
        if name not in places:
            raise ArgumentError(f"SelfMasking: {field} has {name!r}; the columns are {', '.join(map(repr, places))}.")
        row = values[places[name]]
        wanted = int(self._used(values)[places[name]].sum())
        numbers = torch.as_tensor(given, dtype=torch.float32).reshape(-1)
        if len(numbers) != wanted or not bool(numbers.isfinite().all()):
            raise ArgumentError(
                f"SelfMasking: {field}[{name!r}] is {given!r}; give "
                + ("a finite number." if wanted == 1 else f"{wanted} finite numbers, one for each class.")
            )
        row[:wanted] = numbers


class HiddenCells(SideBySide):
    r"""Cells of which those of classes have the distribution of hidden ones.

    Whichever class is drawn then weighs the same, \( p(c)\, P(m = 0 \mid c) / q(c) \), so that its draw needs no
    gradient; draws of numbers have one where all of their families give it.
    """

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all numbers have."""
        return all(fn.has_rsample or _is_of_classes(fn) for _, fn in self.parts)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw of each cell."""
        shape = torch.Size(sample_shape)
        return self._joined([fn.rsample(shape) if fn.has_rsample else fn.sample(shape) for _, fn in self.parts])

    def expand(self, batch_shape: Any, _instance: Any = None) -> HiddenCells:
        """The same for a larger batch."""
        return HiddenCells(super().expand(batch_shape).parts, validate_args=self._validate_args)


def _alike(one: tuple[int, Column]) -> tuple[str, int]:
    """Columns that are worked on together."""
    place, column = one
    if has_classes(column):
        return "classes", 0
    return column.kind, 0 if kind_of(column).alike else place


def _is_of_classes(fn: Any) -> bool:
    return isinstance(fn, dist.Bernoulli | dist.Categorical)
