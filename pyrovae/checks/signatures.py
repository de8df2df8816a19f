"""Before a pair is run: is it one, and do its two functions take these data?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from pyrovae.checks.finding import Finding
from pyrovae.checks.traced_pair import named
from pyrovae.data.batch_sources import Batch
from pyrovae.data.inspection import leaves_of
from pyrovae.data.placement import placed
from pyrovae.data.rows_of_frames import is_frame, rows_of_frames
from pyrovae.data.sparse_rows import dense_rows, is_sparse
from pyrovae.errors import DataError
from pyrovae.pairs.argument_names import asked_of_nothing, positional_names
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.surplus_labels import surplus_labels

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def check_call(pair: Any, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether there are two functions which take the arguments, in the same order."""
    lacking = [name for name in ("model", "guide") if not callable(getattr(pair, name, None))]
    if lacking or isinstance(pair, type):
        yield Finding("not-a-pair", "error", _no_pair(pair, lacking))
        return
    refused = {side: reason for side in ("guide", "model") if (reason := _refusal(getattr(pair, side), args, kwargs))}
    if refused:
        yield Finding("signature", "error", _refused(pair, refused, args, kwargs))
    else:
        yield from _order(pair, args, kwargs)


def _no_pair(pair: Any, lacking: list[str]) -> str:
    if isinstance(pair, type):
        return f"{pair.__name__} is a class, not a pair: make an object of it first, {pair.__name__}(...)."
    what = " and ".join(
        f".{name} is {getattr(pair, name)!r:.60}, no function" if hasattr(pair, name) else f"there is no .{name}"
        for name in lacking
    )
    return (
        f"an object of type {type(pair).__name__} came where a pair belongs, but {what}. Put two Pyro functions "
        "together: pv.Pair(model, guide)."
    )


def _refusal(function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]) -> str | None:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    except ValueError:
        return None  # a builtin without a signature: running it will tell
    return None


def _refused(pair: HasPair, refused: Mapping[str, str], args: tuple, kwargs: Mapping[str, Any]) -> str:
    given = ", ".join([f"{len(args)} by position", *(f"{name}=" for name in kwargs)])
    reasons = "; ".join(
        f"the {side}, {_written(getattr(pair, side))}, does not: {why}" for side, why in refused.items()
    )
    mend = "Model and guide are called with the same arguments: give both the same parameters."
    if len(refused) == 2:
        mend = "Give what both take, a few rows of each: check_pair(pair, x[:8])."
    if any(isinstance(leaf, tuple | list | dict) for leaf in args):
        mend += " A tuple or dict of data is unpacked: check_pair(pair, *data) or check_pair(pair, **data)."
    mend += surplus_labels(pair.model, args)
    who = "neither side takes" if len(refused) == 2 else "not both sides take"
    return f"{who} these data ({given}): {reasons}. {mend}"


def _written(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', type(function).__name__)}{inspect.signature(function)}"


def _order(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[Finding]:
    """A name that both signatures know, but at different positions: the same data under two names."""
    sides = [_names(function, args, kwargs) for function in (pair.guide, pair.model)]
    places = [{name: key for key, name in side.items() if not name.startswith("_")} for side in sides]
    moved = [name for name, key in places[0].items() if places[1].get(name, key) != key]
    if moved:
        yield Finding(
            "signature",
            "error",
            f"guide and model take their arguments in another order, guide: {', '.join(sides[0].values())}; model: "
            f"{', '.join(sides[1].values())}. Both are called with the same arguments, so one of them takes "
            f"{moved[0]!r} for something else. Use one order, or give the data by name (a dict).",
            moved[0],
        )


def _names(function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]) -> dict[int | str, str]:
    """Position or key of each argument -> the name of the parameter that takes it, where it has one."""
    positional = positional_names(function)[: len(args)]
    return {**dict(enumerate(positional)), **{key: key for key in kwargs}}


def argument_names(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> dict[int | str, str]:
    """What the arguments are called: by the model, else by the guide, else by their position."""
    fallback = {key: key if isinstance(key, str) else f"argument {key}" for key, _ in named(args, kwargs)}
    return {**fallback, **_names(pair.guide, args, kwargs), **_names(pair.model, args, kwargs)}


def left_out(function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]) -> list[str]:
    """Parameters with the default None that nothing was given for."""
    try:
        signature = inspect.signature(function)
        given = signature.bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return []
    return [p.name for p in signature.parameters.values() if p.default is None and p.name not in given]


def forgotten_words(function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]) -> str:
    """What to do about parameters with the default None; empty where there are none."""
    forgotten = left_out(function, args, kwargs)
    return f"The model's argument {forgotten[0]!r} was left at None: give it. " if forgotten else ""


# --- the data ------------------------------------------------------------------------------------------
def as_given(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments as tensors of their own: arrays are converted as `fit` would, and nothing is written into.

    Raises:
        DataError: an array that holds no numbers, or no rows.
    """
    names, given = argument_names(pair, args, kwargs), dict(named(args, kwargs))
    given = {key: dense_rows(leaf, repr(names[key])) if is_sparse(leaf) else leaf for key, leaf in given.items()}
    with torch.inference_mode(False), torch.no_grad():
        leaves = {key: _tensor(names[key], leaf) for key, leaf in rows_of_frames(pair, given).items()}
    arrays = [key for key, leaf in given.items() if isinstance(leaf, np.ndarray) or is_frame(leaf)]
    if arrays:
        placement = placed(pair, _batch(leaves))
        leaves.update({key: placement.leaf(key, leaves[key]) for key in arrays})
    batch = _batch(leaves)
    return batch.args, batch.kwargs


def _batch(leaves: Mapping[int | str, Any]) -> Batch:
    positional = tuple(leaf for key, leaf in leaves.items() if not isinstance(key, str))
    return Batch(positional, {key: leaf for key, leaf in leaves.items() if isinstance(key, str)})


def _tensor(name: str, leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor | np.ndarray) and leaf.ndim and not len(leaf):
        raise DataError(f"{name!r} is empty: it has shape {tuple(leaf.shape)}, so no row; give at least one.")
    if isinstance(leaf, torch.Tensor):
        return leaf.detach().clone()
    if not isinstance(leaf, np.ndarray):
        return leaf
    try:
        with asked_of_nothing():
            array = np.asarray(leaves_of(leaf)[0])
    except DataError as error:
        raise DataError(str(error).replace("argument 0", repr(name))) from None
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=True))
