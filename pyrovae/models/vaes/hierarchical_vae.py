"""A VAE whose latents stand above one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.vaes.guide_orders import BottomUp, Ladder, TopDown
from pyrovae.models.vaes.vae import VAE, as_distribution, as_part, compare_events


class HierarchicalVAE(VAE):
    r"""A VAE of several levels of latents, \( z_L \) at the top and \( z_1 \) next to the data.

    \[ p(x, z) = \prod_n p(z_L)\, \prod_{l < L} p(z_l \mid z_{l+1})\, p(x \mid z_1) \]

    Take it where one level of latents leaves a large part of the rate to the mismatch of codes and prior: each level is
    the learned prior of the one below. All lists go from the data up.

    Args:
        prior: `prior()` is \( p(z_L) \).
        levels: \( p(z_1 \mid z_2), \dots, p(z_{L-1} \mid z_L) \), each a conditional.
        likelihood: `likelihood(z_1)` is \( p(x \mid z_1) \).
        posterior: `pv.BottomUp`, `pv.TopDown` or `pv.Ladder`, in which order the guide draws.
        dense: Whether each level and x depend on all levels above, \( p(z_l \mid z_{l+1}, \dots, z_L) \) and
            \( p(x \mid z_1, \dots, z_L) \), and not on the next alone; their networks take as many inputs.

    `model(x)` and `guide(x)` have the sites `"z_1"`, …, `"z_L"` and `"x"` in a plate `"data"`. A `pv.VampPrior` at the
    top takes `posterior.top`, q(z_L | x), as its posterior.

    References:
        Sønderby et al., Ladder variational autoencoders, 2016; Tomczak and Welling, VAE with a VampPrior, 2018.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.HierarchicalVAE(
        ...     prior=pv.StandardNormal(2),
        ...     levels=[pv.DiagNormal(pv.MLP(2, [16], 2 * 4))],
        ...     likelihood=pv.Bernoulli(pv.MLP(4, [16], 9)),
        ...     posterior=pv.Ladder(
        ...         [pv.MLP(9, [16], 16), pv.MLP(16, [16], 16)],
        ...         [pv.DiagNormal(pv.MLP(16, [], 2 * 4)), pv.DiagNormal(pv.MLP(16, [], 2 * 2))],
        ...     ),
        ... )
        >>> [z.shape[-1] for z in vae.guide(torch.ones(5, 9))]
        [4, 2]
    """

    def __init__(
        self,
        prior: Callable[[], Any],
        levels: Sequence[Callable[..., Any]],
        likelihood: Callable[..., Any],
        posterior: BottomUp | TopDown | Ladder,
        *,
        dense: bool = False,
    ):
        if not isinstance(posterior, BottomUp | TopDown | Ladder):
            raise ArgumentError(
                "pv.HierarchicalVAE: posterior= says in which order the guide draws its levels: give pv.BottomUp, "
                f"pv.TopDown or pv.Ladder, got {type(posterior).__name__}."
            )
        super().__init__(prior, likelihood, posterior)
        parts = [] if isinstance(levels, nn.Module | Tensor) or not isinstance(levels, Sequence) else levels
        self.levels, self.dense = nn.ModuleList([as_part(part, "levels") for part in parts]), dense
        self.depth = 1 + len(self.levels)
        if self.depth < 2 or len(posterior.parts) != self.depth:
            raise ArgumentError(
                f"pv.HierarchicalVAE: {len(self.levels)} levels under the prior, a posterior of "
                f"{len(posterior.parts)}: give a list of one conditional at least, and a posterior of one more."
            )

    def model(self, x: Tensor) -> tuple[Tensor, ...]:
        """Sites `z_L`, …, `z_1` and `x` (observed) in the plate `data`; returns (z_1, …, z_L)."""
        self._registration(self)
        drawn: tuple[Tensor, ...] = ()
        with pyro.plate("data", len(x)):
            for level in range(self.depth, 0, -1):
                fn = self.above(level, drawn)
                z = pyro.sample(f"z_{level}", fn)
                compare_events(z, fn, f"the posterior gives z_{level}", "the model", ArgumentError)
                drawn = (z, *drawn)
            likelihood = self._of_data(drawn)
            compare_events(x, likelihood, "x holds data", "the likelihood", DataError)
            pyro.sample("x", likelihood, obs=x)
        return drawn

    def guide(self, x: Tensor) -> tuple[Tensor, ...]:
        """Sites `z_1`, …, `z_L` in the plate `data`; returns (z_1, …, z_L)."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            return self.posterior(x, _draw, self.above)

    def above(self, level: int, drawn: tuple[Tensor, ...]) -> Any:
        """The model's distribution of z_l, given those above (z_{l+1}, …, z_L)."""
        if level == self.depth:
            return as_distribution(self.prior(), "prior")
        return as_distribution(self.levels[level - 1](*self._seen(drawn)), f"level {level}")

    def likelihood_of_zeros(self) -> Any:
        """p(x | z) of two rows whose latents are zeros."""
        drawn: tuple[Tensor, ...] = ()
        for level in range(self.depth, 0, -1):
            drawn = (self.zeros(2, self.above(level, drawn).event_shape), *drawn)
        return self._of_data(drawn)

    def _of_data(self, drawn: tuple[Tensor, ...]) -> Any:
        return as_distribution(self.likelihood(*self._seen(drawn)), "likelihood")

    def _seen(self, drawn: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return drawn if self.dense else drawn[:1]


def _draw(level: int, fn: Any) -> Tensor:
    return pyro.sample(f"z_{level}", as_distribution(fn, "posterior"))
