"""What is read of the draws: which sites, and of each its values, its conditional mean or its log-probability."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import torch

from pyrovae.errors import ArgumentError
from pyrovae.pairs.structure import Structure
from pyrovae.sampling.programs import Kind
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.whole_sites import merged, whole_of

What = Literal["value", "mean", "log_prob"]


class Reading(NamedTuple):
    """One figure of one site, and the name that it gets."""

    name: str
    site: str
    what: What


class SiteRequest(NamedTuple):
    """How the draws are made, and what is read of them."""

    kind: Kind
    readings: tuple[Reading, ...]


class Piece(NamedTuple):
    """What some draws say for some rows, `(draws, *plates, *event)`."""

    name: str
    draws: range
    rows: range
    value: torch.Tensor
    axis: int | None  # of the rows, counted from the right; None for what all rows have in common
    plates: tuple[str | None, ...]  # what stands in each axis behind the draws, None where it is no plate


def pieces(sampler: Sampler, tiles: Iterable[Tile], request: SiteRequest) -> Iterator[Piece]:
    """Every reading of every tile; what all rows have in common comes with the first rows alone."""
    for tile in tiles:
        for reading in request.readings:
            axis = _axis(sampler, tile, reading)
            if axis is not None or tile.rows.start == 0:
                value = _read(tile, reading)
                plates = _plates(sampler, tile, reading, value.ndim - 1, axis)
                yield Piece(reading.name, tile.draws, tile.rows, value, axis, plates)


def _side(tile: Tile, site: str) -> str:
    return "model" if site in tile.names() else "guide"


def _axis(sampler: Sampler, tile: Tile, reading: Reading) -> int | None:
    key = (_side(tile, reading.site), reading.site)
    place = sampler.layout.place(key, batch=reading.what != "value")
    events = len(tile.runs[0].node(reading.site, key[0])["fn"].event_shape) if reading.what == "mean" else 0
    return None if place.axis is None else place.axis - events


@torch.no_grad()
def _read(tile: Tile, reading: Reading) -> torch.Tensor:
    side = _side(tile, reading.site)
    if reading.what == "log_prob":
        return tile.log_prob(reading.site, side)
    if reading.what == "mean" and (name := centre_of(tile.runs[0].node(reading.site, side)["fn"])) is not None:
        return tile.of(reading.site, operator.attrgetter(name), side=side)
    return tile.value(reading.site, side)


def _plates(sampler: Sampler, tile: Tile, reading: Reading, ndim: int, axis: int | None) -> tuple[str | None, ...]:
    side, batch = _side(tile, reading.site), reading.what == "log_prob"
    return plates_of(tile.runs[0], reading.site, ndim, axis, sampler.structure, side=side, batch=batch)


def plates_of(
    run: Run, site: str, ndim: int, axis: int | None, structure: Structure, *, batch: bool, side: str = "model"
) -> tuple[str | None, ...]:
    """The plate of each axis of a value or a log-probability in a single run."""
    node = run.node(site, side)
    events = 0 if batch else len(node["fn"].event_shape)
    found: list[str | None] = [None] * ndim
    for frame in node["cond_indep_stack"]:
        place = None if frame.dim is None else frame.dim - events
        if place is not None and -place <= ndim and frame.name in structure.sites[site].plates:
            found[place] = frame.name
    found = [None if name == structure.data_plate else name for name in found]
    if axis is not None:
        found[axis] = structure.data_plate
    return tuple(found)


def centre_of(fn: Any) -> str | None:
    """What tells the centre of a distribution: its mean, its mode where it has none, as a categorical, or nothing."""
    for name in ("mean", "mode"):
        try:
            value = getattr(fn, name)
        except (NotImplementedError, AttributeError):
            continue
        if not bool(value.flatten()[:1].isnan()):  # a categorical's are all NaN; looking at one costs no time
            return name
    return None


def rows_first(value: torch.Tensor, axis: int | None) -> torch.Tensor:
    """A tensor with the axis of the rows in front, where there is one."""
    return value if axis is None else value.movedim(axis, 0)


# --- which sites --------------------------------------------------------------------------------------
def unobserved_sites(structure: Structure) -> list[str]:
    """What the posterior is about: every site that no data are given for, and what is computed of them."""
    roles = ("latent", "enumerated", "unguided", "deterministic")
    return [site.name for site in structure.sites.values() if site.role in roles]


def predicted_sites(structure: Structure) -> list[str]:
    """What data are given for, and what is computed; of a site that is observed in part, the whole and the rest.

    Where no data are given, as by an argument that was left at None, it is what the model alone draws.
    """
    parts = merged(structure)
    rest = {f"{whole}_unobserved" for whole in parts.values()}
    roles = ("observed" if structure.named("observed") else "unguided", "deterministic")
    return [s.name for s in structure.sites.values() if (s.role in roles or s.name in rest) and s.name not in parts]


def values_of(structure: Structure, names: Collection[str], *, mean: bool = False) -> tuple[Reading, ...]:
    """Readings of sites; with `mean` the conditional means of the observed ones among them."""
    observed = {name: name for name in structure.named("observed")} if mean else {}
    # The mean of a site that is observed in part is that of the distribution which both its parts have.
    observed |= {whole: part for part, whole in merged(structure).items()} if mean else {}
    return tuple(Reading(name, observed.get(name, name), "mean" if name in observed else "value") for name in names)


def cheapest_kind(kind: Kind, structure: Structure, readings: tuple[Reading, ...]) -> Kind:
    """A kind of draws that makes the same of what is read, with less work.

    Latent sites of the guide need no model. What runs before any observed site, and the mean of the first of these, is
    the same whether observed sites are drawn or given.
    """
    order = [name for name, site in structure.sites.items() if site.role not in ("auxiliary", "factor")]
    observed = [order.index(name) for name in structure.named("observed")]
    if kind in ("posterior", "predictive") and {reading.site for reading in readings} <= {*structure.named("latent")}:
        return "guide"
    if kind == "predictive" and all(_comes_before(reading, order, observed) for reading in readings):
        return "posterior"
    return kind


def _comes_before(reading: Reading, order: list[str], observed: list[int]) -> bool:
    place, first = order.index(reading.site) if reading.site in order else -1, min(observed, default=len(order))
    return place < first or (place == first and reading.what == "mean")


def log_probs_of(structure: Structure, names: Collection[str] | None) -> tuple[Reading, ...]:
    """Readings of the log-probabilities of the observed sites."""
    known = {whole_of(structure, name): name for name in structure.named("observed")}
    chosen = checked_sites(structure, names, known)
    if foreign := [name for name in chosen if name not in known]:
        raise ArgumentError(f"sites={foreign!r}: not observed. {_listed('Observed sites', known)}")
    return tuple(Reading(name, known[name], "log_prob") for name in chosen)


def checked_sites(structure: Structure, names: Collection[str] | None, default: Collection[str]) -> list[str]:
    """The sites that were asked for, or the default."""
    if names is None:
        return list(default)
    names = list(names) if isinstance(names, Collection) and not isinstance(names, str) else [names]
    known = [site.name for site in structure.sites.values() if site.role != "factor"]
    if missing := [name for name in names if name not in known]:
        raise ArgumentError(f"sites={missing!r}: the pair has no such site. {_listed('Its sites', known)}")
    return names


def _listed(words: str, names: Collection[str]) -> str:
    return f"{words}: {', '.join(names) or 'none'}."
