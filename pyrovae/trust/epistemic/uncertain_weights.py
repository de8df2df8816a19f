"""The pair around a pair whose weights are drawn at a global site."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
from torch import Tensor, nn

from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.registration import Registration
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.trust.epistemic.few_rows import few_rows
from pyrovae.trust.epistemic.weights import Weights
from pyrovae.trust.epistemic.whole_data import plate_of_whole_data


class UncertainWeights(Wrapped):
    """A pair around a pair: `w` at a global site first, then the pair's model and guide on the weights of that draw.

    Args:
        pair: the pair.
        weights: which of its parameters are drawn.
        distribution: their distribution, a `WeightDistribution`.
        site: the global site's name.
        data_plate: the plate of the data.
        size: rows of the whole data, against which the site is weighed.
    """

    def __init__(
        self,
        pair: HasPair,
        weights: Weights,
        distribution: Any,
        *,
        site: str,
        data_plate: str | None,
        size: int | None = None,
    ):
        self.pair, self.weights, self.distribution, self.site = pair, weights, distribution, site
        self.data_plate, self.size = data_plate, size
        self.shares_codes: bool = distribution.shares_codes
        self.registration = Registration(site)

    @property
    def replaced(self) -> list[Tensor]:
        """The pair's own weights, which are not run on."""
        return self.weights.tensors

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """The weights of a draw, from their prior around the model and from their posterior around the guide."""
        self.registration(self.distribution)
        of_site = self.distribution.prior() if side == "model" else self.distribution.posterior()
        drawn = self.distribution(pyro.sample(self.site, of_site))
        with self.weights.replaced(drawn.vector, drawn.buffers), plate_of_whole_data(self.data_plate, self.size):
            yield


def free_name(name: str, taken: Iterable[str]) -> str:
    """A site's name that the pair does not have itself: `weights`, else `weights_2`, ..."""
    others = set(taken)
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in others)


class PairWeights(NamedTuple):
    """A pair and its weights, and the structure and number of its data."""

    pair: HasPair
    weights: Weights
    structure: Structure
    rows: int | None

    @classmethod
    def of(cls, pair: HasPair, data: Any) -> PairWeights:
        """A pair as it stands, looked at on its data."""
        batch, rows = few_rows(pair, data)
        return cls(pair, Weights.of(pair, *batch[:2]), inspect(pair, *batch[:2]), rows)


def with_uncertain_weights(known: PairWeights, distribution: nn.Module, site: str) -> UncertainWeights:
    """The pair whose weights are drawn by a distribution, at a site named as asked for or nearly so."""
    structure = known.structure
    name = free_name(site, structure.sites)
    return UncertainWeights(
        known.pair, known.weights, distribution, site=name, data_plate=structure.data_plate, size=known.rows
    )
