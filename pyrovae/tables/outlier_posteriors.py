"""How probable each cell is an outlier, by a likelihood that knows of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pyrovae.data.holed_rows import split
from pyrovae.evaluation.per_datum import check_each_datum, sampler_of
from pyrovae.models.conditionals.or_anything import OrAnything
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.part_observed import without_masks
from pyrovae.prediction.framed import framed_site
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.whole_sites import observed_part
from pyrovae.tables.cell_densities import each_cell


class OutlierPosteriors(NamedTuple):
    """Posterior probabilities: of each cell that it is an outlier, and of each row that one of its cells is."""

    cells: torch.Tensor
    rows: torch.Tensor


def outlier_posteriors(
    pair: HasPair, given: Any, key: int | str, *, draws: int, seed: int | None, data_plate: Any
) -> OutlierPosteriors | None:
    r"""By importance weights, given whole rows; None where the pair's likelihood has no component for outliers.

    \[ P(j \mid x) = \sum_k \tilde w_k\, r_{kj}, \quad
    P(\text{row} \mid x) = 1 - \sum_k \tilde w_k \prod_j (1 - r_{kj}), \quad
    r_{kj} = \frac{\pi_j\, b_j(x_j)}{\pi_j\, b_j(x_j) + (1 - \pi_j)\, p(x_j \mid z_k)} \]

    Args:
        pair: one that takes holes and carries a schema.
        given: its data.
        key: the argument that the rows of the table are.
        draws: of the guide for each row.
        seed: of the draws.
        data_plate: the plate of the data, where it cannot be found.
    """
    full = given[key]
    sampler = sampler_of(pair, *split(given), seed, data_plate)
    check_each_datum(sampler)
    site = framed_site(sampler, key)
    if site is None or sampler.global_sites:
        return None
    site = observed_part(sampler.structure, site)
    parts = []
    for tiles in sampler.tiles_by_rows(draws, "scored"):
        found = _of_rows(sampler, site, list(tiles()), full)
        if found is None:
            return None
        parts.append(found)
    return OutlierPosteriors(*map(torch.cat, zip(*parts, strict=True)))


def _of_rows(sampler: Sampler, site: str, tiles: list[Tile], full: torch.Tensor) -> OutlierPosteriors | None:
    values = full[tiles[0].rows.start : tiles[0].rows.stop]
    runs = [run for tile in tiles for run in tile.runs]
    if not all(isinstance(_base(run.node(site)["fn"]), OrAnything) for run in runs):
        return None
    weights = torch.cat([densities_of(tile).log_weights.cpu() for tile in tiles]).softmax(0)
    each = torch.cat([each_cell(sampler, run, site, values, OrAnything.outlier_probability) for run in runs])
    missing = values.isnan()
    none = (1 - each.masked_fill(missing, 0.0)).prod(-1)
    return OutlierPosteriors(
        (weights[..., None] * each).sum(0).masked_fill(missing, torch.nan), 1 - (weights * none).sum(0)
    )


def _base(fn: Any) -> Any:
    return base_of(without_masks(fn))
