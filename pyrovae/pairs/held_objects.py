"""What a pair's objects hold, put back after a look at it: what they set up, note or count belongs to training."""

from __future__ import annotations

import copy
import operator
import threading
import types
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from torch import nn

from pyrovae.pairs.buffer_state import BufferState
from pyrovae.pairs.inside import MANY, inside

# Containers of every module in which others put hooks, some for the time of a run.
_OTHERS = set(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}

_GONE = object()


class StateKeeper:
    """Sees every module just before its first call, and every program; notes what they hold.

    Attributes:
        restores: whether what objects hold is noted, too, and not the modes of modules alone.
        found: the modules, in the order of their first calls.
        reached: modules that a program holds, called or not: a method of theirs may read their mode.
        set_up: whether anything was there that had not been there before; known after `restore`.
    """

    def __init__(self, *, restores: bool = True):
        self.restores = restores
        self.found: list[nn.Module] = []
        self.reached: list[nn.Module] = []
        self.set_up = False
        self._before: list[ModuleState | ContainerState | CellState] = []
        self._good: list[ModuleState | ContainerState | CellState] | None = None
        self._settled = 0
        self._seen: set[int] = set()
        self._kept: set[int] = set()
        self._noted: set[int] = set()  # modules; they are held, so that no other object gets their place
        self._thread = threading.get_ident()  # modules that other threads call are not ours

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.found)

    def see(self, module: nn.Module, inputs: Any = None) -> None:
        """Note a module, and put it into eval mode."""
        if id(module) in self._seen or threading.get_ident() != self._thread:
            return
        self._seen.add(id(module))
        self.found.append(module)
        for part in module.modules():
            self._switch(part)

    def _switch(self, module: nn.Module) -> None:
        self._note_module(module)
        if module.training:
            module.training = False

    def keep(self, program: Any) -> None:
        """Note what a model or a guide can reach, before its first run, and put its modules into eval mode."""
        if id(program) in self._kept:
            return
        for one in inside(program):
            if id(one) not in self._kept:
                self._kept.add(id(one))
                if self.restores:
                    self._note(one)
                if isinstance(one, nn.Module):
                    self.reached.append(one)
                    self._switch(one)

    def _note(self, one: Any) -> None:
        if isinstance(one, nn.Module):
            self._note_module(one)
            self._kept.update(map(id, vars(one).values()))
        elif isinstance(one, types.CellType):
            self._before.append(CellState.of(one))
        elif isinstance(one, dict | list | set | deque):
            if len(one) < MANY:
                self._before.append(ContainerState.of(one))
        elif hasattr(one, "__dict__") and not isinstance(one, types.MethodType):
            self._before.append(ContainerState.of(vars(one)))

    def _note_module(self, module: nn.Module) -> None:
        if id(module) not in self._noted:
            self._noted.add(id(module))
            self._before.append(ModuleState.of(module))

    def restore(self, *, all_of_it: bool) -> None:
        """Put everything back, or the modules' modes alone."""
        # Backwards: what was seen twice gets what it had at first.
        for state in reversed(self._before):
            if all_of_it:
                self.set_up |= state.restore()
            elif isinstance(state, ModuleState):
                state.restore_mode()

    def settle(self) -> None:
        """Take what the first run has set up for what a run that fails goes back to."""
        if self._good is None:
            self._good, self._settled = [state.again() for state in self._before], len(self._before)

    def undo(self) -> None:
        """Go on after a run that failed half way, which may have left plates behind, say."""
        states: list[Any] = [*(self._good or []), *self._before[self._settled :]]
        for state in reversed(states):
            state.restore()
        for module in (*self.found, *self.reached):
            module.eval()


class ContainerState(NamedTuple):
    """A dictionary, list or set, and what was in it."""

    held: Any
    before: Any

    @classmethod
    def of(cls, held: Any) -> ContainerState:
        """As it is now."""
        return cls(held, copy.copy(held))

    def again(self) -> ContainerState:
        """What is there now."""
        return ContainerState.of(self.held)

    def restore(self) -> bool:
        """Put it back where it is another one; whether something had come that was not there."""
        held, before = self
        if _same(held, before):
            return False
        came = len(held) > len(before)
        if isinstance(held, dict):
            came |= any(value is not None and before.get(key) is None for key, value in held.items())
        held.clear()
        held.extend(before) if isinstance(held, list | deque) else held.update(before)
        return came


def _same(held: Any, before: Any) -> bool:
    if len(held) != len(before):
        return False
    if isinstance(held, dict):
        return all(key in held and held[key] is value for key, value in before.items())
    return held == before if isinstance(held, set) else all(map(operator.is_, held, before))


class CellState(NamedTuple):
    """A variable of a closure, and what was in it."""

    cell: types.CellType
    before: Any

    @classmethod
    def of(cls, cell: types.CellType) -> CellState:
        """As it is now."""
        return cls(cell, _content(cell))

    def again(self) -> CellState:
        """What is there now."""
        return CellState.of(self.cell)

    def restore(self) -> bool:
        """Put it back; whether something had come that was not there."""
        now = _content(self.cell)
        if now is self.before:
            return False
        if self.before is _GONE:
            del self.cell.cell_contents
        else:
            self.cell.cell_contents = self.before
        return self.before is _GONE or self.before is None


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet bound
        return _GONE


class ModuleState(NamedTuple):
    """What a module holds: its attributes, registries and containers, and the numbers in its buffers."""

    module: nn.Module
    training: bool
    contents: list[ContainerState | BufferState]

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
        return cls(module, module.training, [*contents, *BufferState.all_of(module)])

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


# --- who looks ------------------------------------------------------------------------------------------
_open: list[StateKeeper] = []


def kept(program: Any) -> AbstractContextManager[Any]:
    """A run of a model or a guide, after which somebody may put back what it can reach; at once where it fails."""
    program, restoring = getattr(program, "__self__", program), [keeper for keeper in _open if keeper.restores]
    for keeper in _open:  # the outer ones first: they would take an inner one's eval mode for the user's
        keeper.keep(program)
    return _kept(program, restoring[-1]) if restoring else nullcontext()


@contextmanager
def _kept(program: Any, keeper: StateKeeper) -> Iterator[None]:
    keeper.keep(program)
    try:
        yield
    except Exception:
        keeper.undo()
        raise
    keeper.settle()


@contextmanager
def eval_mode(*, restores: bool = True) -> Iterator[StateKeeper]:
    """Run every module that is called inside in eval mode, and give each its own mode back.

    Modules are switched just before their first call, and those that a program can reach, before it runs.

    Args:
        restores: let the pair's objects forget what they set up inside. Guides draw their starting values, and note
            plates and sizes, at their first call; kept, these would be of other random numbers, or of other rows, than
            those of a plain loop.

    Returns:
        The modules that are called, as they are.
    """
    keeper = StateKeeper(restores=restores)
    handle = nn.modules.module.register_module_forward_pre_hook(keeper.see)
    _open.append(keeper)
    try:
        yield keeper
    finally:
        handle.remove()
        _open.remove(keeper)
        keeper.restore(all_of_it=restores)
