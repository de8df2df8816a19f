"""A VAE of tables whose cells are missing by what they hold."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.models.conditionals.self_masking import SelfMasking
from pyrovae.models.vaes.vae import VAE
from pyrovae.pairs.part_observed import observing

logger = logging.getLogger("pyrovae")


class NotAtRandomVAE(VAE):
    r"""A VAE that observes as well which cells are there.

    \[ p(x, m, z) = \prod_n p(z_n)\, p(x_n \mid z_n)\, p(m_n \mid x_n), \qquad
    q(z, x_h) = \prod_n q(z_n \mid x_{n,o})\, q(x_{n,h} \mid z_n) \]

    What is missing of x, marked by NaN, is latent: sites `x_observed` and `x_unobserved`, put together as `x`, as
    Pyro's `obs_mask` names them, and `x_mask`. q draws numbers from p(x | z), and classes from p(x | z, m).

    Args:
        prior: `prior()` is p(z), with empty batch shape.
        likelihood: `likelihood(z)` is p(x | z), columns side by side.
        posterior: `posterior(x)` is q(z | x), which takes NaN.
        mechanism: `mechanism(x)` is p(m | x).
    """

    def __init__(
        self,
        prior: Callable[[], Any],
        likelihood: Callable[[Tensor], Any],
        posterior: Callable[[Tensor], Any],
        mechanism: SelfMasking,
    ):
        super().__init__(prior, likelihood, posterior)
        self.mechanism = mechanism

    def check_training_data(self, x: Tensor) -> None:
        """Say before the first step that a slope which is learned may get the wrong sign: evidence tells, no curve."""
        if learned := self.mechanism.learned_slopes():
            logger.warning(
                "how cells hide themselves is learned (slopes of %s), and may be learned with the wrong sign: train "
                "from several starts (pv.fit_best), compare their evidence, and look at mechanism.slopes",
                ", ".join(map(repr, learned[:5])),
            )

    def model(self, x: Tensor) -> Tensor:
        """Sites `z`, `x_observed`, `x_unobserved`, `x` and `x_mask` in the plate `data`; returns z."""
        self._registration(self)
        seen = ~x.isnan()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            cells = self.likelihood(z)
            observed = pyro.sample("x_observed", cells, obs=x)
            hidden = pyro.sample("x_unobserved", observing(cells, ~seen, "x"))
            full = pyro.deterministic("x", torch.where(seen, observed, hidden), event_dim=1)
            pyro.sample("x_mask", self.mechanism(full), obs=seen.to(self.mechanism.slopes.dtype))
        return z

    def guide(self, x: Tensor) -> Tensor:
        """Sites `z` and `x_unobserved` in the plate `data`; returns z."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.posterior(x))
            hidden = self.mechanism.of_hidden(self.likelihood(z).base_dist).to_event(1)
            pyro.sample("x_unobserved", observing(hidden, x.isnan(), "x"))
        return z
