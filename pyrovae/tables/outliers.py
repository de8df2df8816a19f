"""Cells and rows of a table that do not go with the others."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch

from pyrovae.data.holed_rows import split, taking_holes
from pyrovae.data.rows_of_frames import frames_among
from pyrovae.errors import ArgumentError
from pyrovae.evaluation.from_prior import FromPrior
from pyrovae.evaluation.per_datum import sampler_of
from pyrovae.models.conditionals.background import background
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import RowSchema, schema_of
from pyrovae.sampling.use import arguments
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.cell_densities import CellDensities, cell_densities, pooled, seen_densities
from pyrovae.tables.check_columns import check_columns
from pyrovae.tables.found_outliers import FoundOutliers, found_outliers
from pyrovae.tables.impute import imputations
from pyrovae.tables.outlier_posteriors import outlier_posteriors
from pyrovae.trust.without_mask_sites import without_mask_sites

logger = logging.getLogger("pyrovae")

_SUSPECT = 0.5  # a cell more probably an outlier than not is hidden when the others are looked at again
_GROUPS = 8  # parts of a row that are hidden in turn; each column alone where there are no more
_MOST = 0.2  # a share of outliers above this says that the model does not fit
_SHOWN = 100  # draws of what a suspect cell should be
_APART = 0.9  # of the cells of a strange row come from their column, and the others from anywhere


@in_turn
def outliers(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = 200,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> FoundOutliers:
    r"""How probable it is of each cell, and of each row, that it is an outlier, by two components each.

    A cell is either what the model says of it given the other cells of its row, or anything that its column can hold
    (b, a density much wider than the column); a row is either what the model says, or cells that have nothing to do
    with each other:

    \[ P(j \text{ is one} \mid x) = \frac{\pi_j\, b_j(x_j)}{\pi_j\, b_j(x_j) + (1 - \pi_j)\, p(x_j \mid x_{-j})}, \qquad
    P(\text{row}) = \frac{\pi \prod_j m_j(x_j)}{\pi \prod_j m_j(x_j) + (1 - \pi)\, p(x)} \]

    The shares \(\pi\) are those of greatest likelihood. Cells that are probably outliers are hidden, and all cells of
    their rows looked at again, so that one does not make its neighbours suspect. m is the model's density of the cell
    alone, with a tenth of b.

    Where the likelihood has a component of outliers of its own, as `recipes.table_vae(schema, outliers=0.05)` has, the
    probabilities are its posterior ones: that a cell is of this component, and that one of the row's cells is.

    Any other model learned from data that hold the outliers; where they are many, `refit_without_outliers` trains
    again.

    Args:
        pair: any pair that carries a schema and whose cells are independent given its latents.
        *data: its arguments, one of them a frame.
        draws: of the guide for each row.
        seed: of the draws.
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        A `FoundOutliers`; print it.

    References:
        Eduardo, Nazábal, Williams and Sutton, "Robust variational autoencoders for outlier detection and repair of
        mixed-type data" (2020).

    Examples:
        >>> import numpy as np, pandas as pd, pyrovae as pv
        >>> x = np.random.default_rng(0).normal(size=200)
        >>> frame = pd.DataFrame({"a": x, "b": x + 0.1, "c": -x})
        >>> frame.loc[7, "b"] = 50.0
        >>> pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[16])
        >>> _ = pv.fit(pair, frame, epochs=3, seed=0, progress=False)
        >>> found = pv.tables.outliers(pair, frame)
        >>> found.cells["b"].idxmax()
        7
    """
    draws = check_count("draws", draws)
    frames = frames_among(named or (data[0] if len(data) == 1 and isinstance(data[0], dict) else data))
    schema = schema_of(pair)
    if len(frames) != 1 or schema is None:
        raise ArgumentError(
            f"outliers takes a pair with a schema and one frame; there are {len(frames)} frames, and the pair has "
            f"{'one' if schema else 'none'}. pv.tables.with_schema(pair, pv.tables.schema(frame)) gives it one."
        )
    check_columns(schema, "outliers")
    ((key, frame),) = frames.items()
    given = arguments(pair, data, named)
    given = given if isinstance(given, dict | tuple) else (given,)
    pair = without_mask_sites(taking_holes(pair, given), given, data_plate)
    options = {"draws": draws, "seed": seed, "data_plate": data_plate}
    own = outlier_posteriors(pair, given, key, **options)
    cells, rows = _probabilities(pair, schema, given, key, options) if own is None else own
    likely = _likely(pair, given, key, cells > _SUSPECT, options)
    return found_outliers(as_frame(frame, names=False), schema, cells, rows, likely)


def _likely(pair: HasPair, given: Any, key: Any, suspects: torch.Tensor, options: dict) -> torch.Tensor | None:
    """Draws of what suspect cells should be by the rest of their rows, (draws, suspect rows, columns)."""
    here = suspects.any(1)
    if not here.any():
        return None
    leaves = given if isinstance(given, dict) else dict(enumerate(given))
    rows = {name: leaf[here] if _is_by_row(leaf, len(here)) else leaf for name, leaf in leaves.items()}
    rows[key] = rows[key].masked_fill(suspects[here], math.nan)
    data = rows if isinstance(given, dict) else tuple(rows.values())
    found = imputations(pair, data, _SHOWN, 5 * _SHOWN, options["seed"], options["data_plate"])
    return next(iter(found.values.values())) if len(found.values) == 1 else None


def _is_by_row(leaf: Any, rows: int) -> bool:
    return hasattr(leaf, "shape") and len(leaf.shape) > 0 and leaf.shape[0] == rows


def _probabilities(
    pair: HasPair, schema: RowSchema, given: Any, key: Any, options: dict
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of cells and of rows."""
    full = given[key]
    wide = background(schema.columns, full)
    none, every = torch.zeros_like(full, dtype=torch.bool), torch.ones_like(full, dtype=torch.bool)
    groups = torch.arange(full.shape[1]) % min(full.shape[1], _GROUPS)
    hidden = [(groups == group).expand(full.shape) for group in groups.unique()]
    whole, none_seen, *seen = seen_densities(pair, given, key, [none, every, *hidden], **options)
    alone = by_themselves(pair, given, key, none_seen, options)
    others = torch.full_like(full, math.nan, dtype=torch.float64)
    for one, of_all in zip(hidden, seen, strict=True):
        others = torch.where(one, _by_both(pair, given, key, one, of_all, options), others)
    cells, shares = _two_components(others, wide)
    _tell(schema, shares)
    suspects = cells > _SUSPECT
    if suspects.any():
        (of_all,) = seen_densities(pair, given, key, [suspects], **options)
        again = _by_both(pair, given, key, suspects, of_all, options)
        cells = torch.where(suspects.any(1, keepdim=True), _probability(again, wide, shares), cells)
    apart = torch.logaddexp(math.log(_APART) + alone, math.log(1 - _APART) + wide).nansum(1)
    rows, share = _two_components(whole.rows[:, None], apart[:, None])
    if float(share) > _MOST:
        logger.warning(
            "%.0f %% of the rows look like outliers as a whole, cells that have nothing to do with each other: the "
            "pair knows little of how columns go together, and its verdicts on rows say nothing. Train it longer.",
            100 * float(share),
        )
    return cells, rows[:, 0]


