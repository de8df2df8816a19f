"""Networks from tensor to tensor: any leading dims, event shapes on either side.

A network says what it takes and gives: `input_dims`, the number of event dims of its first input, and
`output_shape`. Any other `torch.nn.Module` can stand in its place; see `pyrovae.Conditional`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.pairs.numbers import as_whole

Event = int | tuple[int, ...]


class MLP(nn.Module):
    r"""A multilayer perceptron between event shapes.

    \[ h_0 = (x_1, x_2, \dots), \quad h_i = a(W_i h_{i-1} + b_i), \quad y = W h_L + b \]

    Args:
        input: Event shape of the input, an integer or a tuple such as `(28, 28)`. A *list* of event
            shapes, `[784, 10]`, declares several inputs, which are flattened and concatenated.
        hidden: Widths of the hidden layers; an empty list makes the network affine.
        output: Event shape of the output.
        activation: Class of the activation, such as `torch.nn.SiLU`.

    Shapes: inputs `(*leading, *input)`, whose leading dims broadcast; output `(*leading, *output)`.
    Integers and booleans are read as the weights' type.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.MLP((28, 28), [64], 10)(torch.zeros(5, 3, 28, 28)).shape
        torch.Size([5, 3, 10])
        >>> pv.MLP([8, 2], [], (28, 28))(torch.zeros(3, 8), torch.zeros(3, 2)).shape
        torch.Size([3, 28, 28])
    """

    def __init__(
        self,
        input: Event | list[Event],
        hidden: Sequence[int],
        output: Event,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ):
        super().__init__()
        self.input_shapes = _input_shapes(input)
        self.output_shape = event_shape(output, "output")
        self.input_dims = len(self.input_shapes[0])
        widths = [sum(map(math.prod, self.input_shapes)), *_widths(hidden, "hidden")]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.output_shape)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output `(*leading, *output)` for inputs `(*leading, *input)`."""
        dtype = next(self.parameters()).dtype
        flat = _flatten(inputs, self.input_shapes, dtype, "MLP")
        return self.layers(flat).reshape((*flat.shape[:-1], *self.output_shape))


