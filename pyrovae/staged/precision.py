"""Networks in half precision, while weights and log-probabilities keep theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PRECISIONS = (None, "bfloat16")


_PRODUCTS: frozenset[Any] = frozenset(
    [
        functional.linear,
        functional.bilinear,
        functional.conv1d,
        functional.conv2d,
        functional.conv3d,
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
        functional.scaled_dot_product_attention,
        torch.matmul,
        torch.Tensor.matmul,
        torch.Tensor.__matmul__,
        torch.Tensor.__rmatmul__,
        torch.mm,
        torch.Tensor.mm,
        torch.bmm,
        torch.Tensor.bmm,
        torch.addmm,
        torch.baddbmm,
        torch.einsum,
    ]
)


# Distributions multiply matrices, too: in a log-probability, which keeps its precision.
_DENSITIES = ("torch.distributions", "pyro.distributions", "pyro.ops")


class HalfProducts(TorchFunctionMode):
    """Matrix products and convolutions in bfloat16, whose results come back in the type that went in.

    Parameters stay what they are and so do their gradients; what follows a product (an activation, a
    distribution, its log-probability) computes in single precision.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one function of torch's."""
        if func not in _PRODUCTS or _in_a_density():
            return func(*args, **(kwargs or {}))
        device = next((a.device.type for a in args if isinstance(a, torch.Tensor)), "cpu")
        wanted = next((a.dtype for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()), torch.float32)
        with torch.autocast(device, dtype=torch.bfloat16):
            result = func(*args, **(kwargs or {}))
        return result.to(wanted)


def _in_a_density() -> bool:
    """Whether the call comes from a distribution."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith(_DENSITIES)


@contextmanager
def computing_in(precision: str | None) -> Iterator[None]:
    """The products of networks in a precision; None leaves them as they are."""
    if precision is None:
        yield
        return
    with HalfProducts():
        yield
