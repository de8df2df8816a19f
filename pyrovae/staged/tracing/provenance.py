"""Which tensors of a pass are functions of its batch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from pyrovae.staged.pair_code.user_lines import place
from pyrovae.staged.tracing.writes import storage_of, targets
from pyrovae.staged.unstageable import Unstageable

# A traced operation takes about a millisecond, and a graph of so many as long as some seconds of training.
MOST_OPERATIONS = 30_000

_SELECTS, _FINDS = torch.ops.aten.index.Tensor, torch.ops.aten.nonzero.default

_TOLIST, _ITEM = torch.Tensor.tolist, torch.Tensor.item  # as they are while nothing is traced

_PACKS = torch.ops.aten._pack_padded_sequence.default


class Provenance(TorchDispatchMode):
    """Follows, operation by operation, what comes from the batch and from tensors that stay, and from nothing else.

    What an operation writes into counts as coming from elsewhere, though it may not: nothing is looked up in the past.

    Attributes:
        selections: the operations that select by values.
        operations: all of them, in order.
    """

    def __init__(self, others: Iterable[torch.Tensor], read: Callable[..., Any], like: Sequence[Any] | None = None):
        """Begin.

        Args:
            others: inputs that change from step to step and are not the batch: parameters, the loss's own state.
            read: called with a function and the tensors whose values it is to give; see `TracedReads.data`.
            like: the operations that are expected; another one is an error.
        """
        super().__init__()
        self._pure = dict.fromkeys(map(storage_of, others), False)
        self._read = read
        self.operations: list[Any] = []
        self._like = like
        self.selections: list[Node] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if get_proxy_mode() is None:  # a look at a value, of which the graph has nothing
            return func(*args, **kwargs)
        if torch.Tag.data_dependent_output in func.tags:
            return self._value(func, args, kwargs)
        self._count(func)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        pure = torch.Tag.nondeterministic_seeded not in func.tags and self.of_batch(tensors)
        if func is _PACKS:  # whose lengths decide about what recurrent networks do, unseen
            self._read(_TOLIST, [args[1]], f"lengths of packed sequences in {place()}", "tolist")
        result = func(*args, **kwargs)
        if func in (_SELECTS, _FINDS):
            self._note_selection(func, args, result)
        given = set(map(storage_of, tensors))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and storage_of(leaf) not in given:
                self._pure[storage_of(leaf)] = pure
        for tensor in targets(func, args, kwargs):
            self._pure[storage_of(tensor)] = False
        return result

    def of_batch(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Whether these are functions of the batch and of what stays."""
        return all(self._pure.get(storage_of(tensor), True) for tensor in tensors)

    def _value(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operation reads that torch does by itself, such as of a length that is a tensor."""
        leaves, structure = tree_flatten((args, kwargs))
        places = [number for number, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

        def reader(*tensors: torch.Tensor) -> Any:
            given = list(leaves)
            for number, tensor in zip(places, tensors, strict=True):
                given[number] = tensor
            positional, named = tree_unflatten(given, structure)
            return func(*positional, **named)

        name = str(func).removeprefix("aten.").partition(".")[0].replace("_local_scalar_dense", "a number for torch")
        kind = f"{func}{[leaf for leaf in leaves if not isinstance(leaf, torch.Tensor)]}"
        return self._read(reader, [leaves[number] for number in places], f"{name} in {place()}", kind)

    def _note_selection(self, func: Any, args: Any, result: Any) -> None:
        """Let a selection by the batch hold for how much it selects."""
        mode: Any = get_proxy_mode()
        node = get_proxy_slot(result, mode.tracer).proxy.node
        node.meta["place"] = place()
        chosen = [args[0]] if func is _FINDS else [one for one in args[1] if _is_mask(one)]
        if not chosen:
            return  # an index by whole numbers
        self.selections.append(node)
        if self.of_batch(chosen):
            for mask in chosen:
                self._read(_count, [mask], f"a selection in {node.meta['place']}", "count", node)
            node.meta["counted"] = True

    def _count(self, func: Any) -> None:
        number = len(self.operations)
        self.operations.append(func)
        if self._like is not None and (number >= len(self._like) or self._like[number] is not func):
            raise Unstageable("a pass at another value is another one")
        if len(self.operations) > MOST_OPERATIONS:
            raise Unstageable(
                f"a pass has more than {MOST_OPERATIONS:,} operations, the last of them in {place()}: a graph would "
                "hold each iteration of a loop. Do many in one operation, as torch.nn.GRU or vectorised plates do"
            )


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def _count(values: torch.Tensor) -> int:
    return int(_ITEM(torch.count_nonzero(values)))
