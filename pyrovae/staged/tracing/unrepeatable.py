"""What a graph cannot repeat: found in a pass that was traced, and refused with what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from pyrovae.staged.tracing.reads import TracedReads
from pyrovae.staged.tracing.writes import Writes, storage_of
from pyrovae.staged.unstageable import Unstageable


def refuse_other_randomness(notes: Mapping[str, Any], draws: str | None) -> None:
    """Refuse a pass that has drawn from Python or numpy."""
    (python, numpy), (python_after, numpy_after) = notes["generators"]
    if python != python_after or repr(numpy) != repr(numpy_after):
        where = f" in {draws}" if draws else ""
        raise Unstageable(
            f"the pair draws random numbers from Python or numpy{where}, which a graph would repeat; use torch's"
        )


def refuse_shapes_that_depend_on_values(graph: GraphModule) -> None:
    """Refuse a selection by values whose shape the graph does not hold for."""
    for node in graph.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.dynamic_output_shape in tags and not _keeps_shape(node):
            raise Unstageable(
                f"the pair selects by values ({node.target} in {node.meta.get('place', 'a library')}), so that shapes "
                "differ from step to step; keep all of them, and choose by torch.where or multiply by the mask"
            )


def refuse_unseen_shapes(graph: GraphModule, reading: TracedReads) -> None:
    """Refuse a selection of which nothing but its shape was used: the graph has lost it, and holds that of today."""
    there = set(graph.graph.nodes)
    for node in reading.provenance.selections:
        if node not in there and not node.meta.get("counted"):
            raise Unstageable(
                f"the pair counts what a selection by values has left ({node.meta['place']}); count by "
                "(condition).sum(), and keep that a tensor"
            )


def _keeps_shape(node: torch.fx.Node) -> bool:
    """Whether an operation whose shape may depend on values does not do so here.

    It is an index by whole numbers, or a selection by the batch alone, for whose count the graph holds.
    """
    if node.meta.get("counted"):
        return True
    if node.target is not torch.ops.aten.index.Tensor:
        return False
    indices: Any = node.args[1]
    return all(i is None or i.meta["val"].dtype not in (torch.bool, torch.uint8) for i in indices)


def refuse_moving_constants(read: Sequence[torch.Tensor], writes: Writes) -> None:
    """Refuse a tensor that is read and changed."""
    for tensor in read:
        if storage_of(tensor) in writes.written:
            raise Unstageable(
                f"the pair reads the value of a tensor that it also changes ({writes.where[storage_of(tensor)]}); keep "
                "what depends on it in tensors, by torch.where say"
            )


def refuse_written_data(leaves: Sequence[torch.Tensor], writes: Writes) -> None:
    """Refuse a pass that changes its data."""
    for leaf in leaves:
        if storage_of(leaf) in writes.written:
            raise Unstageable(
                f"the pair changes its data in place ({writes.where[storage_of(leaf)]}); work on a copy, x.clone()"
            )
