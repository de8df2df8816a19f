"""A distribution times a learned factor, with its normalising constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrovae.errors import PairError

_TRIES = 10_000


class ReweightedDistribution(TorchDistribution):
    r"""\( p(z) = p_0(z)\, e^{r(z)} / Z \), drawn by rejection.

    Args:
        base: \( p_0 \).
        log_factor: r, of values of any batch shape.
        log_z: \( \log Z = \log \mathbb E_{p_0} e^{r} \).
        most: what r never exceeds.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it

    def __init__(self, base: Any, log_factor: Callable[[Tensor], Tensor], log_z: float, most: float):
        self.base, self.log_factor, self.log_z, self.most = base, log_factor, log_z, most
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the base."""
        return self.base.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> ReweightedDistribution:
        """The same for a larger batch."""
        return ReweightedDistribution(self.base.expand(batch_shape), self.log_factor, self.log_z, self.most)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the formula above."""
        return self.base.log_prob(value) + self.log_factor(value) - self.log_z

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of the base, each kept with probability \\( e^{r - max} \\), until all are."""
        with torch.no_grad():
            drawn = self.base.sample(torch.Size(sample_shape))
            waiting = ~self._kept(drawn)
            for _ in range(_TRIES):
                if not bool(waiting.any()):
                    return drawn
                again = self.base.sample(torch.Size(sample_shape))
                taken = waiting & self._kept(again)
                shape = (*taken.shape, *[1] * len(self.event_shape))
                drawn, waiting = torch.where(taken.reshape(shape), again, drawn), waiting & ~taken
        raise PairError(f"of the reweighted prior no draw was kept in {_TRIES:,} tries; give a smaller most=.")

    def _kept(self, value: Tensor) -> Tensor:
        share = (self.log_factor(value) - self.most).exp()
        return torch.rand_like(share) < share
