"""What imputers of any kind make of a table with holes."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from pyrovae.data.check_same_rows import check_same_rows
from pyrovae.data.holed_rows import taking_holes
from pyrovae.data.rows_of_frames import is_frame
from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.with_schema import schema_of
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.cell_densities import cell_densities
from pyrovae.tables.impute import impute
from pyrovae.tables.imputed import Imputed
from pyrovae.tables.schema import Schema
from pyrovae.trust.without_mask_sites import without_mask_sites

logger = logging.getLogger("pyrovae")

_RETURNS = "a trained pair, a complete frame, or a list of them"
_FEWEST = 200  # draws by which the density of a cell is weighed


class Completions(NamedTuple):
    """Completed rows, (draws, rows, columns), and the log-densities of cells, (rows, columns), where there are some."""

    rows: torch.Tensor
    densities: torch.Tensor | None = None


def completions(imputer: Any, frame: Any, holed: Any, schema: Schema, draws: int, seed: int) -> Completions:
    """What an imputer makes of a frame with holes.

    Args:
        imputer: a pair, an estimator, or a function of the frame with holes that returns a trained pair, an `Imputed`,
            a complete table, or several.
        frame: the frame as it was, for the densities of what is hidden.
        holed: the frame with holes.
        schema: by which tables become rows.
        draws: of a pair.
        seed: of the draws.
    """
    made = _made(imputer, holed, draws)
    if isinstance(made, HasPair):
        return _of_pair(made, frame, holed, schema, draws, seed)
    if isinstance(made, Imputed):
        if len(made.values) != 1:
            raise ArgumentError(f"the imputations are of {len(made.values)} sites; give those of the table alone.")
        return Completions(next(iter(made.values.values())))
    single = is_frame(made) or hasattr(made, "shape")
    if not single and not isinstance(made, Iterable):
        raise ArgumentError(f"an imputer returned {type(made).__name__}; it has to return {_RETURNS}.")
    return Completions(torch.stack([_rows(one, holed, schema) for one in ([made] if single else made)]))


def _made(imputer: Any, holed: Any, draws: int) -> Any:
    """A pair, a complete table or several."""
    if isinstance(imputer, HasPair):
        return imputer
    if hasattr(imputer, "fit") and hasattr(imputer, "transform"):
        from sklearn.base import clone

        copy: Any = clone(imputer)
        fitted = copy.fit(holed)
        return fitted.pair_ if hasattr(fitted, "pair_") else fitted.transform(holed)
    if not callable(imputer):
        raise ArgumentError(
            f"an imputer is a {type(imputer).__name__}; give a pair, a scikit-learn imputer, or a function of a frame "
            f"with holes that returns {_RETURNS}."
        )
    return imputer(holed)


def _of_pair(pair: HasPair, frame: Any, holed: Any, schema: Schema, draws: int, seed: int) -> Completions:
    own = schema_of(pair)
    if own is None:
        raise PairError(
            "the pair carries no schema, so that nothing says what its rows are: see pv.tables.with_schema."
        )
    frames = impute(pair, holed, draws=draws, seed=seed).frames()
    return Completions(
        torch.stack([_rows(one, holed, schema) for one in frames]),
        _densities(pair, own, frame, holed, schema, draws, seed),
    )


def _densities(pair: HasPair, own: Any, frame: Any, holed: Any, schema: Schema, draws: int, seed: int) -> Any:
    """Of each cell given what is there of its row, by importance weights; None where the pair has none."""
    full, shown = own.encode(frame), own.encode(holed)
    pair = without_mask_sites(taking_holes(pair, shown), shown)
    hidden = shown.isnan() & ~full.isnan()
    try:
        found = cell_densities(pair, (full,), 0, hidden, draws=max(draws, _FEWEST), seed=seed, data_plate=None).cells
    except PairError as error:
        logger.warning("hidden cells have no log-density: %s", error)
        return None
    places = {one.name: place for place, one in enumerate(own.columns)}
    columns = [found[:, places[one.name]] if one.name in places else found[:, 0] * math.nan for one in schema.columns]
    return torch.stack(columns, 1)


def _rows(table: Any, holed: Any, schema: Schema) -> torch.Tensor:
    """A complete table as rows; numbers are taken as they are, classes have to be some."""
    if not is_frame(table):
        table = np.asarray(table)
        if table.shape != holed.shape:
            raise DataError(f"an imputer returned an array of shape {table.shape} for a table of {holed.shape}.")
        table = holed.__class__(table, columns=holed.columns)
    check_same_rows(holed, table, "what an imputer returned")
    table = as_frame(table).reset_index(drop=True)
    if len(table) != len(holed):
        raise DataError(f"an imputer returned {len(table)} rows for a table of {len(holed)}.")
    return torch.from_numpy(np.stack([_numbers(table, one) for one in schema.table if one.column is not None], 1))


def _numbers(table: Any, one: Any) -> np.ndarray:
    if one.name not in table.columns:
        raise DataError(f"an imputer returned no column {one.name!r}.")
    if one.form == "number":  # a mean of counts is no count, and can be scored all the same
        return table[one.name].astype("float64").to_numpy(dtype=float, na_value=np.nan)
    found, strange = one.numbers(table[one.name])
    if strange:
        raise DataError(f"an imputer put {strange[0]} into column {one.name!r}, which is none of its classes.")
    return found
