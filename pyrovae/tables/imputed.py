"""Completed data, with how far their draws can be trusted."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.models.conditionals.columns import has_classes, kind_of
from pyrovae.pairs.numbers import check_share
from pyrovae.pairs.with_schema import RowSchema
from pyrovae.plots.in_words import in_words
from pyrovae.tables.conformal_ends import conformal_ends
from pyrovae.tables.imputed_to_arviz import imputed_to_arviz
from pyrovae.tables.known_cells import known_cells
from pyrovae.tables.likely_cells import likely_cells


class ImputedFrame(NamedTuple):
    """The frame whose holes were drawn: the site that is its rows, the schema, the rows and the frame as given."""

    site: str
    schema: RowSchema
    rows: torch.Tensor
    frame: Any


class Imputed(NamedTuple):
    """Completed data, and how far their draws can be trusted.

    Attributes:
        values: `{observed site: (draws, rows, ...)}`: what is there as it is, and draws of what is missing.
        missing: `{observed site: (rows, ...)}`: True where a cell was drawn.
        khat: of each row, the tail of the weights by which its latents were chosen; below 0.7 they can be trusted.
        ess: of each row, how many of the candidates count.
        table: the frame, where one was given.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.1)
        >>> x = torch.tensor([[2.0, float("nan"), 2.0]])
        >>> found = pv.impute(pv.masked(truth, fill=2.0), x, draws=100)
        >>> [round(one) for one in found.mean()["x"][0].tolist()]
        [2, 2, 2]
    """

    values: dict[str, torch.Tensor]
    missing: dict[str, torch.Tensor]
    khat: torch.Tensor
    ess: torch.Tensor
    table: ImputedFrame | None = None

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self._replace(table=None))

    def mean(self) -> dict[str, torch.Tensor]:
        """Completed data with the means of the draws, (rows, ...)."""
        return {
            site: mean.to(self.values[site].dtype) if self.values[site].is_floating_point() else mean
            for site, mean in ((site, value.double().mean(0)) for site, value in self.values.items())
        }

    def interval(
        self, level: float = 0.9, *, calibrated_on: Any = None
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        r"""The ends of central intervals, each (rows, ...); both are the value itself where it is there.

        Of S draws the one of rank r has a share of r / (S + 1) below it, so that intervals of few draws hold the true
        value as often as those of many. Quantiles of the draws themselves would hold it in 81 per cent of cases where
        20 draws are to give 90.

        They are those of the model, which may be wrong. With cells that are known and were hidden from training and
        from `impute`, the ends of each column are moved, by as much of an interval's width for all, until they hold of
        these what they are to hold (conformal prediction). Where such cells were hidden as the others are missing, the
        intervals hold a missing cell with a probability of `level` at least, and of level + 1/(n + 1) at most with n
        known cells of the column, whatever the model; on average over cells, and not for each sort of row.

        Args:
            level: the share that they are to hold.
            calibrated_on: data of the same rows that have some of the missing cells, NaN for what is not known: an
                array of the one site, a dictionary of arrays by site, or of a frame a frame. Columns of classes are
                left as they are, and ends stay where a column can be (0 for counts).

        Raises:
            ArgumentError: too few draws: not even their ends lie as far apart.
            DataError: of a column with missing cells too few are known: 9 are the fewest for 0.9.

        References:
            Romano, Patterson and Candès, "Conformalized quantile regression" (2019).
        """
        level = check_share("level", level)
        ends = (1 - level) / 2, (1 + level) / 2
        draws = min(map(len, self.values.values()))
        if (draws + 1) * ends[0] < 1 - 1e-9:
            raise ArgumentError(
                f"{draws} draws cannot bound {level:.0%}: from the smallest to the largest it is "
                f"{(draws - 1) / (draws + 1):.0%}. "
                f"Impute with {argument('draws', math.ceil(1 / ends[0] - 1e-9) - 1)} or more, or ask for a lower level."
            )
        found = {site: (_quantile(value, ends[0]), _quantile(value, ends[1])) for site, value in self.values.items()}
        known = {} if calibrated_on is None else known_cells(calibrated_on, self.missing, self.table)
        return {**found, **{site: self._moved(site, *found[site], cells, level) for site, cells in known.items()}}

    def _moved(
        self, site: str, low: torch.Tensor, high: torch.Tensor, known: torch.Tensor, level: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ends of one site that hold known cells as often as they are to."""
        missing, columns = self.missing[site], ()
        if self.table is not None and self.table.site == site:
            columns = tuple(self.table.schema.columns)
            missing = missing & ~torch.tensor([has_classes(one) for one in columns])
        names = [one.name for one in columns]
        ends = conformal_ends(low.double(), high.double(), known, missing, level, names)
        if columns:  # no further than its column can be
            ranges = zip(*(kind_of(one).range_of(one) for one in columns), strict=True)
            least, most, _ = (torch.tensor(part).double() for part in ranges)
            ends = ends[0].clamp(least, most), ends[1].clamp(least, most)
        return ends[0].to(low.dtype), ends[1].to(high.dtype)

    def frames(self) -> list[Any]:
        """One completed frame for each draw: what is there as it was written, and a draw in each hole."""
        return [self._frame(draw) for draw in self.values[self._table.site]]

    def filled(self) -> Any:
        """One frame with the most likely value in each hole, by the kind of its column; see `impute`."""
        table = self._table
        return self._frame(likely_cells(self.values[table.site], table.schema.columns))

    def to_arviz(self) -> Any:
        """The draws as `posterior_predictive` (chain, draw, row, ...), beside what was observed, `khat` and `ess`.

        Of a frame the columns have their names; classes are numbers, in the order of the schema.

        Returns:
            `InferenceData` (ArviZ 0.x) or an `xarray.DataTree` (1.x), whose `.to_netcdf(path)` writes it.
        """
        names = {} if self.table is None else {self.table.site: [one.name for one in self.table.schema.columns]}
        return imputed_to_arviz(self.values, self.missing, {"khat": self.khat, "ess": self.ess}, names)

    @property
    def _table(self) -> ImputedFrame:
        if self.table is None:
            raise ArgumentError("no frame was given to impute, so that there is none to fill: see values and mean().")
        return self.table

    def _frame(self, cells: torch.Tensor) -> Any:
        table = self._table
        # What is there as it was, and not in the type that the pair computes in.
        rows = torch.where(self.missing[table.site], cells.double(), table.rows)
        return table.schema.decode(rows, like=table.frame)


def _quantile(value: torch.Tensor, level: float) -> torch.Tensor:
    return torch.from_numpy(np.quantile(value.numpy(), level, axis=0, method="weibull"))
