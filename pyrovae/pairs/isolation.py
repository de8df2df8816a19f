"""Contexts that give back what they touch: random states, Pyro's store, modes of modules, gradients."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions
import pyro.infer.util
import pyro.poutine.util
import torch
from pyro.infer.autoguide import AutoGuide
from pyro.poutine.block_messenger import BlockMessenger
from torch import nn


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
    before = RandomState.capture()
    try:
        if seed is not None:
            reseed(seed)
        yield
    finally:
        before.restore()


@contextmanager
def forked_store(*, empty: bool = False) -> Iterator[None]:
    """Forget what appears in Pyro's parameter store; tensors that were there stay the same objects.

    Args:
        empty: hide what was there, so that a pair of the same names starts from its own values.
    """
    store: Any = pyro.get_param_store()
    before = (store._params, store._param_to_name, store._constraints)
    store._params, store._param_to_name, store._constraints = ({} if empty else dict(held) for held in before)
    try:
        yield
    finally:
        store._params, store._param_to_name, store._constraints = before


class _Watch:
    """Sees every module just before its first call: notes it, and puts it into eval mode."""

    def __init__(self):
        self.found: list[nn.Module] = []
        self._seen: set[int] = set()
        self.modes: list[tuple[nn.Module, bool]] = []
        self.new_guides: list[tuple[AutoGuide, dict[str, Any], dict[str, dict]]] = []
        self._thread = threading.get_ident()  # modules that other threads call are not ours

    def __call__(self, module: nn.Module, inputs: Any = None) -> None:
        if id(module) in self._seen or threading.get_ident() != self._thread:
            return
        self._seen.add(id(module))
        self.found.append(module)
        if isinstance(module, AutoGuide) and module.prototype_trace is None:
            self.new_guides.append((module, dict(vars(module)), _registries(module)))
        for part in module.modules():
            self.modes.append((part, part.training))
            part.training = False

    def restore_modes(self) -> None:
        # Backwards: a part that was seen twice gets the mode that it had at first.
        for part, mode in reversed(self.modes):
            part.training = mode

    def restore_new_guides(self) -> None:
        for guide, attributes, registries in self.new_guides:
            vars(guide).clear()
            vars(guide).update(attributes)
            for name, entries in registries.items():
                registry = getattr(guide, name)
                registry.clear()
                registry.update(entries)


# What PyroModule and nn.Module keep per object; entries made during a first call live in these.
_REGISTRIES = ("_parameters", "_buffers", "_modules", "_pyro_params", "_pyro_samples")


def _registries(module: nn.Module) -> dict[str, dict]:
    return {name: dict(getattr(module, name)) for name in _REGISTRIES if hasattr(module, name)}


@contextmanager
def eval_mode(*, reset_new_guides: bool = True) -> Iterator[list[nn.Module]]:
    """Run every module that is called inside in eval mode, and give each its own mode back.

    Which modules a pair holds shows only when it runs, so they are switched just before their first call.

    Args:
        reset_new_guides: let autoguides that were never run forget the set-up made inside: they draw their starting
            values at their first call, and kept, these would come from other random numbers than those of
            a plain loop.

    Returns:
        A list of the modules, in the order of their first calls, which grows as they are called.
    """
    watch = _Watch()
    handle = nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        yield watch.found
    finally:
        handle.remove()
        watch.restore_modes()
        if reset_new_guides:
            watch.restore_new_guides()


class IsolationBlock(BlockMessenger):
    """Keeps what runs inside from the handlers outside; no other code puts up one of this kind."""


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
