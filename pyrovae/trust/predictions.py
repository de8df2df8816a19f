"""What a pair predicts for an observed site, row tile by row tile: draws, and the probabilities of classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import chain, groupby
from typing import Any, Literal, NamedTuple

import torch

from pyrovae.errors import ArgumentError
from pyrovae.pairs.classes import as_indicators, class_form, extra_dims, probabilities
from pyrovae.pairs.seeds import seed_for
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.site_rows import observed_in, rows_second, seen_in
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.whole_sites import observed_part, observed_wholes
from pyrovae.trust.amortisation import guide_reads

Source = Literal["rest", "model", "residual"]

SOURCES = ("rest", "model", "residual")

_TOGETHER = 2**22  # numbers drawn at once


class PredictedPart(NamedTuple):
    """Some draws for one tile of rows: values (draws, rows, *rest), classes as indicators."""

    draws: torch.Tensor
    chances: torch.Tensor | None  # of each class, averaged over these draws, (rows, *rest)
    weight: int  # how many draws that average is over


class PredictedRows(NamedTuple):
    """A tile of rows: what was observed, and parts of draws."""

    truth: torch.Tensor
    seen: torch.Tensor
    form: str | None
    parts: Iterator[PredictedPart]


def source_for(sampler: Sampler, site: str) -> Source:
    """From what a site is to be predicted so that the prediction does not know the answer."""
    tile = next(sampler.tiles(1))
    return "model" if guide_reads(sampler, tile.batch, site) else "rest"


def check_site(sampler: Sampler, site: str) -> str:
    """The observed site of the pair that a user means; refuse what is none."""
    part = observed_part(sampler.structure, site)
    if part not in sampler.structure.named("observed"):
        known = ", ".join(map(repr, observed_wholes(sampler.structure)))
        raise ArgumentError(f"site={site!r} is no observed site of the pair; it has {known}.")
    return part


def predicted(sampler: Sampler, site: str, draws: int, source: Source) -> Iterator[PredictedRows]:
    """Each tile of rows with draws of a site.

    Args:
        sampler: of pair and data.
        site: an observed site.
        draws: how many, for each row.
        source: "rest": from the guide, and from what else was observed; "model": local sites from the model, so from
            nothing of the row but its covariates; "residual": one draw of the guide, the noise alone drawn often.
    """
    tiles = _tiles(sampler, draws, source)
    for _, tiles_of_rows in groupby(tiles, key=lambda tile: tile.rows):
        first = next(tiles_of_rows)
        run = sampler.single(first.batch)
        form = Form.of(sampler, run.node(site)["fn"], site)
        truth = form.put(observed_in(run, site)[None])[0]
        seen = rows_second(sampler, seen_in(run, site), site)[0]
        seen = seen.unsqueeze(-1).expand(truth.shape) if form.name == "labels" else seen
        yield PredictedRows(truth, seen, form.name, _parts(form, chain([first], tiles_of_rows), source, draws))  # noqa: B031


def inferred(sampler: Sampler, site: str, draws: int, truth: torch.Tensor) -> Iterator[PredictedRows]:
    """The same for a latent site, drawn from the guide, and what it should have been, (rows, *event)."""
    for rows, tiles_of_rows in groupby(sampler.tiles(draws), key=lambda tile: tile.rows):
        first = next(tiles_of_rows)
        side = "guide" if site in first.names("guide") else "model"
        form = Form.of(sampler, first.runs[0].node(site, side)["fn"], site, side)
        here = as_indicators(truth[rows.start : rows.stop], form.name, form.classes).to(first.value(site).device)
        parts = (
            PredictedPart(form.put(tile.value(site)), form.chances(tile) if side == "guide" else None, len(tile.draws))
            for tile in chain([first], tiles_of_rows)
        )
        yield PredictedRows(
            here.to(torch.get_default_dtype()), torch.ones_like(here, dtype=torch.bool), form.name, parts
        )


class Form(NamedTuple):
    """How values of a site are read."""

    sampler: Sampler
    site: str
    name: str | None  # "labels", "one-hot", "binary", or none
    classes: int
    side: str

    @classmethod
    def of(cls, sampler: Sampler, fn: Any, site: str, side: str = "model") -> Form:
        """As the site's distribution has it."""
        name = class_form(fn)
        return cls(sampler, site, name, probabilities(fn).shape[-1] if name in ("labels", "one-hot") else 0, side)

    def put(self, value: torch.Tensor) -> torch.Tensor:
        """(draws, *plates, *event) -> (draws, rows, *rest) of floating numbers, labels as indicators."""
        value = as_indicators(value, self.name, self.classes)
        value = value.to(torch.promote_types(value.dtype, torch.get_default_dtype()))
        return rows_second(self.sampler, value, self.site, extra=int(self.name == "labels"))

    def chances(self, tile: Tile) -> torch.Tensor | None:
        """Of each class, averaged over the draws of a tile."""
        if self.name is None:
            return None
        extra = extra_dims(tile.runs[0].node(self.site, self.side)["fn"])
        found = tile.of(self.site, probabilities, side=self.side, extra=extra)
        return rows_second(self.sampler, found, self.site, extra=extra).double().mean(0)


def _tiles(sampler: Sampler, draws: int, source: Source) -> Iterator[Tile]:
    sampler.use.tell_of_other_rows(means=True)
    if source == "model":
        return sampler.tiles(draws, "generative")
    return sampler.tiles(1 if source == "residual" else draws)


def _parts(form: Form, tiles: Iterator[Tile], source: Source, draws: int) -> Iterator[PredictedPart]:
    for tile in tiles:
        chances = form.chances(tile)
        for number, value in enumerate(_values(form, tile, source, draws)):
            with form.sampler.use.quietly(_seed(form, tile, number)):
                drawn = value()
            yield PredictedPart(form.put(drawn), chances, len(tile.draws))
            chances = None  # once for each tile


def _seed(form: Form, tile: Tile, number: int) -> int:
    return seed_for(form.sampler.seed, "noise", form.site, tile.rows.start, tile.draws.start, number)


def _values(form: Form, tile: Tile, source: Source, draws: int) -> Iterator[Callable[[], torch.Tensor]]:
    """Functions that draw the site; where other observed sites are held, from its own distribution."""
    if source == "model":
        yield lambda: tile.value(form.site)
    elif source == "rest":
        yield lambda: tile.of(form.site, lambda fn: fn.sample())
    else:
        size = max(1, _TOGETHER // max(1, tile.value(form.site).numel()))
        for start in range(0, draws, size):
            yield functools.partial(_noise, tile, form.site, min(size, draws - start))


def _noise(tile: Tile, site: str, count: int) -> torch.Tensor:
    many = tile.of(site, lambda fn: fn.sample((count,)).movedim(0, -1), extra=1)
    return many[0].movedim(-1, 0)
