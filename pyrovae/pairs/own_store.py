"""Parameters of a pair's own, whatever others call theirs."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
from pyro.poutine.replay_messenger import ReplayMessenger
from pyro.poutine.runtime import _PYRO_STACK

from pyrovae.errors import PairError
from pyrovae.pairs.looks.isolation import StoreEntries
from pyrovae.pairs.pair import HasPair, Side, Wrapped


def own_store(pair: HasPair) -> OwnStore:
    """A pair around a pair, whose model and guide see entries of their own in Pyro's parameter store.

    Pyro keeps all parameters of a process in one store by name, so that two pairs with a `pyro.param("scale")` each, or
    with an `AutoNormal` each, train one another's. Here the entries are put into the store's place for each call of
    model and guide, by `fit`, by every question, by `save` and `load` and by an `SVI` of one's own alike.

    Args:
        pair: any pair, before it is trained. Parameters that live in modules stay the modules'.

    Returns:
        The same pair with parameters of its own. `with pair.entries():` shows them to `pyro.get_param_store()`.

    Examples:
        >>> import pyro, pyro.distributions as dist, pyrovae as pv, torch
        >>> def guide(x):
        ...     pyro.sample("mean", dist.Delta(pyro.param("at", torch.zeros(()))))
        >>> def narrow(x):
        ...     mean = pyro.sample("mean", dist.Normal(0, 1))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(mean, 1), obs=x)
        >>> def wide(x):
        ...     mean = pyro.sample("mean", dist.Normal(0, 10))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(mean, 1), obs=x)
        >>> pairs = [pv.own_store(pv.Pair(model, guide)) for model in (narrow, wide)]
        >>> for pair in pairs:
        ...     run = pv.fit(pair, torch.full((4,), 5.0), steps=100, learning_rate=0.3, seed=0, progress=False)
        >>> [round(float(pv.posterior(pair, torch.zeros(4), draws=1)["mean"]), 1) for pair in pairs]
        [4.0, 5.0]
    """
    return OwnStore(pair)


class OwnStore(Wrapped):
    """A pair that keeps its entries of Pyro's store to itself between calls; see `own_store`."""

    def __init__(self, pair: HasPair):
        self.pair = pair
        self._entries = StoreEntries()
        weakref.finalize(self, _forget, self._entries).atexit = False

    @contextmanager
    def entries(self) -> Iterator[None]:
        """Pyro's store as the pair's model and guide see it."""
        store: Any = pyro.get_param_store()
        with self._entries.in_place():
            yield
            names = store._param_to_name
        # An optimiser asks the store outside for the names of what it trains.
        store._param_to_name.update(names)

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """The pair's own entries in the store's place."""
        if any(isinstance(handler, ReplayMessenger) and handler.params is not None for handler in _PYRO_STACK):
            raise PairError(
                "Pyro's JIT looks parameters up by name in its global store, and gives a pair of own_store those of "
                "another one. Take the same loss without Jit: fit stages its steps by itself."
            )
        with self.entries():
            yield


def _forget(entries: StoreEntries) -> None:
    """Let go of what only the names in Pyro's store still hold."""
    names: dict = pyro.get_param_store()._param_to_name
    for tensor in entries.held[0].values():
        names.pop(tensor, None)
