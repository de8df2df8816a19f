"""What a discriminator is given beside values of sites, and what is said where it does not take it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.pairs.may_read import may_read


def row_arguments(
    args: tuple, kwargs: Mapping[str, Any], rows: int | None, keys: Collection[int | str] | None
) -> tuple[Tensor, ...]:
    """The arguments of a pair that have a row for each datum, 0 for what is missing; None: of all keys."""
    given = [v for k, v in (*enumerate(args), *kwargs.items()) if isinstance(v, Tensor) and (keys is None or k in keys)]
    return tuple(value.nan_to_num() for value in given if value.dim() and len(value) == rows)


@contextmanager
def told_what_it_is_given(*given: Tensor) -> Iterator[None]:
    """Where a network does not take its inputs, say which those are: nobody but this module calls it."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ArgumentError, RuntimeError, TypeError, ValueError) as error:
        if not may_read():  # what stops while a graph is traced is the tracer's
            raise
        shapes = ", ".join(str(tuple(one.shape)) for one in given)
        raise ArgumentError(
            f"adversarial: the discriminator does not take what it is given, tensors of shape {shapes} (the values of "
            f"the sites side by side, then arguments of the pair): {error}. A convolution takes the first through "
            "nn.Unflatten(1, (channels, height, width))."
        ) from error
