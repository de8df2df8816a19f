"""Labels that are given beside the data to a pair that takes none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def surplus_labels(function: Callable[..., Any], args: tuple) -> str:
    """What to do where the last of several arguments is one that a function does not take, and looks like labels.

    Examples:
        >>> import torch
        >>> surplus_labels(lambda x: None, (torch.rand(8, 5), torch.arange(8)))
        ' What stands in the last of them looks like labels, and the pair takes none: leave it out.'
        >>> surplus_labels(lambda x: None, (torch.rand(8, 5), torch.rand(8, 2)))
        ''
    """
    if len(args) < 2 or not _labels(args[-1]) or _takes(function, args) or not _takes(function, args[:-1]):
        return ""
    return " What stands in the last of them looks like labels, and the pair takes none: leave it out."


def _labels(leaf: Any) -> bool:
    shape, kind = tuple(getattr(leaf, "shape", ())), str(getattr(leaf, "dtype", ""))
    return len(shape) == 1 and ("int" in kind or "bool" in kind)


def _takes(function: Callable[..., Any], args: tuple) -> bool:
    try:
        inspect.signature(function).bind(*args)
    except TypeError:
        return False
    except ValueError:
        return True  # a builtin without a signature
    return True
