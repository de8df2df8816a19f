"""The size of the whole data, against which a global site is weighed, and the plate that holds a batch of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from pyro.poutine.subsample_messenger import SubsampleMessenger

from pyrovae.errors import ArgumentError
from pyrovae.pairs.numbers import check_count


def whole_size(size: Any, rows: int | None) -> int:
    """The number of rows of the whole data: as said, or those that are there."""
    size = rows if size is None else size
    if size is None:
        raise ArgumentError("size=: these data do not say how many rows they have, and a prior is weighed against all.")
    return check_count("size", size)


@contextmanager
def plate_of_whole_data(data_plate: str | None, size: int | None, *, always: bool = False) -> Iterator[None]:
    """Let a plate of the length of its batch count as a subsample of `size` rows, as a global site needs it.

    Without that a model with `plate("data", len(x))` would weigh the prior of its weights against each batch as if
    the batch were all the data. A plate that says its own size and subsample is left as it is.

    Args:
        data_plate: the plate.
        size: rows of the whole data; None leaves the plate alone.
        always: give a plate of its own size the other one, too.
    """
    if data_plate is None or size is None:
        yield
        return
    original = SubsampleMessenger._subsample

    def whole(name, full=None, part=None, subsample=None, use_cuda=None, device=None):
        if name != data_plate or full is None or subsample is not None:
            return original(name, full, part, subsample, use_cuda, device)
        if part is not None:
            return original(name, size if always else full, part, subsample, use_cuda, device)
        # The rows are those of the batch, counted from 0, as the author's code takes them.
        return max(size, full), full, torch.arange(full, device=device)

    with mock.patch.object(SubsampleMessenger, "_subsample", staticmethod(whole)):
        yield
