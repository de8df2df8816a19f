"""A pair and the data that a report looks at it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

import pyrovae as pv
from pyrovae.data.batch_sources import Batch
from pyrovae.pairs.blank import has_blank
from pyrovae.tables.schema import Schema

# Rows looked at many times: as many as keep the usual models to seconds. Large images take longer each.
_ROWS, _FEWEST_ROWS, _ELEMENTS = 500, 50, 400_000


def chosen_rows(rows: torch.Tensor, count: int | None = None) -> torch.Tensor:
    """The places of rows to look at many times, drawn at random from all, always the same ones.

    Examples:
        >>> chosen_rows(torch.zeros(3, 2)), len(chosen_rows(torch.zeros(600, 2)))
        (tensor([0, 1, 2]), 500)
    """
    count = count or max(_FEWEST_ROWS, min(_ROWS, _ELEMENTS // max(1, rows[:1].numel())))
    return torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count].sort().values


class Given(NamedTuple):
    """What a function is asked about: `function(pair, *args, **named)`."""

    args: tuple[Any, ...]
    named: dict[str, Any]


class ReportData(NamedTuple):
    """A pair and the data to look at it with; `restore` turns what the pair gives into units of the raw data.

    Of several arguments one holds what the pair observes, `key`; the others are covariates and go with its rows.
    """

    pair: Any
    batch: Batch
    restore: Callable[[torch.Tensor], np.ndarray]
    names: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    seed: int = 0
    schema: Schema | None = None
    decode: Callable[[torch.Tensor], list[str]] | None = None  # from tokens to lines of text
    key: int | str = 0

    @property
    def rows(self) -> torch.Tensor:
        """The argument that holds what the pair observes."""
        return self.batch.leaves[self.key]

    def at(self, places: torch.Tensor, rows: torch.Tensor | None = None) -> Given:
        """All arguments at some places, with other rows where these are given."""
        taken = {key: leaf[places] for key, leaf in self.batch.leaves.items()}
        return Given(*Batch.of(taken if rows is None else {**taken, self.key: rows})[:2])

    def first(self, count: int) -> Given:
        """All arguments of the first rows."""
        return self.at(torch.arange(min(count, len(self.rows))))

    def originals(self, count: int) -> np.ndarray:
        """The first rows, raw."""
        return self.restore(self.rows[:count])

    def observed(self) -> str:
        """The observed site that looks like the data."""
        two = self.first(2)
        sites = pv.reconstruct(self.pair, *two.args, **two.named)
        shape = self.rows.shape[1:]
        return next((site for site, value in sites.items() if value.shape[1:] == shape), next(iter(sites)))

    def reconstructions(self, count: int) -> np.ndarray:
        """The means of the likelihood at the first rows' encodings."""
        few = self.first(count)
        return self.restore(pv.reconstruct(self.pair, *few.args, seed=self.seed, **few.named)[self.observed()])

    def samples(self, count: int, *, mean: bool) -> np.ndarray:
        """New data; a pair that cannot be asked for a number of them gets rows for their shape."""
        alone = has_blank(self.pair) and len(self.batch.leaves) == 1
        given = Given((count,), {}) if alone else self.at(torch.arange(count) % len(self.rows))
        drawn = pv.generate(self.pair, *given.args, seed=self.seed, mean=mean, **given.named)
        return self.restore(drawn[self.observed()])
