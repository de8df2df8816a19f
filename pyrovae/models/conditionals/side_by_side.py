"""Distributions of several families beside each other in the last dim of one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrovae.pairs.lawful_values import lawful_value


class _Beside(constraints.Constraint):
    """Each element in the support of its own family."""

    def __init__(self, whole: SideBySide):
        self.whole = whole

    def check(self, value: Tensor) -> Tensor:
        """Which elements lie in the support of their own part."""
        return self.whole.each(lambda fn, part: fn.support.check(part) & part.isfinite(), value)


class SideBySide(TorchDistribution):
    """Elements of several families: `parts` are places in the last dim of the batch, and a distribution of these.

    Whole numbers and numbers of classes are floating ones here, as the others are.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it

    def __init__(self, parts: Sequence[tuple[list[int], Any]], validate_args: bool | None = None):
        self.parts = list(parts)
        places = torch.tensor([place for part, _ in self.parts for place in part])
        self._order = places.argsort()
        leading = self.parts[0][1].batch_shape[:-1]
        super().__init__(torch.Size([*leading, len(places)]), validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Each element in its own."""
        return _Beside(self)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SideBySide:
        """The same for a larger batch."""
        leading = torch.Size(batch_shape)[:-1]
        parts = [(places, fn.expand(torch.Size([*leading, len(places)]))) for places, fn in self.parts]
        return SideBySide(parts, validate_args=self._validate_args)

    def each(self, function: Callable[[Any, Tensor], Tensor], value: Tensor) -> Tensor:
        """What a function says of each family and of its part of a value, side by side."""
        return self._joined([function(fn, value[..., places]) for places, fn in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-probability of each element under its own part."""
        if self._validate_args:
            self._validate_sample(value)
        return self.each(lambda fn, part: fn.log_prob(part), value)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw of each element."""
        with torch.no_grad():
            return self._joined([fn.sample(torch.Size(sample_shape)) for _, fn in self.parts])

    def lawful(self, value: Tensor) -> Tensor:
        """A value in the middle of each support."""
        return self.each(lawful_value, value)

    @property
    def mean(self) -> Tensor:
        """The means; of a column of classes the most probable one."""
        return self._joined([fn.probs.argmax(-1) if _is_of_classes(fn) else fn.mean for _, fn in self.parts])

    @property
    def variance(self) -> Tensor:
        """The variances; a column of classes has none."""
        return self._joined(
            [torch.full(fn.batch_shape, torch.nan) if _is_of_classes(fn) else fn.variance for _, fn in self.parts]
        )

    def _joined(self, parts: list[Tensor]) -> Tensor:
        kind = torch.bool
        for part in parts:
            kind = torch.promote_types(kind, part.dtype)
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        whole = torch.cat([part.to(kind).expand(*shape, part.shape[-1]) for part in parts], -1)
        return whole.index_select(-1, self._order.to(whole.device))


def _is_of_classes(fn: Any) -> bool:
    return isinstance(fn, torch.distributions.Categorical)
