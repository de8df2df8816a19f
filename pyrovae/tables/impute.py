"""Draws of what is missing in data, given what is there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch

from pyrovae.data.rows_of_frames import frames_among
from pyrovae.errors import ArgumentError, DataError, PairError, argument
from pyrovae.evaluation.importance_weights import check
from pyrovae.evaluation.per_datum import check_each_datum, sampler_of
from pyrovae.export.arviz_versions import psislw
from pyrovae.pairs.isolation import forked_random
from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.part_observed import completed
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.prediction.framed import framed_site
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.use import arguments
from pyrovae.sampling.whole_sites import given_sites, merged, whole_of
from pyrovae.tables.imputed import Imputed, ImputedFrame
from pyrovae.tables.missing_cells import marked, mask_of_rows, split, taking_holes
from pyrovae.tables.systematic import repeated, systematic
from pyrovae.trust.site_rows import rows_second, seen_in

logger = logging.getLogger("pyrovae")

_DRAWS = 100  # means of so many are off by a tenth of the spread of what is missing
TRUSTED = 0.7  # khat up to which importance weights can be
_CANDIDATES = 5  # for each draw that is asked for where weights are over all of them
_ANEW = 10  # times that missing cells are drawn for one candidate: a candidate that counts alone is told of
_FIT = 30  # weights of which a tail can be fitted by both generations of ArviZ
_FEWEST = 500  # of 200, 20 draws covered 86 per cent where those of 400 covered 87 (diabetes, 30 % hidden)


@in_turn
def impute(
    pair: HasPair,
    /,
    *data: Any,
    mask: Any = None,
    draws: int | None = None,
    candidates: int | None = None,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Any:
    r"""Draw what is missing from its distribution given what is there.

    Missing is what is NaN, and what a mask of the pair's own hides. The guide's draws of the latents are resampled
    by their importance weights for the observed part o of each row, so that its being trained on full rows, or on
    something in the place of holes, shows in `khat` and not in the draws:

    \[ x_h \sim p(x_h \mid z, x_o), \qquad z \sim \sum_k \tilde w_k\, \delta_{z_k}, \qquad
    w_k = \frac{p(x_o, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x) \]

    with Pareto-smoothed weights, each candidate as often as its weight says, but for less than one (systematic
    resampling). Sites that all data share are drawn from the guide, anew for each draw.

    Args:
        pair: any pair; one that `masked` has not made is put into it, with the means of the columns for its guide.
        *data: the arguments of model and guide, N rows, with NaN for what is missing.
        mask: what is there, where it is not NaN that says so: True for observed cells, of the shape of the data, or by
            argument name. Of a frame a frame, such as `frame.notna()`.
        draws: of each row: multiple imputations. Left out, 100, and of a frame one filled frame of so many.
        candidates: draws of the latents that are weighed: left out, 5 for each draw, and 500 at least. Where the pair
            has sites that all data share, for each of these.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        An `Imputed`, by observed site; `.frames()` gives a completed frame for each draw. Of a frame without `draws` a
        frame like it: in each hole the mean of the draws of numbers (real, proportion, date), their median where the
        mean hangs on few of them (heavy, positive, counts, ordinal), or the most frequent class. Where the pair
        observes other things beside the table, an `Imputed`, too.

    Raises:
        PairError: a joint event is observed in part and its marginal is not known, or the model reads what is missing.

    References:
        Kitagawa, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space models" (1996), for the
        resampling.
        Mattei and Frellsen, "MIWAE: deep generative modelling and imputation of incomplete data sets" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> x = torch.randn(8, 5)
        >>> x[0, 2] = float("nan")
        >>> found = pv.impute(vae, x, draws=10)
        >>> found.values["x"].shape, int(found.missing["x"].sum())
        (torch.Size([10, 8, 5]), 1)
    """
    frames = frames_among(named or (data[0] if len(data) == 1 and isinstance(data[0], dict) else data))
    asked = check_count("draws", _DRAWS if draws is None else draws)
    count = max(_CANDIDATES * asked, _FEWEST) if candidates is None else check_count("candidates", candidates)
    if count < _FIT:
        raise ArgumentError(
            f"{argument('candidates', candidates)}: of fewer than {_FIT} weights nothing shows that they are bad."
        )
    given, mask = arguments(pair, data, named), mask_of_rows(pair, frames, mask)
    rows = {key: given[key] for key in frames}
    sampler = _sampler(pair, marked(given, mask), seed, data_plate)
    framing = next((_framing(sampler, key, frame, rows[key]) for key, frame in frames.items()), None)
    found = _imputed(sampler, asked, count)._replace(table=framing)
    _tell(found)
    return found.filled() if framing is not None and draws is None and len(found.values) == 1 else found


def imputations(
    pair: HasPair, given: Any, draws: int, candidates: int, seed: int | None, data_plate: str | None = None
) -> Imputed:
    """What `impute` draws, with no word on whether it can be trusted."""
    return _imputed(_sampler(pair, given, seed, data_plate), draws, candidates)


def _sampler(pair: HasPair, given: Any, seed: int | None, data_plate: str | None) -> Sampler:
    sampler = sampler_of(taking_holes(pair, given), *split(given), seed, data_plate)
    check_each_datum(sampler)
    return sampler


def _imputed(sampler: Sampler, draws: int, candidates: int) -> Imputed:
    parts = list(_of_tiles(sampler, draws, candidates))
    sites = parts[0].values
    return Imputed(
        {site: torch.cat([part.values[site] for part in parts], 1) for site in sites},
        {site: torch.cat([part.missing[site] for part in parts]) for site in sites},
        torch.cat([part.khat for part in parts]),
        torch.cat([part.ess for part in parts]),
    )


def _framing(sampler: Sampler, key: int | str, frame: Any, rows: torch.Tensor) -> ImputedFrame:
    """Where the frame's rows are observed."""
    schema, site = schema_of(sampler.use.pair), framed_site(sampler, key)
    if schema is None or site is None:
        raise PairError(
            "no one observed site of the pair is the rows of the schema, (rows, columns), so that nothing says which "
            "draws belong into the frame. Impute the rows themselves: pv.impute(pair, schema.encode(frame))."
        )
    return ImputedFrame(site, schema, rows, frame)


def _tell(found: Imputed) -> None:
    """Say where draws cannot be trusted."""
    holed = torch.stack([holes.reshape(len(holes), -1).any(1) for holes in found.missing.values()]).any(0)
    bad = holed & (found.khat > TRUSTED)
    if bad.any():
        logger.warning(
            "the guide's draws stand badly for the posterior of %d of %d rows with holes (khat above %g, effective "
            "size down to %.3g): their imputations are too narrow. Train on data with holes, or give more candidates "
            "(%s).",
            int(bad.sum()), int(holed.sum()), TRUSTED, float(found.ess[bad].min()), argument("candidates"),
        )  # fmt: skip


# --- draws ----------------------------------------------------------------------------------------------
def _of_tiles(sampler: Sampler, draws: int, count: int) -> Iterator[Imputed]:
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


def _completed(sampler: Sampler, tiles: Any, chosen: torch.Tensor, khat: torch.Tensor, ess: torch.Tensor) -> Imputed:
    """The data of a tile of rows, completed by the candidates that were chosen."""
    values: dict[str, torch.Tensor] = {}
    missing: dict[str, torch.Tensor] = {}
    grid = bool(sampler.global_sites)
    again = torch.zeros_like(chosen) if grid else repeated(chosen) % _ANEW
    for number, tile in enumerate(tiles()):
        here = _here(chosen, tile, grid=grid)
        with sampler.use.quietly(seed_for(sampler.seed, "completed", number, tile.rows.start)):
            for time in range(int(torch.where(here, again, 0).max()) + 1):
                for site, (full, holes) in _cells(sampler, tile).items():
                    missing[site] = holes
                    whole = values.setdefault(site, full.new_empty((len(chosen), *full.shape[1:])))
                    draw, row = (here & (again == time)).nonzero(as_tuple=True)
                    whole[draw, row] = full[chosen[draw, row] - tile.draws.start, row]
    return Imputed(values, missing, khat, ess)


def _here(chosen: torch.Tensor, tile: Tile, *, grid: bool) -> torch.Tensor:
    """Which of the chosen candidates are in a tile."""
    here = (chosen >= tile.draws.start) & (chosen < tile.draws.stop)
    if grid:  # draw d was chosen beside the global draw d
        here &= torch.arange(len(chosen))[:, None] == tile.part
    return here


def _cells(sampler: Sampler, tile: Tile) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
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
