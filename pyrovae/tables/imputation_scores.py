"""How well imputers fill cells that are hidden from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.column import Column
from pyrovae.models.conditionals.columns import has_classes, kind_of
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import check_count, check_share
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed, seed_for
from pyrovae.tables.as_frame import as_frame
from pyrovae.tables.completions import Completions, completions
from pyrovae.tables.hidden_cells import hidden_cells, with_holes
from pyrovae.tables.imputation_results import ImputationScores
from pyrovae.tables.likely_cells import likely_cells
from pyrovae.tables.schema import Schema
from pyrovae.tables.schema import schema as guessed
from pyrovae.trust.proper_scores import Scores, Scoring

logger = logging.getLogger("pyrovae")


def imputation_scores(
    imputers: Any,
    frame: Any,
    *,
    hidden: Any = 0.3,
    masks: int = 3,
    draws: int = 100,
    level: float = 0.9,
    schema: Schema | None = None,
    seed: int | None = 0,
) -> ImputationScores:
    r"""Hide cells that are there, impute them, and compare.

    Four figures for each column and mask, over the hidden cells:

    - *error*: of numbers the root of the mean squared error by the column's standard deviation, so that 1 is what its
      mean comes to; of classes the share that is wrong.
    - *crps*: the continuous ranked probability score of the draws, of numbers by the same deviation, of ordered
      classes in steps between them; of other classes with the distance 0 or 1, which is half the Brier score. Of a
      single completion it is the mean absolute error.
    - *coverage*: the share of cells inside central intervals of the draws, by randomised ranks, so that `level` is
      right for discrete columns, too. A single completion has none.
    - *log_density*: \( \log p(x_h \mid x_o) \) of a hidden cell given what is there of its row, by importance weights,
      in the units of the data. Only pairs have one; it compares pairs that take the column for the same kind.

    An imputer must not have seen what is hidden. So give a function that fits: it gets the frame with holes and nothing
    else. A pair that was trained before is scored as it is, and the result says so: hide only rows that it was not
    trained on. All imputers meet the same masks.

    Args:
        imputers: by name, or one: a function of a frame with holes that returns a trained pair (with a schema), what
            `impute` makes of draws, a complete frame or array, or a list of them (multiple imputations); an imputer of
            scikit-learn, which is copied and fitted; or a trained pair.
        frame: the table; its own holes are not scored.
        hidden: the share of cells that is hidden at random; or what is, as a frame or array of booleans for the
            schema's columns, or several of them. Where at random, a cell of each class is kept.
        masks: how many random ones.
        draws: of pairs, for each hole.
        level: of the intervals.
        schema: what the columns are, in the scores; left out, guessed.
        seed: of masks and draws.

    Returns:
        An `ImputationScores`: print it, or see `by_column`, `overall` and `compared`.

    References:
        Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation" (2007).

    Examples:
        >>> import numpy as np, pandas as pd, pyrovae as pv
        >>> x = np.random.default_rng(0).normal(size=200)
        >>> frame = pd.DataFrame({"a": x, "b": x + np.random.default_rng(1).normal(size=200)})
        >>> imputers = {"mean": lambda holed: holed.fillna(holed.mean()), "zero": lambda holed: holed.fillna(9.0)}
        >>> found = pv.tables.imputation_scores(imputers, frame)
        >>> float(found.compared("mean", "zero").loc["error of numbers", "mean"]) < -5
        True
    """
    check_count("draws", draws)
    level = check_share("level", level)
    named = dict(imputers) if isinstance(imputers, Mapping) else {"imputer": imputers}
    if not named:
        raise ArgumentError("there is no imputer; give one at least.")
    frame, seed = as_frame(frame), chosen_seed(seed)
    schema = guessed(frame) if schema is None else schema
    before = tuple(name for name, one in named.items() if isinstance(one, HasPair))
    if before:
        logger.warning(
            "%s was trained before cells were hidden: its figures stand if it has not seen these rows. Give a function "
            "that fits a pair on the frame with holes.", ", ".join(map(repr, before)),
        )  # fmt: skip
    truth, rows = schema.encode(frame), []
    for number, mask in enumerate(hidden_cells(frame, schema, hidden, masks, seed)):
        holed = with_holes(frame, schema, mask)
        for name, imputer in named.items():
            made = completions(imputer, frame, holed.copy(), schema, draws, seed_for(seed, "draws", number))
            with forked_random(seed_for(seed, "ranks", number)):
                scores = _of_columns(truth, torch.from_numpy(mask), made, schema, level, name)
            rows += [{"imputer": name, "mask": number, **one} for one in scores]
    import pandas as pd

    return ImputationScores(pd.DataFrame(rows), level, before)


def _of_columns(
    truth: torch.Tensor, hidden: torch.Tensor, made: Completions, schema: Schema, level: float, name: str
) -> list[dict[str, Any]]:
    likely, found = likely_cells(made.rows, schema.columns), []
    for place, column in enumerate(schema.columns):
        here = hidden[:, place]
        if not here.any():
            continue
        draws, true = made.rows[:, here, place].double(), truth[here, place]
        if bool(draws.isnan().any()):
            raise ArgumentError(f"imputer {name!r} left hidden cells of column {column.name!r} empty.")
        spread = float(np.nanstd(truth[:, place]))
        error = _error(column, likely[here, place], true, spread)
        crps, coverage = _of_draws(column, draws, true, spread, level)
        density = float("nan") if made.densities is None else float(made.densities[here, place].mean())
        figures = {"error": error, "crps": crps, "coverage": coverage, "log_density": density}
        found.append({"column": column.name, "kind": column.kind, "hidden": int(here.sum()), **figures})
    return found


def _error(column: Column, likely: torch.Tensor, true: torch.Tensor, spread: float) -> float:
    if has_classes(column):
        return float((likely != true).double().mean())
    return float((likely - true).square().mean().sqrt()) / spread


def _of_draws(
    column: Column, draws: torch.Tensor, true: torch.Tensor, spread: float, level: float
) -> tuple[float, float]:
    """CRPS and coverage."""
    drawn, wanted, unit = draws, true, spread
    if has_classes(column) and kind_of(column).ordered:
        unit = 1.0
    elif has_classes(column):  # indicators, of which two differ where classes do
        levels = torch.arange(column.classes)
        drawn, wanted = ((part[..., None] == levels).double() for part in (draws, true))
        unit = 2 / column.classes
    if len(draws) == 1:
        return float((drawn[0] - wanted).abs().mean()) / unit, float("nan")
    crps = _scored(drawn, wanted).crps
    ranks = _scored(draws, true).ranks
    return float(crps.mean()) / unit, float(((ranks - 0.5).abs() <= level / 2).double().mean())


def _scored(draws: torch.Tensor, true: torch.Tensor) -> Scores:
    scoring = Scoring(true, torch.ones_like(true, dtype=torch.bool))
    scoring.add(draws)
    return scoring.scores()
