"""The tensors of a batch, where they are, and the random numbers there."""

from __future__ import annotations

import torch

from pyrovae.data.batch_sources import Batch


def leaves_of(batch: Batch) -> list[torch.Tensor]:
    """The tensors of a batch, in the order in which graphs take them."""
    return [leaf for leaf in (*batch.args, *batch.kwargs.values()) if isinstance(leaf, torch.Tensor)]


def device_of(batch: Batch) -> torch.device:
    """Where a batch is."""
    return next((leaf.device for leaf in batch.leaves.values() if isinstance(leaf, torch.Tensor)), torch.device("cpu"))


def set_random(state: torch.Tensor, device: torch.device) -> None:
    """Put a state of the generator back."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