def by_themselves(pair: HasPair, given: Any, key: Any, seen: CellDensities, options: dict) -> torch.Tensor:
    """Log-densities of cells of which no other is known: the guide of an empty row may be anything, its prior is not.

    Draws of the guide that saw the row (`seen`) belong beside these, which are few where a cell is far out.
    """
    every = torch.ones_like(given[key], dtype=torch.bool)
    structure = sampler_of(pair, *split(given), options["seed"], options["data_plate"]).structure
    return pooled(seen, cell_densities(FromPrior(pair, structure), given, key, every, **options), every).cells


def _by_both(
    pair: HasPair, given: Any, key: Any, hidden: torch.Tensor, seen: CellDensities, options: dict
) -> torch.Tensor:
    """Log-densities of cells given what is not hidden, by draws of a guide that saw all and of one that saw only these.

    Weights alone cannot take an absurd cell back: all draws of a guide that saw it are where it is likely. And a guide
    that has met no such hole in training may be sure of the wrong place, where the other cells are improbable too.
    """
    return pooled(seen, cell_densities(pair, given, key, hidden, **options), hidden).cells


def _two_components(model: torch.Tensor, wide: torch.Tensor, rounds: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of the second component, and its share by EM, for each column; a prior of one in a hundred."""
    share = torch.full(model.shape[1:], 0.01, dtype=torch.float64)
    count = (~model.isnan()).sum(0)
    for _ in range(rounds):
        share = (_probability(model, wide, share).nansum(0) + 0.1) / (count + 10.0)
    return _probability(model, wide, share), share


def _probability(model: torch.Tensor, wide: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return (share.log() - (-share).log1p() + wide - model).sigmoid()


def _tell(schema: RowSchema, shares: torch.Tensor) -> None:
    for column, share in zip(schema.columns, shares.tolist(), strict=True):
        if share > _MOST:
            logger.warning(
                "%.0f %% of column %r look like outliers: the model does not fit it. Train longer, or give the column "
                "another kind.", 100 * share, column.name,
            )  # fmt: skip
