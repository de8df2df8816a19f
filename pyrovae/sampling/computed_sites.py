"""Observed sites that hold no data, since what they hold is computed of latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pyrovae.sampling.sampler import Sampler


def computed_of_latents(sampler: Sampler) -> list[str]:
    """Observed sites whose values change with the latents: residuals, or what a reparametrised model computes."""
    tile, found = next(sampler.tiles(2)), []
    for site in sampler.structure.named("observed"):
        one, other = tile.value(site)
        if not torch.equal(one.nan_to_num(), other.nan_to_num()):
            found.append(site)
    return found


def computed_words(sites: Sequence[str], left_out_of: str) -> str:
    """What is said of them where they are left out of something."""
    are, they_are = ("is", "it is") if len(sites) == 1 else ("are", "they are")
    names = ", ".join(map(repr, sites))
    return f"{names} {are} computed of latent sites, and no data: {they_are} left out of {left_out_of}."
