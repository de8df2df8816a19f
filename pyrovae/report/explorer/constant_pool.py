"""The numbers of a page: every tensor once, in one run of bytes."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np
import torch


class ConstantPool:
    """Tensors that programs read, each by its number.

    Attributes:
        listed: for each its type ("f4", "f8", "i4"), where its bytes begin, and how many numbers there are.
    """

    def __init__(self):
        self.listed: list[list[Any]] = []
        self._known: dict[bytes, int] = {}
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, values: torch.Tensor) -> int:
        """The number of a tensor; the same for one that holds the same."""
        array = values.detach().cpu().contiguous()
        kind = "f8" if array.dtype == torch.float64 else "f4" if array.is_floating_point() else "i4"
        data = array.numpy() if array.dtype != torch.bfloat16 else array.float().numpy()
        raw = np.ascontiguousarray(data, dtype=f"<{kind}").tobytes()
        key = hashlib.sha256(kind.encode() + raw).digest()
        if key not in self._known:
            self._known[key] = len(self.listed)
            self._append(kind, raw, array.numel())
        return self._known[key]

    def _append(self, kind: str, raw: bytes, count: int) -> None:
        fill = b"\0" * (-self._length % 8)  # a typed array begins at a multiple of its own width
        self._parts += [fill, raw]
        self.listed.append([kind, self._length + len(fill), count])
        self._length += len(fill) + len(raw)

    def __len__(self) -> int:
        return self._length

    def text(self) -> str:
        """All bytes in base64."""
        return base64.b64encode(b"".join(self._parts)).decode("ascii")
