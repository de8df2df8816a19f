"""What an entry of the registry says of its pair, and how tests choose among them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine.messenger import Messenger

from pyrovae.pairs.pair import Pair
from pyrovae.pairs.trace import run

ROWS = 32
WIDTH = 12
LATENT = 2


@dataclass(frozen=True)
class Entry:
    """One pair: `make()` builds it anew, with its data; the rest says what a trace must show."""

    name: str
    make: Callable[[], tuple[Any, Any]]
    loss: Callable[[], ELBO]
    latent: tuple[str, ...]
    global_sites: tuple[str, ...]
    observed: tuple[str, ...]
    enumerated: tuple[str, ...]  # of `latent`: those that the model enumerates, so the guide lacks them
    auxiliary: tuple[str, ...]
    beside_rows: tuple[str, ...]  # of `observed`: those outside the data plate
    traits: frozenset[str]

    @property
    def guide_sites(self) -> set[str]:
        """The names of every sample site that the guide must have."""
        return {*self.latent, *self.global_sites, *self.auxiliary} - {*self.enumerated}


REGISTRY: dict[str, Entry] = {}


def entry(
    *traits: str,
    latent="z",
    global_sites="",
    observed="x",
    enumerated="",
    auxiliary="",
    beside_rows="",
    loss=Trace_ELBO,
):
    """Register the decorated maker under its own name; sites are given as words."""

    def register(make):
        names = [tuple(text.split()) for text in (latent, global_sites, observed, enumerated, auxiliary, beside_rows)]
        REGISTRY[make.__name__] = Entry(make.__name__, make, loss, *names, frozenset(traits))
        return make

    return register


def pairs(*, having: Collection[str] = (), without: Collection[str] = ()) -> list:
    """The entries with all traits of `having` and none of `without`, for `pytest.mark.parametrize`."""
    chosen = [one for one in REGISTRY.values() if one.traits >= set(having) and not one.traits & set(without)]
    return [pytest.param(one, id=one.name) for one in chosen]


def takes_all_rows(entry: Entry) -> bool:
    """Whether its data are never cut into batches."""
    return bool(entry.traits & {"full_data", "local_autoguide"})


def arguments(data) -> tuple[tuple, dict]:
    """The positional and the keyword arguments that `data` stand for."""
    if isinstance(data, dict):
        return (), dict(data)
    return (tuple(data) if isinstance(data, tuple | list) else (data,)), {}


def born(entry: Entry) -> tuple[Any, tuple, dict]:
    """The pair of an entry with its parameters, which may appear at the first call only; and its arguments."""
    pyro.set_rng_seed(0)
    pair, data = entry.make()
    args, kwargs = arguments(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(pair, args, kwargs)
    return pair, args, kwargs


class _Unweighted(Messenger):
    def _pyro_sample(self, msg):
        msg["scale"] = 1.0


def unweighted(entry: Entry, pair):
    """The pair without the scales of its author, which no figure has."""
    if "scaled" not in entry.traits:
        return pair
    return Pair(_Unweighted()(pair.model), _Unweighted()(pair.guide))


def on_device(pair, data, device: str = "cuda"):
    """The pair with what model and guide create on a device, as its user writes `with torch.device("cuda"):`."""

    def there(side):
        @functools.wraps(side)
        def run_there(*args, **kwargs):
            with torch.device(device):
                return side(*args, **kwargs)

        return run_there

    return Pair(there(pair.model), there(pair.guide)), data


def plate_of(entry: Entry) -> str | None:
    """The name of the data plate where several hold as many rows, so that it must be said."""
    return "data" if "nested" in entry.traits else None


def rows(data, index):
    """The same data with the rows of `index` only."""
    if isinstance(data, dict):
        return {name: value[index] for name, value in data.items()}
    if isinstance(data, tuple | list):
        return tuple(value[index] for value in data)
    return data[index]
