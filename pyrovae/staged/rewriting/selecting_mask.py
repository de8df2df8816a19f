"""By which mask an operation of a graph selects."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

aten = torch.ops.aten

PUTS = (aten.index_put.default, aten.index_put_.default)


def selecting_mask(node: Any) -> Node | None:
    """The one mask of truth values by which an operation selects, or puts, from the first dimensions on."""
    if not isinstance(node, Node) or node.target not in (aten.index.Tensor, *PUTS):
        return None
    indices: Any = node.args[1]
    if len(indices) != 1 or not isinstance(indices[0], Node) or indices[0].meta["val"].dtype != torch.bool:
        return None
    return indices[0]
