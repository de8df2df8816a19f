"""All that a page holds of a pair, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.errors import PairError
from pyrovae.report.explorer.constant_pool import ConstantPool
from pyrovae.report.explorer.decoder import Decoder
from pyrovae.report.explorer.explored_sites import PageOptions, explored_site
from pyrovae.report.explorer.held_values import GIVEN, HeldValues, held_values, shared_values
from pyrovae.report.explorer.latent_axes import LatentAxes, latent_axes
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_part, observed_wholes

_REACH = 3.5  # standard deviations of the codes on either side: sliders end there
_POINTS = 3  # at which pair, graph and page are compared


def explored_pair(sampler: Sampler, options: PageOptions) -> dict[str, Any]:
    """What the page's script takes.

    Raises:
        PairError: the decoder does what a page cannot.
    """
    asked = options.rows
    axes = latent_axes(sampler)
    held = held_values(sampler, asked, options.given)
    decoder = Decoder(sampler, axes, shared_values(sampler), _shown(sampler))
    held, pool = _that_matters(decoder, held, axes), ConstantPool()
    programs, checks = _programs(decoder, held, axes, pool)
    observed = {name: _observed(sampler, name, max(asked, 1_000)) for name in decoder.shown}
    if options.shape is None:
        options = options._replace(shape=_picture(sampler, observed))
    sites, first = [], 0
    for name, parts in decoder.plain_parts(held.situations[0]).items():
        sites.append(explored_site(name, parts, first, observed[name], options))
        first += sum(len(part.outputs) for part in parts)
    return {
        "title": options.title,
        "axes": _axes(axes),
        "choices": [{"name": choice.name, "words": choice.words} for choice in held.choices],
        "shared": sorted(decoder.shared),
        "sites": sites,
        "programs": programs,
        "checks": checks,
        "rows": _rows(axes, held, observed, options.labels, asked, pool),
        "count": len(axes.means),
        "constants": pool.listed,
        "bytes": pool.text(),
    }


def _shown(sampler: Sampler) -> list[str]:
    local = {site.name for site in sampler.structure.sites.values() if site.local}
    found = [name for name in observed_wholes(sampler.structure) if observed_part(sampler.structure, name) in local]
    if not found:
        raise PairError("explore: the pair observes nothing in its rows, so that there is nothing to show.")
    return found


def _programs(
    decoder: Decoder, held: HeldValues, axes: LatentAxes, pool: ConstantPool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A program for each situation, and what it comes to at a place, by torch."""
    points, programs, checks = _places(axes), [], []
    for situation in held.situations:
        made, wanted = decoder.program(situation, points, pool)
        programs.append({"inputs": points.shape[1], **made.plain()})
        checks.append({"at": points[-1].tolist(), "wanted": pool.add(wanted)})
    decoder.check_alone(held.situations[0], held.others, points[0])
    return programs, checks


def _that_matters(decoder: Decoder, held: HeldValues, axes: LatentAxes) -> HeldValues:
    """Without covariates that the decoder does not look at, such as labels that are only told."""
    if not held.choices or held.choices[0].name != GIVEN:
        return held
    beside = len(held.situations) // len(held.choices[0].words)  # for each of the covariates
    idle = all(decoder.same(held.situations[start::beside], _places(axes)) for start in range(beside))
    return HeldValues(held.choices[1:], held.situations[:beside], held.others) if idle else held


def _places(axes: LatentAxes) -> torch.Tensor:
    """Where codes may be, but no code: drawn from a normal of their mean and spread."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(_POINTS, axes.means.shape[1], generator=generator, dtype=torch.float64)
    return (axes.means.mean(0) + _spread(axes) * noise).to(axes.dtype)


def _spread(axes: LatentAxes) -> torch.Tensor:
    return (axes.means.var(0, correction=0) + axes.scales.square().mean(0)).sqrt()


def _axes(axes: LatentAxes) -> list[dict[str, Any]]:
    """The dims in the order of the sliders; `dim` is their place in a program's input."""
    names, spread, shares = axes.names(), _spread(axes).clamp(min=1e-6), axes.shares()
    typical, centre = axes.scales.square().mean(0).sqrt(), axes.means.mean(0)
    free = {name for site in axes.sites if site.transform is not None for name in [site.name]}
    sites = [site.name for site in axes.sites for _ in range(site.count)]
    return [
        {
            "dim": dim,
            "name": names[dim],
            "free": sites[dim] in free,
            "centre": float(centre[dim]),
            "spread": float(spread[dim]),
            "typical": float(typical[dim]),
            "share": float(shares[dim]),
            "low": float(centre[dim] - _REACH * spread[dim]),
            "high": float(centre[dim] + _REACH * spread[dim]),
        }
        for dim in axes.by_activity()
    ]


def _observed(sampler: Sampler, name: str, count: int) -> np.ndarray:
    """The first values of an observed site, rows in front."""
    part = observed_part(sampler.structure, name)
    axis = sampler.layout.place(("model", part)).axis
    found, rows = [], 0
    for tile in sampler.tiles(1):
        value = tile.value(part)[0]
        found.append((value if axis is None else value.movedim(axis, 0)).cpu())
        rows += len(found[-1])
        if rows >= count:
            break
    return torch.cat(found)[:count].numpy()


def _picture(sampler: Sampler, observed: dict[str, np.ndarray]) -> tuple[int, ...] | None:
    """The shape of a datum as it was given, where the pair has it flat."""
    from pyrovae.plots import pictures

    sizes = {values[:1].size for values in observed.values()}
    for leaf in sampler.use.first(None).leaves.values():
        if leaf[:1].numel() in sizes and pictures.is_picture(tuple(leaf.shape[1:])):
            return tuple(leaf.shape[1:])
    return None


def _rows(
    axes: LatentAxes,
    held: HeldValues,
    observed: dict[str, np.ndarray],
    labels: list[str] | None,
    asked: int,
    pool: ConstantPool,
) -> dict[str, Any] | None:
    """The rows that were asked for: codes, scales, situations, labels and the data themselves."""
    if not asked:
        return None
    return {
        "count": asked,
        "means": pool.add(axes.means[:asked].float()),
        "scales": pool.add(axes.scales[:asked].float()),
        "situations": [held.of_row(row) for row in range(asked)],
        "labels": labels,
        "data": [pool.add(torch.from_numpy(np.ascontiguousarray(values[:asked]))) for values in observed.values()],
    }
