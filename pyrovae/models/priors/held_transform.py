"""Transforms of torch and Pyro with what they are made of as parameters and buffers."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import ComposeTransform, ExpTransform, Transform

from pyrovae.errors import ArgumentError

_INVERSE = type(ExpTransform().inv)  # a class that torch keeps to itself


class HeldTransform(nn.Module):
    """A transform with what it is made of as parameters and buffers, whether it is a module or not.

    Pyro's `Permute`, say, is none: its permutation would stay on the CPU, and in no file.

    Args:
        transform: of torch or Pyro.
        inverted: whether its inverse is meant.
    """

    def __init__(self, transform: Transform, inverted: bool):
        super().__init__()
        self.transform, self.inverted, self.names = transform, inverted, ()
        forget(transform)
        if isinstance(transform, nn.Module):
            return
        held = {name: value for name, value in vars(transform).items() if isinstance(value, Tensor | nn.Module)}
        self.names = tuple(held)
        for name, value in held.items():
            if isinstance(value, Tensor) and not value.requires_grad:
                self.register_buffer(name, value)
            else:
                setattr(self, name, nn.Parameter(value.detach()) if type(value) is Tensor else value)

    def forward(self) -> Transform:
        """The transform."""
        transform = copy.copy(self.transform) if self.names else self.transform
        if self.names:  # the copy's inverse is still that of what it was copied from
            vars(transform).update({name: getattr(self, name) for name in self.names}, _inv=None)
        return transform.inv if self.inverted else transform


def parts_of(flow: Any) -> Iterator[tuple[Transform, bool]]:
    """Each transform of a list, or of a composed one, and whether its inverse is meant."""
    if isinstance(flow, ComposeTransform):
        flow = flow.parts
    elif isinstance(flow, Transform):
        inner = flow.inv
        inverted = isinstance(flow, _INVERSE)
        if inverted and isinstance(inner, ComposeTransform):
            flow = [part.inv for part in reversed(inner.parts)]
        else:
            yield (inner, True) if inverted else (flow, False)
            return
    if not isinstance(flow, Iterable) or isinstance(flow, Tensor | str):
        raise ArgumentError(
            f"pv.FlowPrior takes transforms, such as [pyro.distributions.transforms.affine_coupling(8)], or a flow of "
            f"zuko, got {flow if isinstance(flow, type) else type(flow).__name__}"
        )
    for part in flow:
        yield from parts_of(part)


class Flow(dist.TransformedDistribution):
    """A transformed distribution that scores anew, where gradients are wanted, what was drawn without them.

    Transforms remember how their last draw came about; of a draw without gradients the parameters would get none.
    """

    drawn_without_gradients = False

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw."""
        self.drawn_without_gradients = not torch.is_grad_enabled()
        return super().rsample(torch.Size(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw without gradients."""
        self.drawn_without_gradients = True
        return super().sample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Of a draw as it came about, of any other value by the inverse."""
        if self.drawn_without_gradients and torch.is_grad_enabled():
            self.drawn_without_gradients = False
            for transform, _ in parts_of(self.transforms):
                forget(transform)
        return super().log_prob(value)


def forget(owner: Any) -> None:
    """Take from transforms what they remember of their last call: its graph, and an inverse under other weights."""
    for part in owner.modules() if isinstance(owner, nn.Module) else [owner]:
        for name in [name for name in vars(part) if name.startswith("_cache") and name != "_cache_size"]:
            vars(part)[name] = (None, None) if name == "_cached_x_y" else None
