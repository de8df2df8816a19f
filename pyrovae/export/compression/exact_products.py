"""Sums and products that are the same in any order: of whole numbers whose sum stays below 2^53."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_DIGITS = 53  # bits of a double: whole numbers up to 2^53 are added without rounding


def on_grid(x: Tensor, bits: int, dims: list[int]) -> tuple[Tensor, Tensor]:
    """Whole numbers below 2^bits, and the power of 2 that each stands for; one power for all along `dims`.

    The power follows from the largest number alone, so that a row's figures are its own, whatever rows stand beside it.
    """
    x = x.double()
    largest = x.abs().amax(dims, keepdim=True) if x.numel() else x.new_ones(())
    exponent = torch.frexp(torch.where(largest > 0, largest, 1.0).nan_to_num())[1].long()
    up, down = _power(bits - exponent), _power(exponent - bits)
    return torch.round(x * up), down


def _power(exponent: Tensor) -> Tensor:
    return ((exponent.clamp(-1000, 1000) + 1023) << 52).view(torch.float64)


def _bits(terms: int) -> int:
    """Of each of two factors, so that the sum of so many products stays exact."""
    return (_DIGITS - 1 - max(1, math.ceil(math.log2(max(terms, 2))))) // 2


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for matrices, or stacks of them, in double precision."""
    bits = _bits(a.shape[-1])
    left, left_unit = on_grid(a, bits, [-1])
    right, right_unit = on_grid(b, bits, [-2])
    return torch.matmul(left, right) * left_unit * right_unit


def total(x: Tensor, dims: Sequence[int], *, keepdim: bool = False) -> Tensor:
    """The sum along dims."""
    dims = [dim % x.dim() for dim in dims] or list(range(x.dim()))
    if not x.dim():
        return x.double()
    terms = math.prod(x.shape[dim] for dim in dims)
    if not terms:
        return x.double().sum(dims, keepdim=keepdim)
    whole, unit = on_grid(x, _DIGITS - 1 - math.ceil(math.log2(max(terms, 2))), dims)
    found = whole.sum(dims, keepdim=True) * unit
    return found if keepdim else found.squeeze(dims)


def running_total(x: Tensor, dim: int) -> Tensor:
    """The sums of the first, the first two, ... along a dim."""
    if not x.dim():
        return x.double()
    whole, unit = on_grid(x, _DIGITS - 1 - math.ceil(math.log2(max(x.shape[dim], 2))), [dim])
    return whole.cumsum(dim) * unit


def convolution(x: Tensor, weight: Tensor, *how: object) -> Tensor:
    """A convolution, or a transposed one, as `aten.convolution` takes it, without what is added."""
    transposed = bool(how[3])
    terms = weight.numel() // weight.shape[1 if transposed else 0]
    bits = _bits(terms)
    images, image_unit = on_grid(x, bits, list(range(1, x.dim())))
    kernels, kernel_unit = on_grid(weight, bits, list(range(weight.dim())))
    return torch.ops.aten.convolution(images, kernels, None, *how) * image_unit * kernel_unit.reshape(())
