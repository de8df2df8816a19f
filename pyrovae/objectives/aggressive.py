"""Steps of the guide alone, as long as its codes say more and more of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyrovae.pairs.numbers import check_count


@dataclass(frozen=True)
class Aggressive:
    r"""A learning rate under which the model rests for some steps while the guide goes on: against an ignored code.

    Of `rounds + 1` steps one moves all parameters; in the others the model's own, those that the guide's draws and
    densities do not depend on, stay where they are. After each epoch the mutual information of codes and data,

    \[ I(n; z) = \mathbb E_n \mathbb E_{q(z \mid x_n)} \log \frac{q(z \mid x_n)}{\frac1N \sum_m q(z \mid x_m)}, \]

    is estimated, of the validation rows or else of the first thousand; once it does not grow from one epoch to the
    next, every step moves all. A posterior that lags behind the model's own is what makes a model do without a code.

    Args:
        rate: what else `fit` takes as `learning_rate`: a number, a schedule, or either by pattern of names.
        rounds: steps of the guide alone before each step of both.

    `fit` says in the log at which step the guide ceased to go ahead. A run that is resumed goes on exactly; every step,
    of the guide alone or not, counts as one.

    References:
        He et al., "Lagging inference networks and posterior collapse in variational autoencoders" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> rate = pv.Aggressive(1e-2, rounds=3)
        >>> run = pv.fit(vae, torch.randn(64, 5), epochs=4, batch_size=16, learning_rate=rate, seed=0, progress=False)
    """

    rate: float | Callable[[int], float] | Mapping[str, Any] = 1e-3
    rounds: int = 5

    def __post_init__(self):
        object.__setattr__(self, "rounds", check_count("rounds", self.rounds, where="Aggressive: "))

    def rests(self, step: int) -> bool:
        """Whether the model stays where it is at a step."""
        return step % (self.rounds + 1) != self.rounds
