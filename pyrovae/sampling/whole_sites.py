"""Sites of which a mask tells what is observed: Pyro makes two of such a site, users know it by its own name."""

from __future__ import annotations

from pyrovae.pairs.structure import Structure


def merged(structure: Structure) -> dict[str, str]:
    """The site that Pyro makes of the observed part -> the whole."""
    observed = structure.named("observed")
    wholes = {name: name.removesuffix("_observed") for name in observed if name.endswith("_observed")}
    return {part: whole for part, whole in wholes.items() if f"{whole}_unobserved" in structure.sites}


def given_sites(structure: Structure) -> list[str]:
    """The observed sites that data are given for: not the mask that says what of another one is there."""
    observed = structure.named("observed")
    masks = {f"{whole}_mask" for whole in (*observed, *merged(structure).values())}
    return [name for name in observed if name not in masks]


def observed_wholes(structure: Structure) -> list[str]:
    """What data are given for; a site that is observed in part by the name of its whole."""
    return [whole_of(structure, name) for name in given_sites(structure)]


def whole_of(structure: Structure, site: str) -> str:
    """The name by which users know an observed site."""
    return merged(structure).get(site, site)


def observed_part(structure: Structure, name: str) -> str:
    """The observed site of the pair that a user means."""
    return {whole: part for part, whole in merged(structure).items()}.get(name, name)
