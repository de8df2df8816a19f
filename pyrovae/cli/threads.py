"""How many threads a small model deserves."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from pyrovae.pairs.pair import unwrapped

# Below this, handing work to a second thread takes longer than the work; on a busy machine many times longer.
_SMALL = 200_000


def spare_threads(pair: Any) -> None:
    """Use one thread for a small model, unless the user has decided; the process is ours, and ends soon."""
    pair = unwrapped(pair)
    undecided = isinstance(pair, nn.Module) and "OMP_NUM_THREADS" not in os.environ
    if undecided and sum(parameter.numel() for parameter in pair.parameters()) < _SMALL:
        torch.set_num_threads(1)
