"""Rows whose missing cells are drawn given what is there, by candidates of the guide that are weighed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import DataError
from pyrovae.evaluation.arviz_versions import psislw
from pyrovae.evaluation.importance_weights import check
from pyrovae.objectives.figures import is_part_of_q
from pyrovae.pairs.check_room import check_room
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.part_observed import completed
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.trace import samples
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.runs import Run, on_rows
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.site_rows import rows_second, seen_in
from pyrovae.sampling.tiles import Tile, draw_ranges
from pyrovae.sampling.unseen_rows import unseen_rows
from pyrovae.sampling.whole_sites import given_sites, merged, whole_of
from pyrovae.trust.systematic import systematic


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
    model_alone = sampler.tiles_by_rows(draws, "generative")
    for (weighed, tiles), alone in zip(together(sampler, draws, count), model_alone, strict=True):
        chosen, khat, ess = _chosen(weighed.log_weights, weighed.rows, draws, sampler.seed)
        found = CompletedRows(*completed_given(sampler, weighed.rows, tiles, chosen), khat, ess)
        yield _without_guide(sampler, found, weighed.unseen, alone(), count) if weighed.unseen.any() else found


def _without_guide(
    sampler: Sampler, found: CompletedRows, unseen: torch.Tensor, tiles: Iterable[Tile], count: int
) -> CompletedRows:
    """Rows of which nothing is there as the model draws them, however far from the prior the guide is."""
    drawn: dict[str, list[torch.Tensor]] = {site: [] for site in found.values}
    parts = {whole_of(sampler.structure, part): whole for part, whole in merged(sampler.structure).items()}
    for tile in tiles:
        for site, values in drawn.items():
            name = parts.get(site, site)
            values.append(rows_second(sampler, tile.value(name), name).cpu())
    for site, values in drawn.items():
        found.values[site][:, unseen] = torch.cat(values)[:, unseen].to(found.values[site])
    return found._replace(
        khat=found.khat.masked_fill(unseen, -math.inf), ess=found.ess.masked_fill(unseen, float(count))
    )


class _Weighed(NamedTuple):
    """The log weights of candidates (global draws, candidates, rows), and which rows have nothing observed."""

    rows: range
    log_weights: torch.Tensor
    unseen: torch.Tensor


def _weighed(sampler: Sampler, parts: Iterable[Iterable[Tile]]) -> _Weighed:
    """Of the same rows, for each global draw the tiles of its candidates."""
    weights, unseen, rows = [], None, range(0)
    for tiles in parts:
        weights.append([])
        for tile in tiles:
            weights[-1].append(densities_of(tile).log_weights.cpu())
            unseen, rows = unseen_rows(sampler, tile, unseen), tile.rows
    assert unseen is not None
    return _Weighed(rows, torch.stack([torch.cat(part) for part in weights]), unseen)


def _by_rows(sampler: Sampler, draws: int, count: int) -> Iterator[tuple[_Weighed, Iterator[Tile]]]:
    """For each tile of rows its candidates' weights, and the tiles of the guide's draws of them."""
    scored, drawn = sampler.tiles_by_rows(count, "scored"), sampler.tiles_by_rows(count, "guide")
    for scores, values in zip(scored, drawn, strict=True):
        yield _weighed(sampler, [scores()]), values()


def _on_a_grid(sampler: Sampler, draws: int, count: int) -> Iterator[tuple[_Weighed, Iterator[Tile]]]:
    """The same with global draws in front: for each row, candidates beside every one of them."""
    by_rows = attrgetter("rows")
    pairs = zip(
        groupby(sampler.grid(draws, count, "scored"), key=by_rows),
        groupby(sampler.grid(draws, count, "guide"), key=by_rows),
        strict=True,
    )
    for (_, scored), (_, drawn) in pairs:
        yield _weighed(sampler, (tiles for _, tiles in groupby(scored, key=attrgetter("part")))), drawn


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


def completed_given(
    sampler: Sampler, rows: range, tiles: Iterable[Tile], chosen: torch.Tensor
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The data of a tile of rows, completed by the model given the draws that were chosen, and what was missing.

    Missing cells are drawn for each draw by itself, however often its candidate was taken.

    Args:
        sampler: of the pair, on data with holes.
        rows: which.
        tiles: the guide's draws of all candidates for these rows, by whatever guide.
        chosen: which candidate each draw of each row takes, (draws, rows).

    Returns:
        By site the completed values, (draws, rows, ...), and what of them was missing, (rows, ...).
    """
    batch, given = _given(sampler, tiles, chosen)
    found: dict[str, list[torch.Tensor]] = {}
    missing: dict[str, torch.Tensor] = {}
    for part in draw_ranges(len(given), sampler.tile_draws):
        with sampler.use.quietly(seed_for(sampler.seed, "completed", part.start, rows.start)):
            runs = sampler.run_given(batch, given[part.start : part.stop], "posterior", alike=not sampler.global_sites)
            cells = completed_cells(sampler, Tile(part, rows, on_rows(rows, runs), batch))
        for site, (full, missing[site]) in cells.items():
            found.setdefault(site, []).append(full)
    return {site: torch.cat(parts) for site, parts in found.items()}, missing


def _given(sampler: Sampler, tiles: Iterable[Tile], chosen: torch.Tensor) -> tuple[Batch, list[Trace]]:
    """The rows, and for each draw the guide's sites, those of each row as in the candidate that was chosen for it."""
    held: dict[str, torch.Tensor] = {}
    for tile in tiles:
        here = _here(chosen, tile, grid=bool(sampler.global_sites)).nonzero(as_tuple=True)
        batch, nodes = tile.batch, dict(_drawn_by_guide(tile.runs[0]))
        for name in nodes:
            value, axis = tile.value(name, "guide"), sampler.layout.place(("guide", name)).axis
            whole = held.setdefault(name, value.new_empty((len(chosen), *value.shape[1:])))
            if axis is None:  # of the draw as a whole
                whole[here[0]] = value[chosen[here] - tile.draws.start]
            else:
                by_row = whole.movedim(axis, 1)
                by_row[here] = value.movedim(axis, 1)[chosen[here] - tile.draws.start, here[1]]
    traces = [Trace() for _ in chosen]
    for name, value in held.items():
        for trace, drawn in zip(traces, value, strict=True):
            trace.add_node(name, **{**nodes[name], "value": drawn})
    return batch, traces


def _drawn_by_guide(run: Run) -> Iterator[tuple[str, Any]]:
    """Sites that the guide draws; what it makes of others it makes again."""
    return ((name, node) for name, node in samples(run.traces.guide) if is_part_of_q(node) and not is_delta(node["fn"]))


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
