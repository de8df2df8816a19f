"""The grid of draws, tile by tile, and what its running sums come to."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.known_support import is_angle
from pyrovae.pairs.numbers import check_count
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile
from pyrovae.trust.uncertainty_parts import GridSpread, Measure, Parts, measure_for

logger = logging.getLogger("pyrovae")


_SHARED_DRAWS = 20  # of global sites: the error of a variance from 20 draws is about a third of it


class Uncertainty(NamedTuple):
    """The uncertainty of one observed site, split; `total == aleatoric + latent + epistemic`.

    Attributes:
        total: of the posterior predictive distribution, `(*plates, *event)`. A table's columns of several classes
            have no variance: their parts are NaN, and so are `nats` and `information` of its rows.
        aleatoric: the likelihood's noise, which stays when everything else is known.
        latent: from the posterior of the local sites.
        epistemic: from the posterior of the global sites, which more data would narrow. NaN where there is none (the
            total is then the sum of the two others). An estimate without bias: where there is next to nothing it may
            lie a little below 0.
        moved: the part that inner draws alone put into the spread between global draws; taken out of `epistemic`, and
            added to `latent`.
        nats: one number for each datum, (rows,): the entropy of its posterior predictive, element by element and summed
            over the event; that of a normal of the same variance where `measure` is "variance".
        information: (rows,), `nats` less the same of the noise alone: what knowing the latent and global sites would
            tell about the datum; 0 where all is noise.
        measure: "variance", in squared units of the data, or "entropy", in nats.
    """

    total: Tensor
    aleatoric: Tensor
    latent: Tensor
    epistemic: Tensor
    moved: Tensor
    nats: Tensor
    information: Tensor
    measure: str

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


class GridSplit(NamedTuple):
    """One site's parts, of one tile of rows or of all; `epistemic` is 0 where there is no source of it."""

    parts: Parts
    moved: Tensor
    measure: Measure
    axis: int | None  # of the rows, from the right
    dtype: torch.dtype
    has_source: bool

    def summary(self) -> Uncertainty:
        """The parts in the units of the measure and their sum, as `pv.uncertainty` returns them."""
        aleatoric, latent, epistemic = (self._given(part) for part in self.parts[:3])
        nats = self._by_datum(self.measure.nats(self.parts))
        return Uncertainty(
            total=aleatoric + latent + epistemic,
            aleatoric=aleatoric,
            latent=latent,
            epistemic=epistemic if self.has_source else torch.full_like(epistemic, torch.nan),
            moved=self._given(self.moved),
            nats=self._given(nats),
            information=self._given(nats - self._by_datum(self.parts.noise)),
            measure=self.measure.name,
        )

    def _given(self, tensor: Tensor) -> Tensor:
        return tensor.to("cpu", self.dtype)

    def _by_datum(self, tensor: Tensor) -> Tensor:
        if self.axis is None:
            return tensor.sum()
        rows = tensor.movedim(self.axis, 0)
        return rows.reshape(len(rows), -1).sum(1)


def grid_size(sampler: Sampler, draws: Any) -> tuple[int, int]:
    """How many draws of the global sites, and of the local ones for each of them."""
    several = isinstance(draws, tuple | list)
    numbers = tuple(check_count("draws", number) for number in (draws if several else (draws,)))
    if len(numbers) not in (1, 2):
        raise ArgumentError(
            f"{argument('draws', draws)}; give one whole number, or two: (of global sites, of local ones)."
        )
    shared, local = bool(sampler.global_sites), _has_local(sampler)
    _check_rows_of_another_name(sampler)
    if local:
        _check_held(sampler)
    if len(numbers) == 1:
        numbers = (_SHARED_DRAWS if shared else 1, numbers[0]) if local else (numbers[0] if shared else 1, 1)
    elif not shared:
        numbers = (1, numbers[0] * numbers[1])  # nothing tells the groups apart
    elif not local:
        numbers = (numbers[0], 1)
    if (shared and numbers[0] < 2) or (local and numbers[1] < 2):
        raise ArgumentError(
            f"{argument('draws', draws)}: a spread needs two draws at least, of global and of local sites."
        )
    return numbers[0], numbers[1]


def _check_rows_of_another_name(sampler: Sampler) -> None:
    """Refuse sites of the rows in a plate of another name than theirs: their spread would pass for what rows share."""
    structure = sampler.structure
    for name in sampler.global_sites:
        side = "model" if ("model", name) in sampler.layout.batches else "guide"
        if sampler.layout.place((side, name), batch=True).axis is not None:
            plates = ", ".join(map(repr, structure.sites[name].plates))
            raise PairError(
                f"{name!r} stands in {plates}, whose length follows the rows as that of {structure.data_plate!r} does, "
                "under another name: whether it belongs to rows (latent) or to all of them (epistemic) does not show. "
                "Give the plates of the rows one name, in model and guide."
            )


