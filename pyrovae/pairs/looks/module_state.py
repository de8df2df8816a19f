"""What a module holds, put back after a look at it; and tensors that stand in for its own meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from pyrovae.pairs.looks.container_state import ContainerState
from pyrovae.pairs.looks.inside import MANY

# Containers of every module in which others put hooks, some for the time of a run.
_OTHERS = set(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}


class ModuleState(NamedTuple):
    """What a module holds: its attributes, registries and containers."""

    module: nn.Module
    training: bool
    contents: list[ContainerState]

    @classmethod
    def of(cls, module: nn.Module) -> ModuleState:
        """As it is now."""
        if getattr(module, "has_uninitialized_params", None):  # lazy layers become others at their first call
            return cls(module, module.training, [])
        attributes = vars(module)
        within = [
            held
            for name, held in attributes.items()
            if name not in _OTHERS and isinstance(held, dict | list | set) and len(held) < MANY
        ]
        contents = [ContainerState.of(held) for held in (attributes, *within)]
        for held, before in contents if _displaced else ():
            for name, value in _displaced.get(id(held), {}).items():
                before[name] = value
        return cls(module, module.training, contents)

    def again(self) -> ModuleState:
        """What is there now."""
        return ModuleState.of(self.module)

    def restore(self) -> bool:
        """Put everything back; whether something had come that was not there."""
        came = [one.restore() for one in self.contents]
        self.restore_mode()
        return any(came)

    def restore_mode(self) -> None:
        """Train or eval as before."""
        self.module.training = self.training


# --- tensors that stand in for others -------------------------------------------------------------------

# By registry of a module what belongs there meanwhile.
_displaced: dict[int, dict[str, Any]] = {}


@contextmanager
def swapped(places: Sequence[tuple[dict[str, Any], str]], values: Sequence[Any]) -> Iterator[None]:
    """Other tensors in some places of modules' registries, for the time of a run."""
    before = [entries[name] for entries, name in places]
    displaced = [(entries, name) for entries, name in places if name not in _displaced.get(id(entries), {})]
    for entries, name in displaced:
        _displaced.setdefault(id(entries), {})[name] = entries[name]
    try:
        for (entries, name), value in zip(places, values, strict=True):
            entries[name] = value
        yield
    finally:
        for (entries, name), tensor in zip(places, before, strict=True):
            entries[name] = tensor
        for entries, name in displaced:
            del _displaced[id(entries)][name]
            if not _displaced[id(entries)]:
                del _displaced[id(entries)]
