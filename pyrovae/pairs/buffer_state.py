"""The numbers in a module's buffers, put back after a look at it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

_NUMBERS = 100_000  # in a buffer beyond which it holds data, not state


class BufferState(NamedTuple):
    """The numbers in a buffer, which a module may count or average in, in place."""

    tensor: torch.Tensor
    version: int
    values: torch.Tensor

    @classmethod
    def all_of(cls, module: nn.Module) -> list[BufferState]:
        """Those of a module itself; large ones hold data, and are left alone."""
        held = [tensor for tensor in module._buffers.values() if type(tensor) is torch.Tensor]
        small = [one for one in held if one.numel() < _NUMBERS and not one.is_inference()]
        return [cls(one, one._version, one.detach().clone()) for one in small]

    def restore(self) -> bool:
        """Put the numbers back where they have changed; nothing new can have come."""
        if self.tensor._version != self.version:
            with torch.no_grad():
                self.tensor.copy_(self.values)
        return False
