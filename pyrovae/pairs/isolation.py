"""Contexts that give back what they touch: random states, Pyro's store, modes of modules, gradients."""

from __future__ import annotations

import copy
import operator
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions
import pyro.infer.util
import pyro.poutine.util
import torch
from pyro.poutine.block_messenger import BlockMessenger
from pyro.poutine.runtime import _PYRO_STACK
from torch import nn

from pyrovae.pairs.turns import turn


class RandomState(NamedTuple):
    """The states of every generator that a pair may draw from."""

    torch: torch.Tensor
    cuda: list[torch.Tensor]
    numpy: Any
    python: Any

    @classmethod
    def capture(cls) -> RandomState:
        """The states as they are now."""
        # Asking for the states of CUDA starts CUDA; a process that never used it should stay without.
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return cls(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())  # noqa: NPY002

    def capture_torch(self) -> RandomState:
        """torch's states as they are now, the others as they were."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return self._replace(torch=torch.get_rng_state(), cuda=cuda)

    def restore_torch(self) -> None:
        """Put torch's states back."""
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)

    def restore(self) -> None:
        """Put the states back."""
        self.restore_torch()
        np.random.set_state(self.numpy)  # noqa: NPY002 - the global generator is what a user's model may use
        random.setstate(self.python)


def reseed(seed: int) -> None:
    """Seed what a pair may draw from; unlike Pyro's own, this starts nothing of CUDA."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what a user's model may use
    random.seed(seed)


@contextmanager
def forked_random(seed: int | None = None) -> Iterator[None]:
    """Leave every random generator as it was; inside, go on from it, or from `seed`."""
    with turn():
        before = RandomState.capture()
        try:
            if seed is not None:
                reseed(seed)
            yield
        finally:
            before.restore()


class StoreEntries:
    """What Pyro's parameter store holds for one pair: values, their names and constraints.

    Attributes:
        held: the three, as the store has them; what appears inside a `forked_store` is forgotten with it.
    """

    def __init__(self):
        self.held: tuple[dict, dict, dict] = ({}, {}, {})

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Pyro's store holds these, and nothing else."""
        store: Any = pyro.get_param_store()
        held, before = self._now(), _dicts(store)
        _set(store, held)
        try:
            yield
        finally:
            for mine, now in zip(held, _dicts(store), strict=True):
                if mine is not now:  # the store was cleared inside
                    mine.clear()
                    mine.update(now)
            _set(store, before)

    def _now(self) -> tuple[dict, dict, dict]:
        held = self.held
        for empty, known in _forks:
            if self not in known:
                known[self] = _copied(held, empty=empty)
            held = known[self]
        return held


# For each `forked_store` that is open whether it began empty, and what it made of the entries of single pairs.
_forks: list[tuple[bool, dict[StoreEntries, tuple[dict, dict, dict]]]] = []


def _dicts(store: Any) -> tuple[dict, dict, dict]:
    return store._params, store._param_to_name, store._constraints


def _set(store: Any, held: tuple[dict, dict, dict]) -> None:
    store._params, store._param_to_name, store._constraints = held


def _copied(held: tuple[dict, dict, dict], *, empty: bool) -> tuple[dict, dict, dict]:
    return ({}, {}, {}) if empty else (dict(held[0]), dict(held[1]), dict(held[2]))


@contextmanager
def forked_store(*, empty: bool = False) -> Iterator[None]:
    """Forget what appears in Pyro's parameter store; tensors that were there stay the same objects.

    Args:
        empty: hide what was there, so that a pair of the same names starts from its own values.
    """
    store: Any = pyro.get_param_store()
    before = _dicts(store)
    _set(store, _copied(before, empty=empty))
    _forks.append((empty, {}))
    try:
        yield
    finally:
        _forks.pop()
        _set(store, before)


class _Watch:
    """Sees every module just before its first call: notes it and what it holds, and puts it into eval mode."""

    def __init__(self):
        self.found: list[nn.Module] = []
        self.before: list[ModuleState] = []
        self._seen: set[int] = set()
        self._thread = threading.get_ident()  # modules that other threads call are not ours

    def __call__(self, module: nn.Module, inputs: Any = None) -> None:
        if id(module) in self._seen or threading.get_ident() != self._thread:
            return
        self._seen.add(id(module))
        self.found.append(module)
        for part in module.modules():
            self.before.append(ModuleState.of(part))
            part.training = False

    def restore(self, *, all_of_it: bool) -> None:
        # Backwards: a part that was seen twice gets what it had at first.
        for state in reversed(self.before):
            state.restore() if all_of_it else state.restore_mode()


