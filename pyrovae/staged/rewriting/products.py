"""Matrix products by the fastest route on this machine, found by measuring."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch

# Below this many multiplications the call costs more than the arithmetic.
_SMALL = 1_000_000

_ROUNDS = 40

_SECONDS = 0.01  # after which large products have been measured well enough, once each has had _FEWEST rounds

_FEWEST = 5

_BETTER = 0.95  # a route has to be that much faster to be taken, so that noise alone decides nothing


_library = torch.library.Library("pyrovae", "DEF")

_library.define("product(Tensor left, Tensor right, Tensor? bias) -> Tensor")


def _by_onednn(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(left, right.t(), bias, "none", [], "")


def _shape(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


# An operation of our own, since the compiler has plans of its own for oneDNN's, which it would fail to carry out here.
_library.impl("product", _by_onednn, "CPU")

_library.impl("product", _shape, "Meta")

product = torch.ops.pyrovae.product.default


def onednn_is_faster(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether oneDNN multiplies matrices of these shapes and layouts faster than torch's own choice.

    Both are single precision; which one wins differs by machine, shape and layout, so it is measured once for each.
    """
    if not _possible(left, right) or left.shape[0] * left.shape[1] * right.shape[1] < _SMALL:
        return False
    return _measure(*_layout(left), *_layout(right), torch.get_num_threads())


def _possible(left: torch.Tensor, right: torch.Tensor) -> bool:
    single = left.dtype == right.dtype == torch.float32
    return single and left.device.type == right.device.type == "cpu" and torch.backends.mkldnn.is_available()


def _layout(tensor: torch.Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(map(int, tensor.shape)), tuple(map(int, tensor.stride()))


@functools.cache
def _measure(left: tuple, left_stride: tuple, right: tuple, right_stride: tuple, threads: int) -> bool:
    del threads  # another number of threads is another measurement
    one = torch.empty_strided(left, left_stride).fill_(0.5)
    two = torch.empty_strided(right, right_stride).fill_(0.5)
    routes: list[Callable[[], torch.Tensor]] = [lambda: torch.mm(one, two), lambda: _by_onednn(one, two, None)]
    seconds: list[list[float]] = [[], []]
    end = time.perf_counter() + _SECONDS
    while len(seconds[0]) < _FEWEST or (len(seconds[0]) < _ROUNDS and time.perf_counter() < end):
        for route, times in zip(routes, seconds, strict=True):
            times.append(_timed(route))
    # The least, not the median: whatever else the machine does only adds, to either.
    own, onednn = map(min, seconds)
    return onednn < _BETTER * own


def _timed(route: Callable[[], torch.Tensor]) -> float:
    start = time.perf_counter()
    route()
    return time.perf_counter() - start
