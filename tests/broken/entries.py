"""What is known of a broken pair, and how tests choose among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
from registry import Encoder, amortised_guide, decoder_net, rows, standard_normal

from pyrovae.pairs.pair import Pair

BATCH = 8


@dataclass(frozen=True)
class Broken:
    """One wrong pair: which clause finds it, how gravely, and what the message must say.

    `make()` leaves the param store as the mistake needs it; `options` go to `check_pair`.
    """

    name: str
    make: Callable[[], tuple[Any, Any]]
    clause: str
    expect: str  # "error" or "warning"
    words: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


BROKEN: dict[str, Broken] = {}


def broken(clause: str, expect: str, *words: str, **options):
    """Register the decorated maker under its own name; its data are cut to a batch of 8 rows."""

    def register(make):
        def batch():
            pair, data = make()
            return pair, (data if isinstance(data, list) else rows(data, slice(BATCH)))

        BROKEN[make.__name__] = Broken(make.__name__, batch, clause, expect, words, options)
        return make

    return register


def broken_pairs(*clauses: str) -> list:
    """The entries of these clauses, or all, for `pytest.mark.parametrize`."""
    chosen = [one for one in BROKEN.values() if not clauses or one.clause in clauses]
    return [pytest.param(one, id=one.name) for one in chosen]


def sound_model(decoder, likelihood=lambda out: dist.Normal(out, 0.5).to_event(1)):
    """What every model here would be without its mistake."""

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", standard_normal(x))
            pyro.sample("x", likelihood(decoder(z)), obs=x)

    return model


def vae(likelihood, data):
    """A sound pair but for its likelihood or its data."""
    return Pair(sound_model(decoder_net(), likelihood), amortised_guide(Encoder())), data