class ModuleState(NamedTuple):
    """What a module holds: its attributes, registries and containers; numbers inside tensors are left alone."""

    module: nn.Module
    training: bool
    held: list[tuple[Any, Any]]  # a dictionary, list or set, and what was in it

    @classmethod
    def of(cls, module: nn.Module) -> ModuleState:
        """As it is now."""
        if getattr(module, "has_uninitialized_params", None):  # lazy layers become others at their first call
            return cls(module, module.training, [])
        attributes = vars(module)
        inside = [
            held
            for name, held in attributes.items()
            if isinstance(held, dict | list | set) and len(held) < _MANY and name not in _OTHERS
        ]
        state = cls(module, module.training, [(held, copy.copy(held)) for held in (attributes, *inside)])
        for held, before in state.held if _displaced else ():
            for name, value in _displaced.get(id(held), {}).items():
                before[name] = value
        return state

    def restore(self) -> None:
        """Put everything back where it is another one."""
        for held, before in self.held:
            if not _same(held, before):
                held.clear()
                held.extend(before) if isinstance(held, list) else held.update(before)
        self.restore_mode()

    def restore_mode(self) -> None:
        """Train or eval as before."""
        self.module.training = self.training


_MANY = 1_000  # entries of a container beyond which it holds data, not state

# Containers of every module in which others put hooks, some for the time of a run.
_OTHERS = set(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}

# By registry of a module what belongs there, while another tensor stands in for it.
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


def _same(held: Any, before: Any) -> bool:
    if len(held) != len(before):
        return False
    if isinstance(held, dict):
        return all(key in held and held[key] is value for key, value in before.items())
    return held == before if isinstance(held, set) else all(map(operator.is_, held, before))


@contextmanager
def eval_mode(*, restores: bool = True) -> Iterator[list[nn.Module]]:
    """Run every module that is called inside in eval mode, and give each its own mode back.

    Which modules a pair holds shows only when it runs, so they are switched just before their first call.

    Args:
        restores: let modules forget what they set up inside. Guides draw their starting values, and note plates and
            sizes, at their first call; kept, these would be of other random numbers, or of other rows, than those of a
            plain loop.

    Returns:
        A list of the modules, in the order of their first calls, which grows as they are called.
    """
    watch = _Watch()
    handle = nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        yield watch.found
    finally:
        handle.remove()
        watch.restore(all_of_it=restores)


class IsolationBlock(BlockMessenger):
    """Keeps what runs inside from the handlers outside; no other code puts up one of this kind."""

    def __exit__(self, *error: Any) -> None:
        if self in _PYRO_STACK:  # what a pair has entered and never left goes with it
            del _PYRO_STACK[_PYRO_STACK.index(self) + 1 :]
        super().__exit__(*error)


@contextmanager
def isolated(seed: int | None = None) -> Iterator[list[nn.Module]]:
    """Run pairs so that nothing is seen outside: random numbers, store, modes, Pyro's outer handlers.

    Returns:
        A list of the modules that are called, which grows as they are.
    """
    with forked_random(seed), forked_store(), IsolationBlock(), eval_mode() as modules:
        yield modules


@contextmanager
def validation_restored() -> Iterator[None]:
    """Pyro's and torch's validation as before, whatever is done to it inside."""
    dist_flag = pyro.distributions.is_validation_enabled()
    pyro_flag = pyro.infer.util.is_validation_enabled()
    poutine_flag = pyro.poutine.util.is_validation_enabled()
    torch_flag = torch.distributions.Distribution._validate_args
    try:
        yield
    finally:
        pyro.distributions.enable_validation(dist_flag)
        pyro.infer.util.enable_validation(pyro_flag)
        pyro.poutine.util.enable_validation(poutine_flag)
        torch.distributions.Distribution.set_default_validate_args(torch_flag)


@contextmanager
def validation(enabled: bool | None) -> Iterator[None]:
    """Pyro's and torch's validation set to `enabled` inside and given back after; None leaves it."""
    if enabled is None:
        yield
        return
    with validation_restored():
        pyro.enable_validation(enabled)
        yield