class ConvEncoder(nn.Module):
    """A residual convolutional network from an image to any event shape.

    Each width in `channels` is one level: a convolution of stride 2, which halves height and width
    (rounded up, so that odd sizes and single pixels pass), and a residual block with group
    normalisation; an affine layer ends it.

    Args:
        input: Image shape `(channels, height, width)`, or a list of an image shape and the event shapes of
            further inputs, which join before the affine layer.
        output: Event shape of the output.
        channels: Width of each level.
        activation: Class of the activation.

    Shapes: inputs `(*leading, channels, height, width)`; output `(*leading, *output)`.

    References:
        He et al., Identity mappings in deep residual networks, 2016; Wu and He, Group normalization, 2018.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.ConvEncoder((1, 28, 28), 2 * 20, channels=(8, 16))(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 40])
    """

    def __init__(
        self,
        input: tuple[int, ...] | list[Event],
        output: Event,
        *,
        channels: Sequence[int] = (32, 64),
        activation: Callable[[], nn.Module] = nn.SiLU,
    ):
        super().__init__()
        self.input_shapes = _input_shapes(input)
        depth, *size = _image(self.input_shapes[0], "input")
        self.output_shape = event_shape(output, "output")
        self.input_dims = 3
        layers: list[nn.Module] = []
        for width in _widths(channels, "channels"):
            layers += [nn.Conv2d(depth, width, 3, stride=2, padding=1), _Residual(width, activation)]
            depth, size = width, _halved(size)
        self.features = nn.Sequential(*layers, _norm(depth), activation(), nn.Flatten())
        width = depth * math.prod(size) + sum(map(math.prod, self.input_shapes[1:]))
        self.head = nn.Linear(width, math.prod(self.output_shape))

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output `(*leading, *output)` for an image `(*leading, channels, height, width)`."""
        dtype = self.head.weight.dtype
        image = _flatten(inputs[:1], self.input_shapes[:1], dtype, "ConvEncoder")
        leading = image.shape[:-1]
        features = self.features(image.reshape(math.prod(leading), *self.input_shapes[0]))
        features = features.reshape((*leading, features.shape[-1]))
        shapes = [(features.shape[-1],), *self.input_shapes[1:]]
        joined = _flatten((features, *inputs[1:]), shapes, dtype, "ConvEncoder")
        return self.head(joined).reshape((*joined.shape[:-1], *self.output_shape))


class ConvDecoder(nn.Module):
    """A residual convolutional network from any event shape to an image.

    The mirror of `ConvEncoder`: an affine layer makes the smallest image, each level enlarges it by
    nearest neighbours to exactly the size that the encoder had there (so any height and width come
    out), and one convolution ends it.

    Args:
        input: Event shape of the input, or a list of event shapes, which are flattened and concatenated.
        output: Image shape `(channels, height, width)`; for a likelihood with k parameters an element,
            `(k * channels, height, width)`.
        channels: Width of each level, from the smallest image to the largest.
        activation: Class of the activation.

    Shapes: inputs `(*leading, *input)`; output `(*leading, channels, height, width)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.ConvDecoder(20, (3, 17, 9), channels=(16, 8))(torch.zeros(5, 20)).shape
        torch.Size([5, 3, 17, 9])
    """

    def __init__(
        self,
        input: Event | list[Event],
        output: tuple[int, ...],
        *,
        channels: Sequence[int] = (64, 32),
        activation: Callable[[], nn.Module] = nn.SiLU,
    ):
        super().__init__()
        self.input_shapes = _input_shapes(input)
        self.input_dims = len(self.input_shapes[0])
        self.output_shape = _image(event_shape(output, "output"), "output")
        depth, *size = self.output_shape
        widths, sizes = [*_widths(channels, "channels")] or [depth], [size]
        for _ in channels:
            sizes.insert(0, _halved(sizes[0]))
        self.smallest = (widths[0], *sizes[0])
        self.stem = nn.Linear(sum(map(math.prod, self.input_shapes)), math.prod(self.smallest))
        layers: list[nn.Module] = []
        for before, after, larger in zip(widths, [*widths[1:], widths[-1]], sizes[1:], strict=False):
            layers += [_Residual(before, activation), nn.Upsample(tuple(larger))]
            layers += [nn.Conv2d(before, after, 3, padding=1)]
        last = widths[-1]
        self.images = nn.Sequential(*layers, _norm(last), activation(), nn.Conv2d(last, depth, 3, padding=1))

    def forward(self, *inputs: Tensor) -> Tensor:
        """The image `(*leading, channels, height, width)` for inputs `(*leading, *input)`."""
        flat = _flatten(inputs, self.input_shapes, self.stem.weight.dtype, "ConvDecoder")
        leading = flat.shape[:-1]
        smallest = self.stem(flat).reshape(math.prod(leading), *self.smallest)
        return self.images(smallest).reshape((*leading, *self.output_shape))


class Chain(nn.Sequential):
    """Modules one after the other; the first keeps the shape, so the event dims of the input are the last's."""

    def __init__(self, *modules: Any):
        super().__init__(*modules)
        self.input_dims, self.output_shape = modules[-1].input_dims, modules[-1].output_shape


class _Residual(nn.Module):
    """`x + f(x)` with f two rounds of normalisation, activation and convolution."""

    def __init__(self, width: int, activation: Callable[[], nn.Module]):
        super().__init__()
        rounds = [(_norm(width), activation(), nn.Conv2d(width, width, 3, padding=1)) for _ in range(2)]
        self.branch = nn.Sequential(*(layer for one in rounds for layer in one))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def _norm(width: int) -> nn.Module:
    # At most 8 groups, and at least 4 channels in each where there are as many: a group of one number
    # (one channel, one pixel) would be normalised to nothing.
    groups = math.gcd(width, 8) if width >= 32 else math.gcd(width, max(1, width // 4))
    return nn.GroupNorm(groups, width) if width > 1 else nn.Identity()


def _halved(size: Sequence[int]) -> list[int]:
    return [(length + 1) // 2 for length in size]


def event_shape(event: Event, name: str) -> tuple[int, ...]:
    """The event shape as a tuple, or an error in words."""
    shape = event if isinstance(event, tuple) else (event,)
    sizes = [as_whole(size) or 0 for size in shape]
    if min(sizes, default=1) < 1:
        raise ArgumentError(
            f"{name}={event!r} is no event shape: give a positive integer or a tuple of them, such as (28, 28)"
            + (" (a list declares several inputs, and only on the input side)" if isinstance(event, list) else "")
        )
    return tuple(sizes)


def _input_shapes(input: Event | list[Event]) -> list[tuple[int, ...]]:
    shapes = (
        [event_shape(event, "input") for event in input] if isinstance(input, list) else [event_shape(input, "input")]
    )
    if not shapes:
        raise ArgumentError("input=[] declares no input: list at least one event shape")
    return shapes


def _image(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ArgumentError(f"{name}={shape} is no image shape: give (channels, height, width), such as (1, 28, 28)")
    return shape


def _widths(widths: Sequence[int], name: str) -> list[int]:
    sizes = [as_whole(width) or 0 for width in widths] if isinstance(widths, Iterable) else [0]
    if min(sizes, default=1) < 1:
        raise ArgumentError(f"{name}={widths!r}: give a list of positive integers, one per layer; [] for none")
    return sizes


def _flatten(inputs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, name: str) -> Tensor:
    """The inputs with their events flattened and concatenated, leading dims broadcast."""
    if len(inputs) != len(shapes):
        raise ArgumentError(f"{name} takes {len(shapes)} input(s) of event shapes {shapes}, got {len(inputs)}")
    parts = [_flat(x, shape, name) for x, shape in zip(inputs, shapes, strict=True)]
    parts = [part if part.is_floating_point() else part.to(dtype) for part in parts]
    if len(parts) == 1:
        return parts[0]
    leading = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*leading, part.shape[-1]) for part in parts], -1)


def _flat(x: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    dims = x.dim() - len(shape)
    if dims < 0 or tuple(x.shape[dims:]) != shape:
        raise ArgumentError(f"{name} takes inputs whose last dims are {shape}, got a tensor of shape {tuple(x.shape)}")
    return x.reshape((*x.shape[:dims], math.prod(shape)))
