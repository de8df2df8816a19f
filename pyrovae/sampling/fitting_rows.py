"""The rows that a pair was made for, seen where it stops on another number of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from pyrovae.checks.exceptions import failing_site
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.own_rows import OwnRows, own_rows
from pyrovae.pairs.pair import HasPair, bound_modules
from pyrovae.pairs.structure import inspect
from pyrovae.pairs.trace import batch_rows, run, with_rows

_TRIED = 8  # lengths, of which parameters of single rows are mostly among the first


def fitting_rows(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], error: Exception, data_plate: str | None
) -> OwnRows | None:
    """What a pair that stops with an error holds for single rows, if it runs on as many rows as it has of something.

    Args:
        pair: the pair.
        args: a batch on which it stops.
        kwargs: its named part.
        error: what it stops with.
        data_plate: the plate of the rows, where it was given.
    """
    rows = batch_rows(args, kwargs)
    if rows is None:
        return None
    lengths = [length for length in dict.fromkeys(_lengths(pair, args, kwargs, error)) if length not in (0, 1, rows)]
    for length in lengths[:_TRIED]:
        try:
            other = with_rows(args, kwargs, length)
            with isolated(0):
                plate = inspect(pair, *other, data_plate=data_plate).data_plate
            if found := own_rows(pair, *other, plate):
                return found
        except Exception:  # it does not run on these either, in any way its author likes
            continue
    return None


def _lengths(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], error: Exception) -> Iterator[int]:
    """The sizes of what the pair looked up before it stopped, of its modules' parameters and of the failing site."""
    message = failing_site(error)
    noted = _Parameters()
    with suppress(Exception), isolated(0), noted:
        run(pair, args, kwargs)
    tensors = [*noted.found, *(one for module in bound_modules(pair) for one in module.parameters())]
    if message is not None:
        yield from message["fn"].batch_shape
        tensors = [one for one in (message["value"],) if isinstance(one, torch.Tensor)] + tensors
    for tensor in tensors:
        yield from tensor.shape


class _Parameters(Messenger):
    """Notes the parameters that Pyro is asked for."""

    def __init__(self):
        super().__init__()
        self.found: list[torch.Tensor] = []

    def _pyro_post_param(self, msg) -> None:
        self.found.append(msg["value"])
