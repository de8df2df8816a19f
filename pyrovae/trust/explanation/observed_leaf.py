"""Which observed site is an argument, cell by cell."""

from __future__ import annotations

from typing import Any

from pyrovae.errors import PairError
from pyrovae.pairs.argument_names import argument_words
from pyrovae.pairs.lawful_values import given_value
from pyrovae.pairs.same_numbers import same_numbers
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import given_sites


def observed_leaf(sampler: Sampler, key: int | str) -> str:
    """The observed site that holds the argument as it is."""
    leaf, run = sampler.use.first(None).leaves[key], sampler.use.posterior_run.model
    for site in given_sites(sampler.structure):
        value: Any = given_value(run.nodes[site])
        if same_numbers(value, leaf, rtol=1e-5, atol=1e-8):
            return site
    raise PairError(
        f"no observed site of the pair holds {argument_words(key)} as it is given (a covariate, or rows that the "
        "model rescales or cuts), so that the pair cannot say what its cells could be. Give the rows as the model "
        "observes them, or ask what does not need that."
    )
