"""Pairs that observe which cells are there, where it is not known whether cells are missing or hidden by us."""

from __future__ import annotations

from typing import Any

from pyro import poutine

from pyrovae.data.holed_rows import split
from pyrovae.evaluation.per_datum import sampler_of
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.sampling.whole_sites import given_sites


def without_mask_sites(pair: HasPair, given: Any, data_plate: str | None = None) -> HasPair:
    """The pair, or one around it that does not observe which cells are there.

    Cells that are hidden to ask for them are not missing by what they hold.

    Args:
        pair: any pair.
        given: its data.
        data_plate: the plate of the data, where it cannot be found.
    """
    structure = sampler_of(pair, *split(given), 0, data_plate).structure
    masks = [name for name in structure.named("observed") if name not in given_sites(structure)]
    return WithoutSites(pair, masks) if masks else pair


class WithoutSites(Wrapped):
    """A pair whose model keeps some sites to itself."""

    def __init__(self, pair: HasPair, hidden: list[str]):
        self.pair, self.hidden = pair, hidden

    def around(self, side: Side, args: tuple, kwargs: Any) -> Any:
        """Nothing outside sees them."""
        return poutine.block(hide=self.hidden)
