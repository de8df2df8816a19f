"""Pairs that know what their own data look like."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, runtime_checkable

import torch

from pyrovae.errors import ArgumentError, PairError
from pyrovae.pairs.check_room import check_room
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, unwrapped

_MANY = 1_000_000  # rows from which on their size is asked for first, by one of them


@runtime_checkable
class HasBlank(Protocol):
    """A pair that says what its data look like, so that `generate(pair, 5)` and `save(pair, path)` need no data.

    A pair of one's own may offer it beside `model` and `guide`; `VAE` and the recipes do.

    Examples:
        >>> import pyro, pyro.distributions as dist, torch, pyrovae as pv
        >>> class Coins:
        ...     def model(self, x):
        ...         with pyro.plate("data", len(x)):
        ...             pyro.sample("x", dist.Bernoulli(0.5), obs=x)
        ...     def guide(self, x):
        ...         pass
        ...     def blank(self, count):
        ...         return (torch.zeros(count),)
        >>> isinstance(Coins(), pv.HasBlank)
        True
        >>> pv.generate(Coins(), 5)["x"].shape
        torch.Size([5])
    """

    def blank(self, count: int, /) -> tuple[Any, ...]:
        """The arguments of model and guide for so many rows; of the observed values only the shape counts."""
        ...


def has_blank(pair: HasPair) -> bool:
    """Whether the pair inside all wrappers says what its data look like."""
    return isinstance(unwrapped(pair), HasBlank)


def blank_data(pair: HasPair, count: int, more: tuple = (), named: Collection[str] = ()) -> tuple[Any, ...]:
    """Arguments of a pair for so many rows.

    Args:
        pair: the pair.
        count: how many rows.
        more: what was given behind the count, which nobody takes.
        named: the names of what was given by name and is no option.

    Raises:
        ArgumentError: fewer than one, or something beside the count.
        PairError: the pair does not say what its data look like.
    """
    if more or named:
        given = [f"{name}=" for name in named] or [f"{len(more)} more by position"]
        raise ArgumentError(
            f"a number of data ({count}) stands for all arguments of the pair, and beside it were given "
            f"{', '.join(given)}, of which nothing would come. See the function's options for what was meant; to give "
            "arguments of the model, give all of them, in place of the number."
        )
    count = check_count("count", count)
    known = unwrapped(pair)
    if not isinstance(known, HasBlank):
        raise PairError(
            "this pair does not say what its data look like. Give data of the shape wanted in place of the count, such "
            "as x[:100]: covariates are used, observed values are not. Or give the pair a method blank(count)."
        )
    if count > _MANY:
        each = sum(one.numel() * one.element_size() for one in known.blank(1) if isinstance(one, torch.Tensor))
        check_room(count * each, f"the arguments of {count:,} rows", "Ask for fewer at a time.")
    return tuple(known.blank(count))
