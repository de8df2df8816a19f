"""New rows of a table of which some cells are given."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch

from pyrovae.errors import ArgumentError, DataError, PairError, argument
from pyrovae.evaluation.from_prior import FromPrior
from pyrovae.evaluation.per_datum import sampler_of
from pyrovae.models.conditionals.columns import KINDS
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.tables.impute import TRUSTED, imputations
from pyrovae.tables.imputed import Imputed
from pyrovae.tables.missing_cells import taking_holes
from pyrovae.tables.schema import Schema
from pyrovae.tables.table_column import DATES, TableColumn
from pyrovae.tables.without_mask_sites import without_mask_sites

logger = logging.getLogger("pyrovae")

_SHOWN = 12  # columns or classes named in one message
_FEW = 50  # effective candidates below which rows repeat each other


@in_turn
def generate_where(
    pair: HasPair, count: int, where: Mapping[str, Any], *, candidates: int | None = None, seed: int | None = 0
) -> Any:
    r"""Draw new rows given some of their cells, by importance.

    \[ x_{rest} \sim p(x_{rest} \mid z), \qquad z \sim \sum_k \tilde w_k\, \delta_{z_k}, \qquad
    w_k = \frac{p(x_{where} \mid z_k)\, p(z_k)}{r(z_k)}, \quad z_k \sim r \]

    r is the guide, which is shown those cells and nothing else, or the prior, whichever has more effective draws: a
    guide that was trained on full rows may know nothing of such.

    Args:
        pair: any pair that carries a schema and takes nothing but its rows.
        count: how many rows.
        where: values of columns by name, such as `{"class": "rare"}`: classes, or numbers.
        candidates: draws that are weighed: left out, five for each row, 2,000 at least.
        seed: of the draws.

    Returns:
        A frame of `count` rows. `frame.attrs["effective_size"]` says how many of the candidates count; of few, the
        rows have few latents in common, which is said in the log.

    Raises:
        ArgumentError: a column, or a class, that the schema does not know.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> frame = pd.DataFrame({"size": [1.5, 2.0, 9.0, 8.5] * 25, "kind": ["small", "small", "big", "big"] * 25})
        >>> pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[8])
        >>> _ = pv.fit(pair, frame, epochs=2, seed=0, progress=False)
        >>> made = pv.tables.generate_where(pair, 5, {"kind": "big"})
        >>> made["kind"].unique().tolist(), len(made)
        (['big'], 5)
    """
    count = check_count("count", count)
    candidates = max(5 * count, 2000) if candidates is None else check_count("candidates", candidates)
    schema = schema_of(pair)
    if not isinstance(schema, Schema):
        raise ArgumentError(
            "generate_where takes a pair that carries a schema: pv.tables.with_schema(pair, pv.tables.schema(frame))."
        )
    row = _row(schema, where)
    pair = without_mask_sites(taking_holes(pair, (row,)), (row,))  # what was not asked for is not missing
    prior = FromPrior(pair, sampler_of(pair, (row,), {}, seed, None).structure)
    found = max((imputations(one, (row,), count, candidates, seed) for one in (pair, prior)), key=_effective)
    if len(found.values) != 1:
        raise PairError(f"the pair observes {', '.join(map(repr, found.values))}, and generate_where knows rows alone.")
    (values,) = found.values.values()
    frame = schema.decode(values[:, 0])
    frame.attrs["effective_size"] = _effective(found)
    _tell(found, candidates)
    return frame


def _row(schema: Schema, where: Mapping[str, Any]) -> torch.Tensor:
    """One row that holds those cells, and holes."""
    import pandas as pd

    where = where.to_dict() if isinstance(where, pd.Series) else where
    if not isinstance(where, Mapping) or not where:
        raise ArgumentError(f"where={where!r}; give values of columns by name, such as {{'class': 'rare'}}.")
    known = [one for one in schema.table if one.column is not None]
    where = {str(name): value for name, value in where.items()}
    for name, value in where.items():
        if name not in {one.name for one in known}:
            raise ArgumentError(f"{argument('where', {name: value})}: {_unknown(schema, name)}")
        if not pd.api.types.is_scalar(value):
            raise ArgumentError(f"{argument('where', {name: value})}: give one value, and ask once for each.")
    row = torch.full((1, len(known)), torch.nan, dtype=torch.float64)
    for place, one in enumerate(known):
        if one.name in where:
            row[0, place] = _number(one, where[one.name])
    return row


def _unknown(schema: Schema, name: str) -> str:
    for one in schema.table:
        if one.name == name:
            return f"{name!r} is no column of the model ({one.note}), so that nothing follows from it."
    names = [one.name for one in schema.table if one.column is not None]
    more = ", ..." if len(names) > _SHOWN else ""
    return f"there is no column {name!r}; the schema's columns are {', '.join(map(repr, names[:_SHOWN]))}{more}."


def _number(one: TableColumn, value: Any) -> float:
    """What a value of a column is in the rows."""
    import pandas as pd

    try:
        number = float(one.numbers(pd.Series([value]))[0][0])
    except DataError:
        number = math.nan
    if math.isnan(number):
        assert one.column is not None
        more = ", ..." if len(one.levels) > _SHOWN else ""
        levels = f"its classes are {', '.join(map(repr, one.levels[:_SHOWN]))}{more}"
        dates = "it is a date, such as 2020-01-31"
        kind = f"it is {one.column.kind}: {KINDS[one.column.kind].words}"
        words = levels if one.levels else dates if one.form in DATES else kind
        raise ArgumentError(f"{argument('where', {one.name: value})}: {one.name!r} cannot be {value!r}; {words}.")
    return number


def _effective(found: Imputed) -> float:
    return float(found.ess[0])


def _tell(found: Imputed, candidates: int) -> None:
    if _effective(found) < _FEW or float(found.khat[0]) > TRUSTED:
        logger.warning(
            "%.0f of %d candidates count for these cells (khat %.2f): the rows repeat each other's latents. Give more "
            "(%s), or train on rows with holes, so that the guide learns what few cells say.",
            _effective(found), candidates, float(found.khat[0]), argument("candidates"),
        )  # fmt: skip
