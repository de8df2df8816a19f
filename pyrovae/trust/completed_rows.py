"""Rows whose missing cells are drawn given what is there, by candidates of the guide that are weighed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import torch

from pyrovae.errors import DataError
from pyrovae.evaluation.arviz_versions import psislw
from pyrovae.evaluation.importance_weights import check
from pyrovae.pairs.check_room import check_room
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.part_observed import completed
from pyrovae.pairs.seeds import seed_for
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.whole_sites import given_sites, merged, whole_of
from pyrovae.trust.site_rows import rows_second, seen_in
from pyrovae.trust.systematic import repeated, systematic

_ANEW = 10  # times that missing cells are drawn for one candidate: a candidate that counts alone is told of


class CompletedRows(NamedTuple):
    """Completed data by site, (draws, rows, ...), what of them was missing, (rows, ...), and how far to trust them."""

    values: dict[str, torch.Tensor]
    missing: dict[str, torch.Tensor]
    khat: torch.Tensor
    ess: torch.Tensor


def completed_rows(sampler: Sampler, draws: int, candidates: int) -> CompletedRows:
    """Draws of what is missing.

    Args:
        sampler: of a pair that takes holes, on data with holes.
        draws: of each row.
        candidates: draws of the latents that are weighed for them.
    """
    rows = sampler.tile_rows or 1
    check_room(8 * candidates * rows, f"the weights of {rows:,} rows", "Ask for fewer draws or candidates.")
    parts = list(_of_tiles(sampler, draws, candidates))
    sites = parts[0].values
    return CompletedRows(
        {site: torch.cat([part.values[site] for part in parts], 1) for site in sites},
        {site: torch.cat([part.missing[site] for part in parts]) for site in sites},
        torch.cat([part.khat for part in parts]),
        torch.cat([part.ess for part in parts]),
    )


def _of_tiles(sampler: Sampler, draws: int, count: int) -> Iterator[CompletedRows]:
    together = _on_a_grid if sampler.global_sites else _by_rows
    for rows, weights, tiles in together(sampler, draws, count):
        chosen, khat, ess = _chosen(weights, rows, draws, sampler.seed)
        yield _completed(sampler, tiles, chosen, khat, ess)


def _by_rows(sampler: Sampler, draws: int, count: int) -> Iterator[tuple]:
    """For each tile of rows the log weights (1, candidates, rows) and a way to the tiles of their draws."""
    scored, made = sampler.tiles_by_rows(count, "scored"), sampler.tiles_by_rows(count)
    for scores, values in zip(scored, made, strict=True):
        found = [(tile.rows, densities_of(tile).log_weights.cpu()) for tile in scores()]
        yield found[0][0], torch.cat([weights for _, weights in found])[None], values


def _on_a_grid(sampler: Sampler, draws: int, count: int) -> Iterator[tuple]:
    """The same with global draws in front: for each row, candidates beside every one of them."""
    by_rows = attrgetter("rows")
    pairs = zip(
        groupby(sampler.grid(draws, count, "scored"), key=by_rows),
        groupby(sampler.grid(draws, count), key=by_rows),
        strict=True,
    )
    for (rows, scored), (_, made) in pairs:
        parts = [
            torch.cat([densities_of(tile).log_weights.cpu() for tile in tiles])
            for _, tiles in groupby(scored, key=attrgetter("part"))
        ]
        yield rows, torch.stack(parts), partial(iter, made)


def _chosen(
    log_weights: torch.Tensor, rows: range, draws: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which candidates are taken, (draws, rows); khat and effective size, (rows,), the worst of several."""
    shared, count, size = log_weights.shape
    check(log_weights.logsumexp(1).flatten(), None)
    smoothed, khat = map(torch.from_numpy, psislw(log_weights.movedim(1, 2).reshape(-1, count).numpy()))
    ess = 1 / (2 * smoothed).exp().sum(-1)
    with forked_random(seed_for(seed, "chosen", rows.start)):
        taken = systematic(smoothed.exp(), max(draws // shared, 1))
    taken = taken.reshape(shared, size, -1).movedim(2, 1).reshape(-1, size)
    return taken, khat.reshape(shared, size).amax(0), ess.reshape(shared, size).amin(0)


def _completed(
    sampler: Sampler, tiles: Any, chosen: torch.Tensor, khat: torch.Tensor, ess: torch.Tensor
) -> CompletedRows:
    """The data of a tile of rows, completed by the candidates that were chosen."""
    values: dict[str, torch.Tensor] = {}
    missing: dict[str, torch.Tensor] = {}
    grid = bool(sampler.global_sites)
    again = torch.zeros_like(chosen) if grid else repeated(chosen) % _ANEW
    for number, tile in enumerate(tiles()):
        here = _here(chosen, tile, grid=grid)
        with sampler.use.quietly(seed_for(sampler.seed, "completed", number, tile.rows.start)):
            for time in range(int(torch.where(here, again, 0).max()) + 1):
                for site, (full, holes) in completed_cells(sampler, tile).items():
                    missing[site] = holes
                    whole = values.setdefault(site, full.new_empty((len(chosen), *full.shape[1:])))
                    draw, row = (here & (again == time)).nonzero(as_tuple=True)
                    whole[draw, row] = full[chosen[draw, row] - tile.draws.start, row]
    return CompletedRows(values, missing, khat, ess)


def _here(chosen: torch.Tensor, tile: Tile, *, grid: bool) -> torch.Tensor:
    """Which of the chosen candidates are in a tile."""
    here = (chosen >= tile.draws.start) & (chosen < tile.draws.stop)
    if grid:  # draw d was chosen beside the global draw d
        here &= torch.arange(len(chosen))[:, None] == tile.part
    return here


def completed_cells(sampler: Sampler, tile: Tile) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Of each observed site its completed values (draws, rows, ...) and which of them are missing (rows, ...)."""
    structure, found = sampler.structure, {}
    parts = merged(structure)
    for site in (name for name in given_sites(structure) if structure.sites[name].local):
        seen = rows_second(sampler, torch.cat([seen_in(run, site) for run in tile.runs]), site)
        if site in parts:  # Pyro has a latent site for what is missing, and puts both together itself
            full = rows_second(sampler, tile.value(parts[site]), parts[site])
            if bool(full.isnan().any()):
                raise DataError(
                    f"obs_mask says that {parts[site]!r} is observed where it is missing (NaN): mask it there."
                )
        else:
            full = rows_second(sampler, torch.cat([_drawn(run, site) for run in tile.runs]), site)
        found[whole_of(structure, site)] = full.cpu(), ~seen[0].cpu()
    return found


def _drawn(run: Run, site: str) -> torch.Tensor:
    node = run.node(site)
    mask = mask_of(node)

    def drawn(fn: Any) -> torch.Tensor:
        value = node["value"].expand(fn.batch_shape + fn.event_shape)
        return value if mask is None else completed(fn, value, mask)

    return run.of(site, drawn)
