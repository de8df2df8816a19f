"""Contexts that give back what they touch: random states, Pyro's store, modes of modules, gradients."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
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

from pyrovae.pairs.looks.state_keeper import StateKeeper, eval_mode, looking
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


def restart(seed: int) -> None:
    """Before a run, inside a look: the same random numbers and the same state of the pair's own each time.

    Runs that are compared differ by nothing but what they were given: a count that the pair keeps would.
    """
    reseed(seed)
    if (keeper := looking()) is not None:
        keeper.restart(seed)


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


class IsolationBlock(BlockMessenger):
    """Keeps what runs inside from the handlers outside; no other code puts up one of this kind."""

    def __exit__(self, *error: Any) -> None:
        if self in _PYRO_STACK:  # what a pair has entered and never left goes with it
            del _PYRO_STACK[_PYRO_STACK.index(self) + 1 :]
        super().__exit__(*error)


@contextmanager
def isolated(seed: int | None = None) -> Iterator[StateKeeper]:
    """Run pairs so that nothing is seen outside: random numbers, store, objects and modes, Pyro's outer handlers.

    Args:
        seed: what random numbers follow from inside, those of generators that a pair holds, too; None lets them go on.

    Returns:
        The modules that are called, as they are.
    """
    with forked_random(seed), forked_store(), IsolationBlock(), eval_mode(seed=seed) as called:
        yield called


@contextmanager
def log_level(name: str, level: int) -> Iterator[None]:
    """A log of a certain level inside, and of its own after."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)


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
