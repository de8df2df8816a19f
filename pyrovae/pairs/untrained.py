"""What a pair computes with and Pyro does not know: frozen networks, parameters behind `poutine.block`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from pyro.ops.provenance import detach_provenance
from pyro.params.param_store import ParamStoreDict
from torch import nn
from torch.overrides import TorchFunctionMode

from pyrovae.pairs.names import canonical


class Used:
    """What runs have asked for: entries of Pyro's store by name, and parameters that functions of torch were given."""

    def __init__(self):
        self.entries: dict[str, torch.Tensor] = {}
        self.parameters: dict[int, nn.Parameter] = {}

    def untrained(
        self, known: Iterable[torch.Tensor], modules: Mapping[str, nn.Module], replaced: Iterable[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Parameters that no `param` statement shows, by names that the same pair gives them again.

        Args:
            known: those that one shows.
            modules: that are called, by prefix.
            replaced: those that others stand in for.
        """
        found: dict[str, torch.Tensor] = {}
        seen = {id(tensor) for tensor in (*known, *replaced)}
        for name, tensor in self._named(modules):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                found[name if name not in found else f"{name}_{len(found)}"] = tensor
        return found

    def _named(self, modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, torch.Tensor]]:
        yield from zip(canonical(self.entries), self.entries.values(), strict=True)
        for prefix, module in modules.items():
            for name, tensor in module.named_parameters():
                yield f"{prefix}.{name}" if prefix else name, tensor
        for tensor in self.parameters.values():
            yield "parameter", tensor


@contextmanager
def noting_use() -> Iterator[Used]:
    """Note what the runs inside compute with, hidden from Pyro's handlers or not."""
    used, original = Used(), ParamStoreDict.__getitem__

    def noted(store: ParamStoreDict, name: str) -> torch.Tensor:
        value = original(store, name)
        used.entries[name] = detach_provenance(store._params[name])
        return value

    with mock.patch.object(ParamStoreDict, "__getitem__", noted), _NotingParameters(used):
        yield used


class _NotingParameters(TorchFunctionMode):
    def __init__(self, used: Used):
        super().__init__()
        self.used = used

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        for one in (*args, *(kwargs or {}).values()):
            for part in one if isinstance(one, list | tuple) else (one,):
                if isinstance(part, nn.Parameter):
                    self.used.parameters[id(part)] = part
        return func(*args, **(kwargs or {}))
