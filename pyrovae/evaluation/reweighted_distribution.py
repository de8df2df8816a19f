"""A distribution times a learned factor, with its normalising constant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

_TOGETHER = 2**16  # draws of the base at a time


class ReweightedDistribution(TorchDistribution):
    r"""\( p(z) = p_0(z)\, e^{r(z)} / Z \), drawn by rejection.

    Args:
        base: \( p_0 \), of one row.
        log_factor: r, of values of any batch shape.
        log_z: \( \log Z = \log \mathbb E_{p_0} e^{r} \).
        most: what r never exceeds.
        batch_shape: of how many rows, all alike.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it

    def __init__(
        self, base: Any, log_factor: Callable[[Tensor], Tensor], log_z: float, most: float, batch_shape: Sequence[int]
    ):
        self.one, self.base = base, base.expand(torch.Size(batch_shape))
        self.log_factor, self.log_z, self.most = log_factor, log_z, most
        super().__init__(self.base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the base."""
        return self.base.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> ReweightedDistribution:
        """The same for a larger batch."""
        return ReweightedDistribution(self.one, self.log_factor, self.log_z, self.most, batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the formula above."""
        return self.base.log_prob(value) + self.log_factor(value) - self.log_z

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of the base, of which each is kept with probability \\( e^{r - max} \\)."""
        shape = (*sample_shape, *self.batch_shape)
        count, share = math.prod(shape), math.exp(self.log_z - self.most)
        kept: list[Tensor] = []
        with torch.no_grad():
            while (lack := count - sum(map(len, kept))) > 0 or not kept:
                kept.append(self._kept(min(math.ceil(1.2 * lack / share) + 16, _TOGETHER)))
        return torch.cat(kept)[:count].reshape(*shape, *self.event_shape)

    def _kept(self, tries: int) -> Tensor:
        drawn = self.one.sample(torch.Size([tries])).reshape(tries, *self.event_shape)
        shares = (self.log_factor(drawn) - self.most).exp()
        return drawn[torch.rand_like(shares) < shares]
