"""All rows of data at once, by argument."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.data.batches import as_batches
from pyrovae.data.inspection import as_tensor
from pyrovae.errors import DataError


def whole_leaves(data: Any) -> dict[int | str, torch.Tensor]:
    """Data as `fit` takes them as tensors by place or name, those of a DataLoader put together."""
    batches = as_batches(data[0] if isinstance(data, tuple) and len(data) == 1 else data)
    arrays = batches.leaves()
    if arrays:
        return {name: as_tensor(array) for name, array in arrays.items()}
    parts = [batch.leaves for batch in batches.in_order()]
    if not parts[0]:
        raise DataError(
            "this is asked of rows, and there are none: the pair takes no arguments, and its data are in it. Write "
            "model and guide as functions of the data, model(x), to ask about single rows."
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
