"""What an exception out of a model or guide means, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from pyrovae.pairs import HasPair, bound_modules


def explain(error: Exception, side: str, pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """The clause and the sentence for an exception that the model or the guide raised.

    Args:
        error: the exception.
        side: "model" or "guide", whichever was running.
        pair: the pair.
        args: its arguments.
        kwargs: its keyword arguments.
    """
    text = str(error)
    data = _described(args, kwargs)
    for clause, pattern, mend in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return clause, f"the {side} fails on {data}: {_first_lines(text)}. {mend}{_parameter_kinds(pair, clause)}"
    return "shape" if "shape" in text else "raises", (
        f"the {side} raises {type(error).__name__} on {data}: {_first_lines(text)}."
    )


# Clause, what torch's or Pyro's message holds, and the mend.
_KNOWN = (
    (
        "dtype",
        r"same dtype|expected scalar type|dtype.{0,40}(mismatch|expected)|can't be cast|not implemented for",
        "Give data and parameters one floating type: x.float() or module.double(); class labels belong into an "
        "embedding or torch.nn.functional.one_hot. ",
    ),
    (
        "device",
        r"same device|on meta|different devices|device type",
        "Move data and modules to one device: .to(device). ",
    ),
    (
        "support",
        r"within the support|value argument",
        "Binarise or rescale the data, or choose a likelihood whose support holds them. ",
    ),
    (
        "parameter",
        r"Expected parameter .* to satisfy the constraint",
        "The network gives a parameter that the distribution cannot take: bound it (softplus), or look for NaN. ",
    ),
    (
        "shape",
        r"shapes cannot be multiplied|size of tensor|must match|broadcast|invalid for input of size|Expected .*D|"
        r"normalized_shape|shape mismatch|dimension|at dim",
        "Compare the shape of one datum with what the first layer and the distribution expect. ",
    ),
)


def _first_lines(text: str, limit: int = 400) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[:limit] + " ..."


def _described(args: tuple, kwargs: Mapping[str, Any]) -> str:
    parts = [_leaf(leaf) for leaf in args] + [f"{name}={_leaf(leaf)}" for name, leaf in kwargs.items()]
    return "data of " + ", ".join(parts) if parts else "no data"


def _leaf(leaf: Any) -> str:
    if isinstance(leaf, torch.Tensor):
        return f"shape {tuple(leaf.shape)} ({str(leaf.dtype).removeprefix('torch.')}, {leaf.device})"
    return type(leaf).__name__


def _parameter_kinds(pair: HasPair, clause: str) -> str:
    parameters = [p for module in bound_modules(pair) for p in module.parameters()]
    if clause not in ("dtype", "device") or not parameters:
        return ""
    kinds = {str(getattr(p, clause)).removeprefix("torch.") for p in parameters}
    return f"The parameters are {', '.join(sorted(kinds))}."
