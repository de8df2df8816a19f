"""Contexts that give back what they touch: random states, Pyro's store, modes of modules, gradients."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
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

    def restore(self) -> None:
        """Put the states back."""
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        np.random.set_state(self.numpy)  # noqa: NPY002 - the global generator is what a user's model may use
        random.setstate(self.python)


@contextmanager
def forked_random(seed: int | None = None) -> Iterator[None]:
    """Leave every random generator as it was; inside, go on from it, or from `seed`."""
    before = RandomState.capture()
    try:
        if seed is not None:
            pyro.set_rng_seed(seed)
        yield
    finally:
        before.restore()


@contextmanager
def forked_store() -> Iterator[None]:
    """Forget what appears in Pyro's parameter store; tensors that were there stay the same objects."""
    store = pyro.get_param_store()
    before = (store._params, store._param_to_name, store._constraints)
    store._params, store._param_to_name, store._constraints = (dict(entries) for entries in before)
    try:
        yield
    finally:
        store._params, store._param_to_name, store._constraints = before


@contextmanager
def module_modes(modules: Iterable[nn.Module], *, training: bool) -> Iterator[None]:
    """Set train or eval mode on modules and all they hold, and give each its own mode back."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for part, _ in before:
            part.training = training
        yield
    finally:
        for part, mode in before:
            part.training = mode


@contextmanager
def forked_prototypes(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let autoguides that were never run forget the set-up made inside.

    An autoguide draws its starting values at its first call; kept, they would come from other random
    numbers than those of the plain loop.
    """
    unborn = [
        part
        for module in modules
        for part in module.modules()
        if isinstance(part, pyro.infer.autoguide.AutoGuide) and part.prototype_trace is None
    ]
    before = [_registries(guide) for guide in unborn]
    try:
        yield
    finally:
        for guide, registries in zip(unborn, before, strict=True):
            guide.prototype_trace = None
            _restore_registries(guide, registries)


# What PyroModule and nn.Module keep per object; entries made during a first call live in these.
_REGISTRIES = ("_parameters", "_buffers", "_modules", "_pyro_params", "_pyro_samples")


def _registries(module: nn.Module) -> dict[str, dict]:
    return {name: dict(getattr(module, name)) for name in _REGISTRIES if hasattr(module, name)}


def _restore_registries(module: nn.Module, before: dict[str, dict]) -> None:
    for name, entries in before.items():
        registry = getattr(module, name)
        registry.clear()
        registry.update(entries)


@contextmanager
def isolated(seed: int | None = None) -> Iterator[None]:
    """Random numbers, parameter store and Pyro's outer handlers: nothing inside is seen outside."""
    with forked_random(seed), forked_store(), pyro.poutine.block():
        yield


@contextmanager
def validation(enabled: bool | None) -> Iterator[None]:
    """Pyro's and torch's validation set to `enabled` inside and given back after; None leaves it."""
    if enabled is None:
        yield
        return
    pyro_flag = pyro.infer.util.is_validation_enabled()
    poutine_flag = pyro.poutine.util.is_validation_enabled()
    torch_flag = torch.distributions.Distribution._validate_args
    try:
        pyro.enable_validation(enabled)
        yield
    finally:
        pyro.infer.util.enable_validation(pyro_flag)
        pyro.poutine.util.enable_validation(poutine_flag)
        torch.distributions.Distribution.set_default_validate_args(torch_flag)
