"""A pair whose guide draws local sites from their prior."""

from __future__ import annotations

from pyro import poutine

from pyrovae.pairs.pair import HasPair, Wrapped
from pyrovae.pairs.structure import Structure


class FromPrior(Wrapped):
    """The model of a pair, and a guide that draws global sites as the pair's own does and local ones as the model does.

    Args:
        pair: any pair.
        structure: the pair's.
    """

    def __init__(self, pair: HasPair, structure: Structure):
        self.pair = pair
        self._local = [site.name for site in structure.sites.values() if site.local]
        self._drawn = structure.named("latent", local=True)

    def guide(self, *args, **kwargs):
        """The pair's guide outside the data plate, the model's prior inside it: two runs, so more than `around` one."""
        shared = poutine.trace(poutine.block(self.pair.guide, hide=self._local)).get_trace(*args, **kwargs)
        poutine.block(poutine.replay(self.pair.model, trace=shared), expose=self._drawn)(*args, **kwargs)
