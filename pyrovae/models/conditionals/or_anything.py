"""Columns of which each cell may be an outlier: a second, much wider component beside the ordinary one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyrovae.models.conditionals.background import background, background_draws
from pyrovae.models.conditionals.column import Column


class OrAnything(TorchDistribution):
    r"""Each cell is of `clean`, or with probability \(\pi_j\) anything that its column can hold.

    \[ p(x_j) = (1 - \pi_j)\, p_{\text{clean}}(x_j) + \pi_j\, b_j(x_j) \]

    b is what `pv.tables.outliers` takes for it: a Cauchy density twice as wide as the column, of logarithms where the
    kind has them, all classes alike. That has no mean, so `mean` and `variance` are those of the clean component.

    Args:
        clean: the distribution of cells that are none, (..., columns).
        columns: what they are.
        logits: the logit of \(\pi\) for each column.
        draws: whether draws are of both components, or of the clean one alone.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it

    def __init__(
        self, clean: Any, columns: Sequence[Column], logits: Tensor, *, draws: bool, validate_args: bool | None = None
    ):
        self.clean, self.columns, self.logits, self.draws = clean, tuple(columns), logits, draws
        super().__init__(clean.batch_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """That of the clean component."""
        return self.clean.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> OrAnything:
        """The same for a larger batch."""
        clean = self.clean.expand(batch_shape)
        return OrAnything(clean, self.columns, self.logits, draws=self.draws, validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of each element, by both."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.logaddexp(*self._components(value))

    def outlier_probability(self, value: Tensor) -> Tensor:
        """How probable it is of each element that it is of the second component."""
        clean, anything = self._components(value)
        return (anything - clean).sigmoid()

    def _components(self, value: Tensor) -> tuple[Tensor, Tensor]:
        clean = self.clean.log_prob(value)
        anything = background(self.columns, value).to(clean.dtype)
        return clean + logsigmoid(-self.logits), anything + logsigmoid(self.logits)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw of each element."""
        drawn = self.clean.sample(torch.Size(sample_shape))
        if not self.draws:
            return drawn
        with torch.no_grad():
            off = torch.rand(drawn.shape, device=drawn.device) < self.logits.sigmoid()
            return torch.where(off, background_draws(self.columns, drawn), drawn)

    def lawful(self, value: Tensor) -> Tensor:
        """A value in the middle of each support."""
        return self.clean.lawful(value)

    @property
    def mean(self) -> Tensor:
        """Of the clean component."""
        return self.clean.mean

    @property
    def variance(self) -> Tensor:
        """Of the clean component."""
        return self.clean.variance
