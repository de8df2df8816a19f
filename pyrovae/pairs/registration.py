"""Names in Pyro's parameter store that belong to one object each."""

from __future__ import annotations

import weakref
from typing import Any

import pyro
from torch import nn

from pyrovae.pairs.names import fresh_name


class Registration:
    """A name in Pyro's parameter store that no other object has; its entries leave the store with it.

    A deep copy or an unpickled one is another registration; a shallow copy, whose parameters are the
    same, is the same one.
    """

    def __init__(self, prefix: str):
        self.prefix, self.name = prefix, fresh_name(prefix)
        weakref.finalize(self, _forget, self.name).atexit = False

    def __call__(self, module: nn.Module) -> None:
        """`pyro.module` under this name, where the module's own tensors win over what the store holds.

        A network that was replaced after training would otherwise find the old one's tensors under its names, and
        train nothing.
        """
        store = pyro.get_param_store()
        for name, tensor in module.named_parameters():
            if tensor.requires_grad:
                key = f"{self.name}$$$" + name
                if pyro.param(key, tensor) is not tensor and key in store and store[key] is not tensor:
                    del store[key]
                    pyro.param(key, tensor)

    def __deepcopy__(self, memo: dict) -> Registration:
        return Registration(self.prefix)

    def __reduce__(self) -> tuple:
        return Registration, (self.prefix,)


def _forget(name: str) -> None:
    """Take the entries under a name out of Pyro's store.

    This may run in the midst of another pair's code, wherever garbage is collected: entries are not asked for by the
    store's own means, which would look like that pair's asking.
    """
    store: Any = pyro.get_param_store()
    mine = [key for key in store._params if key.startswith(f"{name}$$$")]
    tensors = {id(store._params[key]): key for key in mine}
    for key in mine:
        del store[key]
    # Pyro keeps one name a tensor: a pair that shares one of these needs its own name there again.
    for key, tensor in store._params.items():
        if id(tensor) in tensors:
            store._param_to_name[tensor] = key
