"""A table against rows drawn from its model: column by column, pair by pair, and whether it can be told apart."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import numpy as np
import torch

import pyrovae as pv
from pyrovae.evaluation.resemblance import classified
from pyrovae.models.conditionals.columns import has_classes
from pyrovae.pairs.looks.isolation import log_level
from pyrovae.report.report_data import ReportData, chosen_rows
from pyrovae.tables.imputation_scores import imputation_scores
from pyrovae.tables.schema import Schema

LEVEL = 0.9  # of the intervals

_ROWS = 2_000  # of data, and as many drawn
_HIDDEN, _MASKS, _DRAWS = 0.2, 2, 100
_CLASSES, _PARTS = 8, (0.2, 0.4, 0.6, 0.8)  # into which a column is cut where pairs are looked at
_WIDEST = 60  # columns of which all pairs are looked at
_FEWEST = 50  # rows for which a classifier says something


class ColumnFigures(NamedTuple):
    """One column: what is missing of the data, how far draws are from them, and how hidden cells are imputed.

    Attributes:
        missing: the share of cells.
        apart: the largest difference of the distribution functions, or half the sum of the differences of shares.
        chance: what `apart` comes to by chance alone, once in twenty.
        hidden: how many cells were hidden from the pair.
        error: of numbers the root mean squared error by the standard deviation, of classes the share that is wrong.
        coverage: the share within 90 % intervals.
    """

    missing: float
    apart: float
    chance: float
    hidden: int
    error: float
    coverage: float


class PairFigures(NamedTuple):
    """Two columns: by how much of the rows their dependence differs between data and draws, and by chance."""

    first: int
    second: int
    apart: float
    chance: float


class TableFigures(NamedTuple):
    """Rows of data and drawn ones, (rows, columns), and what was found; `area` is the AUROC of a classifier."""

    data: np.ndarray
    drawn: np.ndarray
    columns: list[ColumnFigures]
    pairs: list[PairFigures]
    area: float | None
    coverage: float
    hidden: int


def table_figures(about: ReportData, schema: Schema, frame: Any) -> TableFigures:
    """Look at rows, and at as many drawn ones.

    Args:
        about: the pair and its rows.
        schema: what the columns are.
        frame: the rows as a frame.
    """
    places = chosen_rows(about.rows, _ROWS)
    rows = about.rows[places]
    data = rows.double().numpy()
    drawn, again = (_drawn(about._replace(seed=seed), len(rows)) for seed in (about.seed, about.seed + 1))
    with log_level("pyrovae", logging.ERROR):  # coverage shows what comes of weights
        scores, area = _scores(about, schema, frame), _area(about, rows, drawn)
    columns = [
        _column(data[:, place], drawn[:, place], has_classes(column), scores.get(column.name))
        for place, column in enumerate(schema.columns)
    ]
    pairs = _pairs(data, drawn, again, [has_classes(column) for column in schema.columns])
    hidden = [one.hidden for one in columns]
    covered = [one.coverage * one.hidden for one in columns if one.hidden]
    coverage = sum(covered) / sum(hidden) if sum(hidden) else math.nan
    return TableFigures(data, drawn, columns, pairs, area, coverage, sum(hidden))


def _drawn(about: ReportData, count: int) -> np.ndarray:
    return np.asarray(about.samples(count, mean=False), np.float64).reshape(count, -1)


def _scores(about: ReportData, schema: Schema, frame: Any) -> dict[str, dict[str, float]]:
    """Error and coverage of hidden cells, by column; of columns without two cells there are none."""
    pair = pv.tables.with_schema(about.pair, schema)
    few = frame.iloc[chosen_rows(about.rows).numpy()]
    found = imputation_scores(
        lambda holed: pv.impute(pair, holed, draws=_DRAWS, seed=about.seed), few,
        hidden=_HIDDEN, masks=_MASKS, level=LEVEL, schema=schema, seed=about.seed,
    )  # fmt: skip
    by_column = found.scores.groupby("column", sort=False)
    means = by_column[["error", "coverage"]].mean().assign(hidden=by_column["hidden"].sum())
    return {str(name): row for name, row in means.to_dict("index").items()}


def _column(data: np.ndarray, drawn: np.ndarray, classes: bool, scores: dict[str, float] | None) -> ColumnFigures:
    seen = data[~np.isnan(data)]
    found = scores or {"hidden": 0, "error": math.nan, "coverage": math.nan}
    apart = _apart(seen, drawn, classes) if len(seen) else math.nan
    chance = 1.36 * math.sqrt(1 / max(1, len(seen)) + 1 / len(drawn))  # Smirnov's 5 %
    missing = float(np.isnan(data).mean())
    return ColumnFigures(missing, apart, chance, int(found["hidden"]), found["error"], found["coverage"])


def _apart(seen: np.ndarray, drawn: np.ndarray, classes: bool) -> float:
    if classes:
        levels = np.union1d(seen, drawn)
        shares = [(values[:, None] == levels).mean(0) for values in (seen, drawn)]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)
    both = np.sort(np.concatenate([seen, drawn]))
    below = [np.searchsorted(np.sort(values), both, side="right") / len(values) for values in (seen, drawn)]
    return float(np.abs(below[0] - below[1]).max())


def _area(about: ReportData, rows: torch.Tensor, drawn: np.ndarray) -> float | None:
    """How well drawn rows are told from data, whose holes are filled with draws: as such they tell nothing."""
    if len(rows) < _FEWEST:
        return None
    if bool(rows.isnan().any()):
        rows = pv.impute(about.pair, rows, draws=1, seed=about.seed).values[about.observed()][0]
    return classified(rows.double().numpy().reshape(len(rows), -1), drawn, about.seed).area


def _pairs(data: np.ndarray, drawn: np.ndarray, again: np.ndarray, classes: list[bool]) -> list[PairFigures]:
    """All pairs of columns, those whose dependence differs most beyond chance first."""
    holes = np.isnan(data)  # in draws as well, so that all three are of the same cells
    wide = range(min(_WIDEST, data.shape[1]))
    cut = [_cut(data[:, place], classes[place]) for place in wide]
    sets = [
        [np.where(holes[:, place], -1, cut[place](values[:, place])) for place in wide]
        for values in (data, drawn, again)
    ]
    found = []
    for first in wide:
        for second in range(first):
            one, two, three = (_dependence(parts[second], parts[first]) for parts in sets)
            apart, chance = (float(np.abs(other - two).sum() / 2) for other in (one, three))
            found.append(PairFigures(second, first, apart, chance))
    return sorted(found, key=lambda pair: pair.chance - pair.apart)


def _cut(values: np.ndarray, classes: bool) -> Any:
    """What cuts a column into few parts: at quantiles of the data, or into its most frequent classes and the rest."""
    seen = values[~np.isnan(values)]
    if classes:
        levels, counts = np.unique(seen, return_counts=True)
        kept = np.sort(levels[np.argsort(-counts, kind="stable")[: _CLASSES - 1]])
        return lambda new: np.where(np.isin(new, kept), np.searchsorted(kept, new), _CLASSES - 1)
    edges = np.unique(np.quantile(seen, _PARTS)) if len(seen) else np.zeros(0)
    return lambda new: np.searchsorted(edges, new, side="left")


def _dependence(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By how much shares of two columns' parts together differ from those of columns that do not depend."""
    both = (first >= 0) & (second >= 0)
    counts = np.bincount(first[both] * _CLASSES + second[both], minlength=_CLASSES**2).reshape(_CLASSES, _CLASSES)
    shares = counts / max(1, int(both.sum()))
    return shares - np.outer(shares.sum(1), shares.sum(0))
