"""Global sites drawn alike in all processes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyrovae.pairs.pair import HasPair, Side, Wrapped


class Alike(Wrapped):
    """A pair whose guide draws some sites from a generator of its own, the same in every process.

    Attributes:
        state: the state of that generator, for checkpoints.
    """

    def __init__(self, pair: HasPair, sites: frozenset[str], seed: int):
        self.pair = pair
        self.sites = sites
        self.state = torch.Generator().manual_seed(seed).get_state()

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """The generator of its own, around the guide."""
        return _Swap(self) if side == "guide" else nullcontext()


class _Swap(Messenger):
    """Swaps the generator just before a site is drawn, and back just after."""

    def __init__(self, alike: Alike):
        super().__init__()
        self.alike = alike
        self.own: torch.Tensor | None = None

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.alike.sites and not site_is_subsample(msg) and not msg["done"]:
            self.own = torch.get_rng_state()
            torch.set_rng_state(self.alike.state)

    def _pyro_post_sample(self, msg: Any) -> None:
        if self.own is not None:
            self.alike.state = torch.get_rng_state()
            torch.set_rng_state(self.own)
            self.own = None
