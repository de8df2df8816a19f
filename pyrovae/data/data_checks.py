"""What parts of a pair declare of its data: a look at each batch where it comes in, outside model and guide."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from pyrovae.errors import ArgumentError
from pyrovae.pairs.pair import HasPair, Wrapped, bound_modules, unwrapped
from pyrovae.pairs.surplus_labels import surplus_labels

DataCheck = Callable[..., None]


def data_checks(pair: HasPair, modules: Iterable[nn.Module] = (), *, name: str = "check_data") -> tuple[DataCheck, ...]:
    """The methods `check_data` that a pair declares, or any part of it.

    A part may declare `check_data(*args, **kwargs)`. It gets what model and guide get, once for each batch and before
    they run, and raises where they must not. There it may read values, which a model that is to be staged must not.

    Args:
        pair: the pair; the objects whose methods its model and guide are belong to it.
        modules: those that it was seen to register.
        name: of the method.
    """
    if isinstance(pair, Wrapped) and pair.adds_data:
        return ()  # its parts know nothing of what is added, and have looked at the rest before
    inner = unwrapped(pair)
    owners = [inner, *(getattr(function, "__self__", function) for function in (inner.model, inner.guide))]
    parts = [*owners, *(part for module in (*bound_modules(pair), *modules) for part in module.modules())]
    once = {id(part): part for part in parts}
    return tuple(getattr(part, name) for part in once.values() if callable(getattr(part, name, None)))


def check_training_data(pair: HasPair, leaves: Mapping[int | str, Any]) -> None:
    """Let parts that declare `check_training_data(*args, **kwargs)` look once at all rows that are to be trained on."""
    args = tuple(leaf for key, leaf in leaves.items() if isinstance(key, int))
    named = {key: leaf for key, leaf in leaves.items() if isinstance(key, str)}
    check_data(data_checks(pair, name="check_training_data"), args, named)


def check_data(checks: Iterable[DataCheck], args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Let all of them look at a batch.

    Raises:
        ArgumentError: one takes other arguments than the pair.
    """
    for check in checks:
        try:
            check(*args, **kwargs)
        except TypeError:
            _check_signature(check, args, kwargs)
            raise


def _check_signature(check: DataCheck, args: tuple, kwargs: Mapping[str, Any]) -> None:
    try:
        inspect.signature(check).bind(*args, **kwargs)
    except TypeError as error:
        owner = type(getattr(check, "__self__", check)).__name__
        raise ArgumentError(
            f"{owner}.check_data is called with the pair's data, once for each batch, and does not take them: "
            f"{error}.{surplus_labels(check, args) or ' Give it the arguments of the model, or another name.'}"
        ) from None
