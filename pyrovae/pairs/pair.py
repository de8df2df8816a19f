"""What a pair is: anything with a model and a guide; and pairs around pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from pyro import poutine
from pyro.poutine.guide import GuideMessenger
from torch import nn

from pyrovae.errors import ArgumentError
from pyrovae.pairs.looks.state_keeper import kept


@runtime_checkable
class HasPair(Protocol):
    """Anything with a `.model` and a `.guide`, Pyro functions of the same arguments.

    Examples:
        >>> import pyrovae as pv
        >>> isinstance(pv.Pair(model=print, guide=print), pv.HasPair)
        True
    """

    @property
    def model(self) -> Callable[..., Any]: ...  # noqa: D102

    @property
    def guide(self) -> Callable[..., Any]: ...  # noqa: D102


class Pair(NamedTuple):
    """A model and a guide, as they are.

    Attributes:
        model: a Pyro function, the joint density p(x, z).
        guide: a Pyro function of the same arguments, the approximate posterior q(z | x).

    Examples:
        >>> import pyrovae as pv
        >>> pair = pv.Pair(model=lambda x: None, guide=lambda x: None)
        >>> pair.model is pair[0]
        True
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]


def check_is_pair(pair: Any) -> None:
    """Refuse what has no model and guide to call."""
    if not isinstance(pair, HasPair) or not (callable(pair.model) and callable(pair.guide)):
        held = isinstance(getattr(pair, "pair", None), HasPair)  # as a Fit holds the pair that was trained
        mend = "It holds one: give its .pair." if held else "Wrap two functions: pv.Pair(model, guide)."
        raise ArgumentError(f"{type(pair).__name__} is not a pair: it needs .model and .guide. {mend}")


Side = Literal["model", "guide"]


class Wrapped:
    """A pair around another pair: what it adds, it adds by handlers, from outside.

    A subclass says in `around` what stands around a run of either side.

    Attributes:
        pair: the pair inside.
        replaced: parameters of the pair inside that others stand in for, so that nothing trains them.
        shares_codes: whether a local latent means the same under each draw of the global sites; not so in an ensemble.
        adds_data: whether model and guide take data that are not those of the pair inside.
        of_the_loss: whether it changes what is minimised, and no figure of the pair.
        why_not_trained: in words, why nothing inside can be trained on; empty where it can.
    """

    pair: HasPair
    replaced: Sequence[torch.Tensor] = ()
    shares_codes: bool = True
    adds_data: bool = False
    of_the_loss: bool = False
    why_not_trained: str = ""

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """What a run of the pair's model or guide on these arguments happens in: a handler, or several."""
        return nullcontext()

    def model(self, *args: Any, **kwargs: Any) -> Any:
        """The pair's model, within `around`."""
        with kept(unwrapped(self).model), self.around("model", args, kwargs):
            return self.pair.model(*args, **kwargs)

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """The pair's guide, within `around`."""
        with kept(unwrapped(self).guide), self.around("guide", args, kwargs):
            return guide_function(self.pair)(*args, **kwargs)


def guide_function(pair: HasPair) -> Callable[..., Any]:
    """A pair's guide; one that runs the model itself (`AutoNormalMessenger`) without what the model observes there.

    `SVI` takes the traces of such a guide from the guide, where it is given as it is.
    """
    if not isinstance(pair.guide, GuideMessenger):
        return pair.guide
    return poutine.block(pair.guide, hide_fn=lambda msg: msg["type"] == "sample" and msg["is_observed"])


def wrappers(pair: HasPair) -> Iterator[Wrapped]:
    """What stands around the user's own pair, from outside to inside."""
    while isinstance(pair, Wrapped):
        yield pair
        pair = pair.pair


def unwrapped(pair: HasPair) -> HasPair:
    """The user's own pair inside all wrappers."""
    while isinstance(pair, Wrapped):
        pair = pair.pair
    return pair


def for_figures(pair: HasPair) -> HasPair:
    """The pair without what changes its loss alone, which figures would have to take out again."""
    if not isinstance(pair, Wrapped):
        return pair
    inner = for_figures(pair.pair)
    if pair.of_the_loss or inner is pair.pair:
        return inner if pair.of_the_loss else pair
    twin = copy(pair)
    twin.pair = inner
    return twin


def shares_codes(pair: HasPair) -> bool:
    """Whether a local latent means the same under each draw of the global sites."""
    while isinstance(pair, Wrapped):
        if not pair.shares_codes:
            return False
        pair = pair.pair
    return True


def replaced_parameters(pair: HasPair) -> list[torch.Tensor]:
    """Parameters inside all wrappers that others stand in for."""
    found: list[torch.Tensor] = []
    while isinstance(pair, Wrapped):
        found += pair.replaced
        pair = pair.pair
    return found


def bound_modules(pair: HasPair) -> list[nn.Module]:
    """Modules that a pair is, or whose methods or calls its model and guide are."""
    pair = unwrapped(pair)
    owners = [pair, *(getattr(f, "__self__", f) for f in (pair.model, pair.guide))]
    return list({id(owner): owner for owner in owners if isinstance(owner, nn.Module)}.values())


def owner(pair: HasPair) -> object:
    """What a pair's memory hangs on: the object behind a bound method, else the model function itself."""
    model = unwrapped(pair).model
    return getattr(model, "__self__", model)
