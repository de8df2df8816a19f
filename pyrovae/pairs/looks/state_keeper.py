"""What a pair's objects hold, put back after a look at it: what they set up, note or count belongs to training."""

from __future__ import annotations

import array
import threading
import types
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from pyrovae.pairs.looks.container_state import CellState, ContainerState, NamesState
from pyrovae.pairs.looks.generator_state import GENERATORS, GeneratorState
from pyrovae.pairs.looks.inside import MANY, inside, rebound_names, slots
from pyrovae.pairs.looks.iterator_state import IteratorState, is_iterator
from pyrovae.pairs.looks.module_state import ModuleState
from pyrovae.pairs.looks.number_state import LargeState, NumberState

_State = ModuleState | ContainerState | CellState | NamesState | NumberState | LargeState


class StateKeeper:
    """Sees every module just before its first call, and every program; notes what they hold.

    Attributes:
        restores: whether what objects hold is noted, too, and not modes of modules, numbers and generators alone.
        seed: what the pair's own generators are seeded by; None lets them go on.
        found: the modules, in the order of their first calls.
        reached: modules that a program holds, called or not: a method of theirs may read their mode.
        set_up: whether anything was there that had not been there before; known after `restore`.
    """

    def __init__(self, *, restores: bool = True, seed: int | None = None):
        self.restores = restores
        self.seed = seed
        self.found: list[nn.Module] = []
        self.reached: list[nn.Module] = []
        self.set_up = False
        self._before: list[_State] = []
        self._good: list[_State] | None = None
        self._settled = 0
        self._generators: list[GeneratorState] = []
        self._iterators: list[IteratorState] = []
        self._seen: set[int] = set()
        self._kept: set[int] = set()
        self._noted: set[int] = set()  # modules and numbers; they are held, so that none other gets their place
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
        for one in inside(program, classes=True):
            if id(one) not in self._kept:
                self._kept.add(id(one))
                self._note(one)
                if isinstance(one, nn.Module):
                    self.reached.append(one)
                    self._switch(one)

    def _note(self, one: Any) -> None:
        if isinstance(one, nn.Module):
            self._note_module(one)
            self._kept.update(id(held) for held in vars(one).values() if isinstance(held, dict | list | set))
        elif isinstance(one, torch.Tensor | np.ndarray | array.array | bytearray):
            self._note_numbers(one)
        elif isinstance(one, GENERATORS):
            self._note_generator(one)
        elif is_iterator(one):
            self._iterators.append(IteratorState.of(one))
        elif self.restores:
            self._note_object(one)

    def _note_object(self, one: Any) -> None:
        if isinstance(one, types.CellType):
            self._before.append(CellState.of(one))
        elif isinstance(one, dict | list | set | deque):
            if len(one) < MANY:
                self._before.append(ContainerState.of(one))
        elif isinstance(one, type):
            self._before.append(NamesState.of_class(one))
        elif not isinstance(one, types.MethodType):
            self._note_attributes(one)

    def _note_attributes(self, one: Any) -> None:
        if hasattr(one, "__dict__"):
            self._before.append(ContainerState.of(vars(one)))
        if held := slots(type(one)):
            self._before.append(NamesState.of(one, held))
        if isinstance(one, types.FunctionType) and (names := rebound_names(one.__code__)):
            self._before.append(NamesState.of(one.__globals__, names))

    def _note_module(self, module: nn.Module) -> None:
        if id(module) not in self._noted:
            self._noted.add(id(module))
            self._before.append(ModuleState.of(module))
            for buffer in module._buffers.values():
                self._note_numbers(buffer)

    def _note_numbers(self, held: Any) -> None:
        if id(held) not in self._noted and (state := NumberState.of(held)) is not None:
            self._noted.add(id(held))
            self._before.append(state)

    def _note_generator(self, one: Any) -> None:
        state = GeneratorState.of(one)
        if state is not None:
            self._generators.append(state)
            if self.seed is not None:
                state.seed(self.seed, len(self._generators))

    def restore(self, *, all_of_it: bool) -> None:
        """Put everything back, or the modules' modes, numbers and generators alone."""
        # Backwards: what was seen twice gets what it had at first.
        for state in reversed(self._before):
            if all_of_it or isinstance(state, NumberState):
                self.set_up |= state.restore()
            elif isinstance(state, ModuleState):
                state.restore_mode()
        for state in reversed(self._generators):
            state.restore()
        for state in (*self._iterators, *(one for one in self._before if isinstance(one, LargeState))):
            state.tell()

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

    def restart(self, seed: int) -> None:
        """Everything as the first run has left it, and the pair's own generators as a seed says."""
        self.undo()
        self.seed = seed
        for number, state in enumerate(self._generators, 1):
            state.seed(seed, number)


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
    except Exception:  # whatever the author's code raises, raised again
        keeper.undo()
        raise
    keeper.settle()


def looking() -> StateKeeper | None:
    """Who puts back what a run changes now; the innermost of several."""
    return next((keeper for keeper in reversed(_open) if keeper.restores), None)


def rewind() -> None:
    """Before a run that is compared with another: what the pair keeps is as that one found it."""
    if (keeper := looking()) is not None:
        keeper.undo()


@contextmanager
def eval_mode(*, restores: bool = True, seed: int | None = None) -> Iterator[StateKeeper]:
    """Run every module that is called inside in eval mode, and give each its own mode back.

    Modules are switched just before their first call, and those that a program can reach, before it runs.

    Args:
        restores: let the pair's objects forget what they set up inside, and not only what numbers they count in place
            and draw by generators of their own. Guides draw their starting values, and note
            plates and sizes, at their first call; kept, these would be of other random numbers, or of other rows, than
            those of a plain loop.
        seed: what generators of the pair's own are seeded by inside; None lets them go on.

    Returns:
        The modules that are called, as they are.
    """
    keeper = StateKeeper(restores=restores, seed=seed)
    handle = nn.modules.module.register_module_forward_pre_hook(keeper.see)
    _open.append(keeper)
    try:
        yield keeper
    finally:
        handle.remove()
        _open.remove(keeper)
        keeper.restore(all_of_it=restores)
