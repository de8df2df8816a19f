"""Work on many columns, cut into blocks for the processor's threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


def array_of(tensor: torch.Tensor) -> Any:
    """What the arithmetic is done with: on the CPU numpy, whose threads do not wait for each other at every step."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def over_blocks(work: Callable[[slice], None], columns: int, size: int) -> None:
    """Call `work` on slices of `size` columns, in as many threads as torch uses."""
    blocks = [slice(start, min(start + size, columns)) for start in range(0, columns, size)]
    threads = min(torch.get_num_threads(), len(blocks))
    if threads < 2:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, blocks))
