"""How probable each cell of a table is, given the other cells of its row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from pyrovae.data.holed_rows import split
from pyrovae.errors import PairError
from pyrovae.evaluation.per_datum import check_each_datum, sampler_of
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.lawful_values import lawful_value
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.part_observed import without_masks
from pyrovae.prediction.framed import framed_site
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.site_rows import rows_second
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.whole_sites import observed_part


class CellDensities(NamedTuple):
    """Log-densities of cells and rows, in the units of the data.

    Attributes:
        cells: of each cell given those of its row that are shown, itself apart, (rows, columns); NaN where there is
            none.
        rows: of what is shown of each row, (rows,).
    """

    cells: torch.Tensor
    rows: torch.Tensor


def cell_densities(
    pair: HasPair, given: Any, key: int | str, hidden: torch.Tensor, *, draws: int, seed: int | None, data_plate: Any
) -> CellDensities:
    r"""Log-densities of cells by importance weights, with draws of a guide that sees what is shown.

    With S the cells of a row that are shown, and \( w_k = p(x_S, z_k) / q(z_k) \),

    \[ p(x_j \mid x_S) = \frac{\sum_k w_k\, p(x_j \mid z_k)}{\sum_k w_k} \text{ for a hidden cell}, \qquad
    p(x_j \mid x_{S \setminus j}) = \frac{\sum_k w_k}{\sum_k w_k / p(x_j \mid z_k)} \text{ for a shown one} \]

    Args:
        pair: one that takes holes and carries a schema.
        given: its data.
        key: the argument that the rows of the table are.
        hidden: which cells the pair does not see, beside those that are missing, (rows, columns).
        draws: of the guide for each row.
        seed: of the draws.
        data_plate: the plate of the data, where it cannot be found.
    """
    full = given[key]
    shown = full.masked_fill(hidden, math.nan)
    data = {**given, key: shown} if isinstance(given, dict) else tuple(
        shown if place == key else leaf for place, leaf in enumerate(given)
    )  # fmt: skip
    (found,) = _densities(pair, data, key, full, [hidden], draws=draws, seed=seed, data_plate=data_plate)
    return found


def seen_densities(
    pair: HasPair,
    given: Any,
    key: int | str,
    hidden: Sequence[torch.Tensor],
    *,
    draws: int,
    seed: int | None,
    data_plate: Any,
) -> list[CellDensities]:
    r"""The same for sets of cells that are hidden from the model alone, with draws of a guide that sees whole rows.

    The weights of a set are \( p(x_S, z_k) / q(z_k \mid x) \), so that one pass of the pair serves all sets.
    """
    return _densities(pair, given, key, given[key], hidden, draws=draws, seed=seed, data_plate=data_plate)


def pooled(one: CellDensities, other: CellDensities, hidden: torch.Tensor) -> CellDensities:
    r"""Of two estimates with draws of two guides, the one whose draws lie where the shown cells are likely decides.

    Each estimates \( p(x_S) \), \( p(x_S, x_j) \) and \( p(x_{S \setminus j}) \) without bias, and so does their mean.
    """
    (a, b), (u, v) = (one.rows[:, None], one.cells), (other.rows[:, None], other.cells)
    rows = torch.logaddexp(a, u)
    cells = torch.where(
        hidden, torch.logaddexp(a + b, u + v) - rows, rows - torch.logaddexp(a - b, u - v)
    )  # fmt: skip
    return CellDensities(cells, rows[:, 0] - math.log(2))


def _densities(
    pair: HasPair, data: Any, key: int | str, full: torch.Tensor, hidden: Sequence[torch.Tensor], *,
    draws: int, seed: int | None, data_plate: Any,
) -> list[CellDensities]:  # fmt: skip
    """For each set of hidden cells; `data` is what the pair runs on."""
    sampler = sampler_of(pair, *split(data), seed, data_plate)
    check_each_datum(sampler)
    site = framed_site(sampler, key)
    if site is None or sampler.global_sites:
        why = "no one observed site is the rows of its schema" if site is None else "it has sites that all rows share"
        raise PairError(f"the cells of this pair have no densities of their own here: {why}.")
    site = observed_part(sampler.structure, site)
    seen = ~data[key].isnan()
    parts = [
        _of_rows(sampler, site, list(tiles()), full, seen, hidden) for tiles in sampler.tiles_by_rows(draws, "scored")
    ]
    return [CellDensities(*map(torch.cat, zip(*of_set, strict=True))) for of_set in zip(*parts, strict=True)]


def _of_rows(
    sampler: Sampler,
    site: str,
    tiles: list[Tile],
    full: torch.Tensor,
    seen: torch.Tensor,
    hidden: Sequence[torch.Tensor],
) -> list[CellDensities]:
    rows = slice(tiles[0].rows.start, tiles[0].rows.stop)
    values, seen = full[rows], seen[rows]
    weights = torch.cat([densities_of(tile).log_weights.cpu() for tile in tiles])
    cells = torch.cat([each_cell(sampler, run, site, values) for tile in tiles for run in tile.runs])
    return [_of_set(weights, cells, values, seen, one[rows]) for one in hidden]


def _of_set(
    weights: torch.Tensor, cells: torch.Tensor, values: torch.Tensor, seen: torch.Tensor, hidden: torch.Tensor
) -> CellDensities:
    # What is seen is in the weights; what of it is hidden here is taken out of them.
    weights = weights - torch.where(seen & hidden, cells, 0.0).sum(-1)
    whole = weights.logsumexp(0)
    without = whole[:, None] - (weights[..., None] - cells).logsumexp(0)
    given_rest = (weights[..., None] + cells).logsumexp(0) - whole[:, None]
    found = torch.where(seen & ~hidden, without, given_rest).masked_fill(values.isnan(), math.nan)
    return CellDensities(found, whole - math.log(len(weights)))


def each_cell(
    sampler: Sampler,
    run: Run,
    site: str,
    values: torch.Tensor,
    score: Callable[[Any, torch.Tensor], torch.Tensor] = lambda base, full: base.log_prob(full),
) -> torch.Tensor:
    """What a function of a distribution says of single cells under each draw, (draws, rows, columns): densities."""

    def density(fn: Any) -> torch.Tensor:
        base = base_of(without_masks(fn))
        if base.event_shape:
            raise PairError(
                f"{site!r} is a joint event ({type(base).__name__}), whose cells have no densities of their own. Write "
                "a distribution of independent elements (.to_event)."
            )
        times = fn.batch_shape[-1] // len(values)  # where draws stand behind each other in the rows
        full = values.repeat(times, 1).to(run.node(site)["value"])
        return score(base, torch.where(full.isnan(), lawful_value(base, full), full))

    return rows_second(sampler, run.of(site, density), site).cpu().double()
