"""Which tensors a pass writes into, and how to undo it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrovae.staged.pair_code.user_lines import place
from pyrovae.staged.rewriting.graphs import SILENT_WRITERS
from pyrovae.staged.unstageable import Unstageable


class Writes(TorchDispatchMode):
    """Sees every operation inside; keeps a copy of each storage from outside just before it is first written into.

    Attributes:
        written: each such storage as one flat tensor, and what was in it before.
        where: the line that wrote into each of them.
    """

    def __init__(self):
        super().__init__()
        self.where: dict[int, str] = {}
        self.written: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._own: set[int] = set()  # storages that were made inside

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(kwargs.get("generator"), torch.Generator):
            raise Unstageable(
                f"the pair draws from a torch.Generator of its own ({place()}), which a graph cannot hold; leave "
                "generator= out, and seed by pyro.set_rng_seed"
            )
        for tensor in targets(func, args, kwargs):
            self._keep(tensor)
        result = func(*args, **kwargs)
        given = {storage_of(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        made = {storage_of(leaf) for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        self._own |= made - given
        return result

    def _keep(self, tensor: torch.Tensor) -> None:
        storage = storage_of(tensor)
        if storage not in self._own and storage not in self.written:
            with disable_proxy_modes_tracing():
                whole = whole_of(tensor)
                self.written[storage] = whole, whole.clone()
                self.where[storage] = place()

    @torch.no_grad()
    def undo(self) -> None:
        """Put back what was there before."""
        for whole, before in self.written.values():
            whole.copy_(before)


@contextmanager
def undone() -> Iterator[Writes]:
    """Let operations run, and leave every tensor from outside as it was."""
    writes = Writes()
    try:
        with writes:
            yield writes
    finally:
        writes.undo()


@torch.no_grad()
def whole_of(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor's storage as one flat tensor."""
    storage = tensor.untyped_storage()
    flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return flat.set_(storage, 0, (storage.nbytes() // tensor.element_size(),))  # type: ignore[call-overload]


def storage_of(tensor: torch.Tensor) -> int:
    """What tensors that share their numbers have in common."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def targets(func: Any, args: tuple, kwargs: dict[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that an operation writes into."""
    if func in SILENT_WRITERS:
        found: list[Any] = list(args[3:5])
    else:
        arguments = func._schema.arguments
        found = [
            args[place] if place < len(args) else kwargs.get(argument.name)
            for place, argument in enumerate(arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
    yield from (leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided)
