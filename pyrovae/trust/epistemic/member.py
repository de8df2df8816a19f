"""A pair with its weights as one vector, and the pair whose weights are drawn around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.training.fit import fit
from pyrovae.trust.epistemic.few_rows import looked_at
from pyrovae.trust.epistemic.uncertain import Uncertain, free_name
from pyrovae.trust.epistemic.weight_vector import Weights


class Member(NamedTuple):
    """A pair and its weights, and the structure and number of its data."""

    pair: HasPair
    weights: Weights
    structure: Structure
    rows: int | None

    @classmethod
    def of(cls, pair: HasPair, data: Any) -> Member:
        """A pair as it stands, looked at on its data."""
        batch, rows = looked_at(pair, data)
        return cls(pair, Weights.of(pair, *batch[:2]), inspect(pair, *batch[:2]), rows)

    @classmethod
    def made(cls, make_pair: Callable[[], HasPair], data: Any, seed: int, options: dict[str, Any]) -> Member:
        """A new pair, trained where there are options."""
        pair = make_pair()
        if options:
            fit(pair, data, **{**options, "seed": seed})
        return cls.of(pair, data)


def uncertain_of(known: Member, law: nn.Module, site: str) -> Uncertain:
    """The pair whose weights are drawn by a law, at a site named as asked for or nearly so."""
    structure = known.structure
    name = free_name(site, structure.sites)
    return Uncertain(known.pair, known.weights, law, site=name, data_plate=structure.data_plate, size=known.rows)