def _check_held(sampler: Sampler) -> None:
    if alone := sampler.shared_by_model_alone:
        raise PairError(
            f"{alone[0]!r} stands outside the data plate and is drawn by the model alone, anew with every draw of the "
            "local sites, so that what is uncertain for its sake cannot be told from the latent part. Draw it in the "
            "guide."
        )


def _has_local(sampler: Sampler) -> bool:
    return bool(sampler.structure.drawn(local=True))


def grid_spread(
    sampler: Sampler, sites: Collection[str], shared: int, inner: int, measure: str = "auto"
) -> dict[str, GridSplit]:
    """The parts of each site on a grid of `shared` draws of the global sites by `inner` of the local ones."""
    found: dict[str, list[GridSplit]] = {}
    for tile in _tiles(sampler, sites, shared, inner, measure):
        for name, split in tile.items():
            found.setdefault(name, []).append(split)
    return {name: _joined(tiles) for name, tiles in found.items()}


def _tiles(
    sampler: Sampler, sites: Collection[str], shared: int, inner: int, measure: str
) -> Iterator[dict[str, GridSplit]]:
    sums: dict[str, tuple[Measure, GridSpread]] = {}
    # One inner draw: every draw is a group of its own, and many of them are made at once.
    alone = inner == 1
    for tile in sampler.tiles(shared) if alone else sampler.grid(shared, inner):
        if tile.part == 0 and tile.draws.start == 0:
            sums = _begun(tile, sites, measure)
        with torch.no_grad():
            _add(tile, sums, alone=alone, last=tile.draws.stop == inner)
        if tile.draws.stop == shared if alone else tile.part == shared - 1 and tile.draws.stop == inner:
            yield {name: _split(sampler, tile, name, *sums[name], shared, inner) for name in sums}


def _begun(tile: Tile, sites: Collection[str], measure: str) -> dict[str, tuple[Measure, GridSpread]]:
    measures = {name: measure_for(tile.runs[0].node(name)["fn"], measure) for name in sites}
    for name in [name for name, found in measures.items() if found is None]:
        kind = type(base_of(tile.runs[0].node(name)["fn"])).__name__
        fn = tile.runs[0].node(name)["fn"]
        lacks = "classes" if measure == "entropy" else "mean and variance" + " (of a line)" * is_angle(fn)
        words = f"site {name!r}, a {kind}, has no {lacks}"
        if len(measures) == 1 or measure != "auto":
            raise PairError(
                f"{words}, so its uncertainty cannot be measured. Leave it out, sites=[...]; how it varies, "
                "posterior_predictive shows in draws."
            )
        logger.warning("%s: it is left out.", words)
    return {name: (found, found.spread()) for name, found in measures.items() if found is not None}


def _add(tile: Tile, sums: dict[str, tuple[Measure, GridSpread]], *, alone: bool, last: bool) -> None:
    for name, (measure, spread) in sums.items():
        read = [tile.of(name, function, extra=extra) for function, extra in measure.statistics]
        for group in zip(*(one.split(1) for one in read), strict=True) if alone else [read]:
            spread.add(*group)
            if alone or last:
                spread.close()


def _split(
    sampler: Sampler, tile: Tile, name: str, measure: Measure, spread: GridSpread, shared: int, inner: int
) -> GridSplit:
    parts = spread.parts()
    has_source = bool(sampler.global_sites)
    moved = _inner_noise(parts, shared, inner) if has_source else torch.zeros_like(parts.latent)
    parts = parts._replace(latent=parts.latent + moved, epistemic=parts.epistemic - moved)
    fn, value = tile.runs[0].node(name)["fn"], tile.runs[0].node(name)["value"]
    place = sampler.layout.place(("model", name), batch=True)
    axis = None if place.axis is None else place.axis - len(fn.event_shape) + measure.lost
    return GridSplit(
        parts, moved, measure, axis, value.dtype if value.is_floating_point() else torch.float32, has_source
    )


def _inner_noise(parts: Parts, shared: int, inner: int) -> Tensor:
    """What the inner draws alone put into the spread between global draws.

    The mean of L draws spreads by latent/L around its expectation, of which the population variance of G such means
    holds (G - 1)/G; on the grid the latent part itself comes out as (L - 1)/L of what it is. Entropies are the same to
    the second order.
    """
    return parts.latent / max(inner - 1, 1) * ((shared - 1) / shared)


def _joined(tiles: list[GridSplit]) -> GridSplit:
    first = tiles[0]
    axis = first.axis
    if axis is None or len(tiles) == 1:
        return first
    parts = Parts(*(torch.cat([getattr(tile.parts, name) for tile in tiles], axis) for name in Parts._fields))
    return first._replace(parts=parts, moved=torch.cat([tile.moved for tile in tiles], axis))
