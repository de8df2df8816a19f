"""Where a batch goes: to a device, and to a floating type."""

from __future__ import annotations

from collections.abc import Collection

import torch

from pyrovae.data.batch_sources import Batch


def move_batch(
    batch: Batch,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    cast: Collection[int | str] = (),
    *,
    keep_double: bool = False,
) -> Batch:
    """Bring a batch to a device and its floating numbers to one type.

    It travels in its own type, so that uint8 images take a quarter of the way that float32 would.

    Args:
        batch: the batch.
        device: where to.
        dtype: of floating leaves; None leaves them. Whole numbers and booleans stay as they are.
        cast: positions and names of leaves that become `dtype` whatever they are.
        keep_double: leave numbers in double precision as they are.

    Returns:
        The batch there.

    Examples:
        >>> import torch
        >>> from pyrovae.data.batch_sources import Batch
        >>> from pyrovae.data.move_batch import move_batch
        >>> batch = Batch((torch.zeros(2, dtype=torch.uint8), torch.zeros(2, dtype=torch.float64)), {})
        >>> [leaf.dtype for leaf in move_batch(batch, "cpu", torch.float32).args]
        [torch.uint8, torch.float32]
        >>> [leaf.dtype for leaf in move_batch(batch, "cpu", torch.float32, cast=[0]).args]
        [torch.float32, torch.float32]
    """
    device = torch.device(device)
    moved = {}
    for name, leaf in batch.leaves.items():
        if not isinstance(leaf, torch.Tensor):  # of a call that no data were checked for
            moved[name] = leaf
            continue
        stays = keep_double and leaf.dtype == torch.float64
        moved[name] = _move(leaf, device, None if stays else dtype, name in cast)
    return Batch.of(moved)._replace(positions=batch.positions)


def _move(leaf: torch.Tensor, device: torch.device, dtype: torch.dtype | None, cast: bool) -> torch.Tensor:
    crossing = device.type == "cuda" and leaf.device.type == "cpu"
    # From pinned memory the copy runs beside the computation.
    there = leaf.pin_memory().to(device, non_blocking=True) if crossing else leaf.to(device)
    return there.to(dtype) if dtype is not None and (cast or there.is_floating_point()) else there
