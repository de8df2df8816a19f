"""A pair whose weights are drawn at a global site."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
from torch import Tensor

from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.registration import Registration
from pyrovae.trust.epistemic.sized_plate import sized
from pyrovae.trust.epistemic.weight_vector import Weights


class Uncertain(Wrapped):
    """A pair around a pair: `w` at a global site first, then the pair's model and guide on the weights of that draw.

    Args:
        pair: the pair.
        weights: which of its parameters are drawn.
        law: their law, see `laws`.
        site: the global site's name.
        data_plate: the plate of the data.
        size: rows of the whole data, against which the site is weighed.
    """

    def __init__(
        self, pair: HasPair, weights: Weights, law: Any, *, site: str, data_plate: str | None, size: int | None = None
    ):
        self.pair, self.weights, self.law, self.site = pair, weights, law, site
        self.data_plate, self.size = data_plate, size
        self.shares_codes: bool = law.shares_codes
        self.registration = Registration(site)

    @property
    def replaced(self) -> list[Tensor]:
        """The pair's own weights, which are not run on."""
        return self.weights.tensors

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """The weights of a draw, from their prior around the model and from their posterior around the guide."""
        self.registration(self.law)
        distribution = self.law.prior() if side == "model" else self.law.posterior()
        drawn = self.law(pyro.sample(self.site, distribution))
        with self.weights.replaced(drawn.vector, drawn.buffers), sized(self.data_plate, self.size):
            yield


def free_name(name: str, taken: Iterable[str]) -> str:
    """A site's name that the pair does not have itself: `weights`, else `weights_2`, ..."""
    others = set(taken)
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in others)
