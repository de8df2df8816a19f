"""New groups: sites that the model draws anew, where the guide knows those of the groups it has seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pyro import poutine

from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import samples
from pyrovae.sampling.capabilities import differs
from pyrovae.sampling.programs import run_against, traced
from pyrovae.sampling.sampler import Sampler


class DrawnAnew(Wrapped):
    """A pair whose guide keeps some sites to itself, so that the model draws them."""

    def __init__(self, pair: HasPair, sites: list[str]):
        self.pair, self.sites = pair, sites

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Any:
        """Of the guide's, nothing outside sees these sites."""
        return poutine.block(hide=self.sites if side == "guide" else [])


def drawn_anew(sampler: Sampler, new: Collection[str] | str) -> HasPair:
    """The sampler's pair, its model drawing some sites.

    Args:
        sampler: of the pair as it is.
        new: sites that all rows share, or plates of such sites.
    """
    names = [new] if isinstance(new, str) else list(new)
    sites = [site for name in names for site in _sites_of(sampler.structure, name)]
    pair = DrawnAnew(sampler.use.pair, list(dict.fromkeys(sites)))
    _check_nothing_hangs_on(sampler, pair)
    return pair


def _sites_of(structure: Structure, name: str) -> list[str]:
    latent = structure.named("latent")
    found = [name] if name in latent else [one for one in latent if name in structure.sites[one].plates]
    if found:
        return found
    plates = dict.fromkeys(plate for one in latent for plate in structure.sites[one].plates)
    role = f"{name!r} is {structure.sites[name].role}" if name in structure.sites else f"the pair has no {name!r}"
    raise ArgumentError(
        f"{argument('new', name)}: {role}. Name sites that the guide draws ({', '.join(latent) or 'none'}), or plates "
        f"that they stand in ({', '.join(plates) or 'none'})."
    )


def _check_nothing_hangs_on(sampler: Sampler, pair: DrawnAnew) -> None:
    """Refuse where a site that is kept was drawn, in the model, by one that is drawn anew."""
    batch, found = sampler.use.first(None), sampler.found.pair
    with sampler.use.quietly():
        found.turn_to(batch)
        held = traced(found.guide, batch)
        for name in pair.sites:
            held.remove_node(name)
        before, after = (run_against(found, batch, sampler.structure, "generative", held) for _ in range(2))
    for name, node in samples(before):
        if name in held and sampler.structure.sites[name].role == "latent" and differs(node, after.nodes[name]):
            raise PairError(
                f"the model draws {name!r} given {_listed(pair.sites)}, so that it is not the same for new ones: add "
                f"it, {argument('new', [*pair.sites, name])}."
            )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
