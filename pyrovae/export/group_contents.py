"""What a file for ArviZ holds, read off the sampler's tiles part by part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import torch

from pyrovae.checks.signatures import argument_names
from pyrovae.errors import DataError
from pyrovae.pairs.declared import declared
from pyrovae.pairs.implicit_draws import sites_without_density
from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import samples
from pyrovae.prediction.readings import plates_of, unobserved_sites
from pyrovae.sampling.author_weights import tell_of_weights, weights_in
from pyrovae.sampling.computed_sites import computed_of_latents, computed_words
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.observed_arguments import observed_arguments
from pyrovae.sampling.plate_size import plate_size
from pyrovae.sampling.point_sites import PointSites, point_sites
from pyrovae.sampling.programs import Kind
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.sites_without_weights import sites_without_weights
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.whole_sites import merged

logger = logging.getLogger("pyrovae")

DENSITIES = ("log_likelihood", "log_prior")

DRAWN = ("posterior", "posterior_predictive", "prior", "prior_predictive", *DENSITIES, "sample_stats")

_READ_OFF = {"posterior", *DENSITIES, "observed_data", "constant_data"}

GROUPS = (*DRAWN, "observed_data", "constant_data")


class VariablePart(NamedTuple):
    """Values of one variable for some rows, and for some draws where `draws` says which: `(draws, *plates, *event)`.

    `plates` names what stands in each axis behind the draws, None where it is no plate; `rows` stands in the axis
    `axis`, counted from the right, and None means that all rows have the value in common.
    """

    group: str
    name: str
    value: torch.Tensor
    plates: tuple[str | None, ...]
    axis: int | None
    rows: range
    draws: range | None


class GroupContents:
    """The variables of every group, as the passes over the data give them.

    Args:
        sampler: what draws.
        groups: which groups.
    """

    def __init__(self, sampler: Sampler, groups: tuple[str, ...]):
        self.sampler, self.groups, self.draws = sampler, groups, 1
        self.structure: Structure = sampler.structure
        self._wholes = merged(self.structure)
        self._totals: dict[str, torch.Tensor] = {}
        self._no_density = self._without_density() if set(DENSITIES) & set(groups) else frozenset()
        self._points, self._sums = PointSites([], []), True
        if "sample_stats" in groups:
            run = sampler.use.posterior_run
            self._points, weights = point_sites(sampler.use, run), weights_in(run)
            self._points.local.extend(sites_without_weights(sampler.use))
            tell_of_weights(sampler.use, weights)
            self._sums = not weights.by_row or declared(sampler.use.pair, "weighs_rows")
        observed = observed_arguments(sampler) if "constant_data" in groups else frozenset()
        self._whole_numbers = whole_numbers(sampler)
        data = bool({"observed_data", "constant_data"} & set(groups))
        self._whole_observations, self._masked = self._look_through() if data else (set(), set())
        self._residuals = self._of_latents() if "observed_data" in groups else set()
        self._covariates = [key for key in next(sampler.tiles(1)).batch.leaves if key not in observed]

    def _passes(self) -> Iterator[tuple[Kind, Callable[[Tile], Iterator[VariablePart]]]]:
        """The kinds of draws that are needed, and what reads each of them."""
        asked = set(self.groups)
        stats = "sample_stats" in asked
        read = bool(asked & _READ_OFF)
        # Sites that the model enumerates have no values where they are summed out.
        if (self.structure.named("enumerated") and read) or (read and not stats):
            yield "posterior", self._readings
        elif read:
            yield "scored", lambda tile: chain(self._readings(tile), self._figures(tile))
        if stats and (self.structure.named("enumerated") or not read):
            yield "scored", self._figures
        if "posterior_predictive" in asked:
            yield "predictive", lambda tile: self._values(tile, "posterior_predictive", self._predicted())
        if asked & {"prior", "prior_predictive"}:
            yield "prior", self._prior

    def first_parts(self) -> Iterator[VariablePart]:
        """One part of every variable: one draw for the first rows."""
        return self._parts(lambda kind: iter([next(self.sampler.tiles(1, kind))]), 1)

    def parts(self, draws: int) -> Iterator[VariablePart]:
        """All parts; figures that add up over the rows come last."""
        return self._parts(lambda kind: self.sampler.tiles(draws, kind), draws)

    def _parts(self, tiles: Callable[[Kind], Iterator[Tile]], draws: int) -> Iterator[VariablePart]:
        self._totals, self.draws = {}, draws
        for kind, read in self._passes():
            for tile in tiles(kind):
                yield from read(tile)
        for name, total in self._totals.items():
            yield VariablePart("sample_stats", name, total, (), None, range(0), range(len(total)))

    # --- values ---------------------------------------------------------------------------------------

    def _readings(self, tile: Tile) -> Iterator[VariablePart]:
        if "posterior" in self.groups:
            yield from self._values(tile, "posterior", self._unobserved(tile))
        if "log_likelihood" in self.groups:
            yield from self._log_likelihood(tile)
        if "log_prior" in self.groups:
            yield from self._log_prior(tile)
        if tile.draws.start == 0 and "observed_data" in self.groups:
            yield from self._observed(tile)
        if tile.draws.start == 0 and "constant_data" in self.groups:
            yield from self._constant(tile)

    def _unobserved(self, tile: Tile) -> dict[str, str]:
        there = set(tile.names())
        return {site: site for site in unobserved_sites(self.structure) if site in there}

    def _predicted(self) -> dict[str, str]:
        return {self._wholes.get(site, site): self._wholes.get(site, site) for site in self.structure.named("observed")}

    def _prior(self, tile: Tile) -> Iterator[VariablePart]:
        if "prior" in self.groups:
            yield from self._values(tile, "prior", self._unobserved(tile))
        if "prior_predictive" in self.groups:
            yield from self._values(tile, "prior_predictive", self._predicted())

    def _values(self, tile: Tile, group: str, sites: Mapping[str, str]) -> Iterator[VariablePart]:
        for name, site in sites.items():
            value = tile.value(site)
            if site in self._whole_numbers:
                value = _as_integers(value, self._whole_numbers[site], f"{name!r} in {group}")
            yield from self._part(tile, group, name, site, value)

    def _log_likelihood(self, tile: Tile) -> Iterator[VariablePart]:
        for site in self.structure.named("observed"):
            if site in self._no_density:
                continue
            value = tile.log_prob(site)
            yield from self._part(tile, "log_likelihood", self._wholes.get(site, site), site, value, batch=True)

    def _log_prior(self, tile: Tile) -> Iterator[VariablePart]:
        there = set(tile.names())
        for site in (name for role in ("latent", "enumerated", "unguided") for name in self.structure.named(role)):
            if site in there and site not in self._no_density:
                yield from self._part(tile, "log_prior", site, site, tile.log_prob(site), batch=True)

    def _part(
        self,
        tile: Tile,
        group: str,
        name: str,
        site: str,
        value: torch.Tensor,
        *,
        batch: bool = False,
        drawn: bool = True,
    ) -> Iterator[VariablePart]:
        axis = self.sampler.layout.place(("model", site), batch=batch).axis
        if axis is None and tile.rows.start > 0:
            return  # what all rows have in common comes with the first of them
        plates = plates_of(tile.runs[0], site, value.ndim - drawn, axis, self.structure, batch=batch)
        yield VariablePart(group, name, value, plates, axis, tile.rows, tile.draws if drawn else None)

    # --- data -----------------------------------------------------------------------------------------

    def _observed(self, tile: Tile) -> Iterator[VariablePart]:
        for site in self.structure.named("observed"):
            if site in self._residuals:
                continue
            value, mask = tile.value(site)[0], self._mask(tile, site)
            if mask is None and site in self._whole_observations:
                value = value.to(self._whole_numbers[site])
            if mask is not None:
                value = value if value.is_floating_point() else value.double()
                value = value.masked_fill(~mask.expand(value.shape), torch.nan)
            yield from self._part(tile, "observed_data", self._wholes.get(site, site), site, value, drawn=False)

    def _without_density(self) -> frozenset[str]:
        """Sites whose draws or data have no density, and so no variable of that."""
        found = sites_without_density(self.sampler.use.posterior_run)
        for words in found.values():
            logger.warning("%s It is left out of log_likelihood and log_prior.", words)
        return frozenset(found)

    def _of_latents(self) -> set[str]:
        """Observed sites whose values change with the latents, as residuals do: they are not what was observed."""
        found = computed_of_latents(self.sampler)
        if found:
            logger.warning("%s", computed_words(found, "observed_data"))
        return set(found)

    def _look_through(self) -> tuple[set[str], set[str]]:
        """Observed sites of whole numbers whose data are that, as grey pixels are not; those with a mask in some row.

        All rows decide: where a pair takes holes, rows without any have no mask.
        """
        sites = self.structure.named("observed")
        whole, masked = set(sites) & set(self._whole_numbers), set()
        for tile in self.sampler.tiles(1) if sites else ():
            whole = {site for site in whole if bool((tile.value(site) == tile.value(site).round()).all())}
            masked |= {site for site in sites if _mask(tile, site) is not None}
        return whole, masked

    def _mask(self, tile: Tile, site: str) -> torch.Tensor | None:
        mask = _mask(tile, site)
        if mask is None and site in self._masked:
            return torch.ones_like(tile.value(site)[0], dtype=torch.bool)
        return mask

    def _constant(self, tile: Tile) -> Iterator[VariablePart]:
        names = argument_names(self.sampler.use.pair, tile.batch.args, tile.batch.kwargs)
        plate = self.structure.data_plate
        for key in self._covariates:
            leaf = tile.batch.leaves[key]
            plates = (plate, *[None] * (leaf.ndim - 1))
            yield VariablePart("constant_data", str(names[key]), leaf, plates, -leaf.ndim, tile.rows, None)
        for site in self.structure.named("observed"):
            mask = self._mask(tile, site)
            if mask is not None:
                name = f"{self._wholes.get(site, site)}_mask"
                yield from self._part(tile, "constant_data", name, site, mask, drawn=False)

    # --- figures --------------------------------------------------------------------------------------

    def _figures(self, tile: Tile) -> Iterator[VariablePart]:
        densities = densities_of(tile)
        first = tile.rows.start == 0
        for name, local, common in (
            ("log_p", densities.model, densities.global_model),
            ("log_q", densities.guide, densities.global_guide),
            ("log_weight", densities.log_weights, densities.global_model - densities.global_guide),
        ):
            if not self._sums or (name != "log_p" and any(self._points)):
                continue  # rows may count several times; a point of the guide has no density
            total = self._totals.setdefault(name, torch.zeros(self.draws, dtype=torch.float64))
            total[tile.draws.start : tile.draws.stop] += (local.sum(1) + (common if first else 0.0)).cpu()
        plate = self.structure.data_plate
        if plate is not None and not self.structure.named("enumerated", local=False):
            shared = (densities.global_model - densities.global_guide) / plate_size(tile, self.sampler)
            elbo = densities.log_weights + shared.unsqueeze(1)
            if not any(self._points):
                yield VariablePart("sample_stats", "elbo", elbo, (plate,), -1, tile.rows, tile.draws)
            if self._points.local:
                return
            if self.sampler.global_sites and self.structure.named("latent", local=True):
                weights = densities.log_weights
                yield VariablePart("sample_stats", "local_log_weight", weights, (plate,), -1, tile.rows, tile.draws)


def whole_numbers(sampler: Sampler) -> dict[str, torch.dtype]:
    """Sites of whole numbers that Pyro holds as floats, and the type that plots tell them from fractions by."""
    found = {}
    for name, node in samples(next(sampler.tiles(1)).runs[0].traces.model):
        support = known_support(node["fn"])
        if getattr(support, "is_discrete", False) and node["value"].is_floating_point():
            binary = type(getattr(support, "base_constraint", support)).__name__ in ("_Boolean", "_OneHot")
            found[name] = torch.int8 if binary else torch.int64
    return found


def _as_integers(value: torch.Tensor, kind: torch.dtype, where: str) -> torch.Tensor:
    if kind == torch.int64 and not bool((value.abs() < 2.0**63).all()):
        raise DataError(
            f"the draws of {where} hold {float(value.abs().max()):g}, which is no whole number that a file can hold: "
            "the distribution is too wide there. Leave the group out (groups=), or make the priors narrower."
        )
    return value.to(kind)


def _mask(tile: Tile, site: str) -> torch.Tensor | None:
    """Which entries of an observed site count, (*plates, *event); None where no mask says."""
    run = tile.runs[0]
    mask = mask_of(run.node(site))
    return None if mask is None else run.of(site, lambda fn: mask)[0]
