"""New rows of a table of which some cells are given."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyrovae.data.holed_rows import taking_holes
from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.evaluation.from_prior import FromPrior
from pyrovae.evaluation.per_datum import sampler_of
from pyrovae.evaluation.unreliable_weights import TRUSTED
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed, seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.tables.given_cells import GivenCells, given_cells
from pyrovae.tables.impute import imputations
from pyrovae.tables.imputed import Imputed
from pyrovae.tables.schema import Schema
from pyrovae.trust.without_mask_sites import without_mask_sites

logger = logging.getLogger("pyrovae")

_MOST = 200  # rows that are drawn for each that is wanted
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
        where: values of columns by name, such as `{"class": "rare"}`: classes, or numbers; or a range, both ends
            within, such as `{"age": (30, 40)}` or `{"age": (30, None)}`, of numbers, dates or ordered classes. Of
            ranges nothing is shown to the guide: rows are drawn until enough lie within.
        candidates: draws that are weighed: left out, five for each row, 2,000 at least.
        seed: of the draws.

    Returns:
        A frame of `count` rows. `frame.attrs["effective_size"]` says how many of the candidates count; of few, the
        rows have few latents in common, which is said in the log.

    Raises:
        ArgumentError: a column, or a class, that the schema does not know; ranges that hardly a row lies within.

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
    seed = chosen_seed(seed)
    schema = schema_of(pair)
    if not isinstance(schema, Schema):
        raise ArgumentError(
            "generate_where takes a pair that carries a schema: pv.tables.with_schema(pair, pv.tables.schema(frame))."
        )
    given = given_cells(schema, where)
    data = (given.row,)
    pair = without_mask_sites(taking_holes(pair, data), data)  # what was not asked for is not missing
    prior = FromPrior(pair, sampler_of(pair, data, {}, seed, None).structure)
    draws = max(count, candidates // 5) if given.ranges else count
    found = {one: imputations(one, data, draws, candidates, seed) for one in (pair, prior)}
    best = max(found, key=lambda one: _effective(found[one]))
    _tell(found[best], candidates)
    frame, share = _within(best, schema, given, found[best], count, candidates, seed)
    frame.attrs["effective_size"] = _effective(found[best]) * share
    return frame


def _within(
    pair: HasPair, schema: Schema, given: GivenCells, found: Imputed, count: int, candidates: int, seed: int
) -> tuple[Any, float]:
    """As many rows that lie within the ranges as are wanted, and how many lie there for one that is drawn at first.

    Rows are drawn until there are enough: those that lie within are draws of the model, given that they do.
    """
    import pandas as pd

    kept, seen, inside, draws = [], 0, 0, len(_rows(found))
    while True:
        frame = schema.decode(_rows(found))
        here = given.within(schema.encode(frame)).numpy() if given.ranges else np.ones(len(frame), bool)
        kept.append(frame[here])
        seen, inside = seen + len(frame), inside + int(here.sum())
        if inside >= count:
            return pd.concat(kept).iloc[:count].reset_index(drop=True), inside / draws
        if seen >= _MOST * draws and inside * _MOST < seen:
            raise ArgumentError(
                f"{argument('where')}: of {seen} rows that were drawn {inside} lie within the ranges, and {count} are "
                "wanted. Make the ranges wider, or ask for fewer conditions at once."
            )
        found = imputations(pair, (given.row,), draws, candidates, seed_for(seed, "within", seen))


def _rows(found: Imputed) -> Any:
    if len(found.values) != 1:
        raise PairError(f"the pair observes {', '.join(map(repr, found.values))}, and generate_where knows rows alone.")
    (values,) = found.values.values()
    return values[:, 0]


def _effective(found: Imputed) -> float:
    return float(found.ess[0])


def _tell(found: Imputed, candidates: int) -> None:
    if _effective(found) < _FEW or float(found.khat[0]) > TRUSTED:
        logger.warning(
            "%.0f of %d candidates count for these cells (khat %.2f): the rows repeat each other's latents. Give more "
            "(%s), or train on rows with holes, so that the guide learns what few cells say.",
            _effective(found), candidates, float(found.khat[0]), argument("candidates"),
        )  # fmt: skip
