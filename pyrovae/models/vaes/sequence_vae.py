"""A deep Markov model: a VAE of series, whose latents are a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.models.sequences.markov_normal import MarkovNormal, Message, loc_and_scale_of
from pyrovae.models.sequences.seen_cells import check_series, last_steps, seen_cells
from pyrovae.models.vaes.three_parts import ThreeParts
from pyrovae.models.vaes.vae import as_distribution, as_part
from pyrovae.pairs.may_read import may_read
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.part_observed import observing


class SequenceVAE(ThreeParts):
    r"""A deep Markov model of series of any lengths, with gaps.

    \[ p(x, z) = p(z_1) \prod_{t > 1} p(z_t \mid z_{t-1}) \prod_t p(x_t \mid z_t), \qquad
    q(z_t \mid z_{t-1}, x) \propto p(z_t \mid z_{t-1})\, \mathcal N(z_t; \mu_t(x_{t:}), \sigma_t(x_{t:})^2) \]

    The guide has the form of the posterior, \( p(z_t \mid z_{t-1})\, p(x_{t:} \mid z_t) \), with a normal for what the
    data from t on say. Behind the last cell of a series they say nothing: there the guide goes on as the model does,
    and its draws are forecasts.

    Args:
        prior: `prior()` is \( p(z_1) \), a diagonal normal.
        transition: `transition(z)` is \( p(z_t \mid z_{t-1} = z) \), a diagonal normal of any batch of z.
        likelihood: `likelihood(z)` is \( p(x_t \mid z_t = z) \), likewise.
        posterior: `posterior(x, seen)` is μ and σ as a diagonal normal of batch shape (rows, steps).
        steps: How many steps series have that are drawn by a number, `pv.generate(vae, 5)`.

    Model and guide take `(x)` or `(x, lengths)`: x of (rows, steps, *event), with NaN for what is missing, and lengths
    (rows,) in whole numbers. Cells that are missing and those behind the length count nowhere, whatever stands there,
    nor do latents behind the last cell that is there. Sites: `z`, of event shape (steps, latent), and `x`, of event
    shape (steps, *event), in the plate `data`.

    `pv.impute` fills gaps. For a forecast give the array more steps, of anything, than the lengths say, or of NaN:
    `pv.posterior_predictive` and `pv.impute` draw what follows there.

    References:
        Krishnan et al., Structured inference networks for nonlinear state space models, 2017.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.sequence_vae(3, latent=2, steps=7, likelihood=pv.Bernoulli)
        >>> x, lengths = torch.ones(5, 7, 3), torch.tensor([7, 5, 3, 2, 1])
        >>> pv.log_evidence(vae, x, lengths, draws=30).value.shape
        torch.Size([5])
        >>> pv.generate(vae, 4, seed=0)["x"].shape
        torch.Size([4, 7, 3])
    """

    takes_holes = True

    def __init__(
        self,
        prior: Callable[[], Any],
        transition: Callable[[Tensor], Any],
        likelihood: Callable[[Tensor], Any],
        posterior: Callable[[Tensor, Tensor], Any],
        *,
        steps: int,
    ):
        super().__init__(prior, likelihood, posterior)
        self.transition = as_part(transition, "transition")
        (self.steps,) = check_counts(steps=steps)
        self.event = self._event_of_a_step()

    def check_data(self, x: Tensor, lengths: Tensor | None = None) -> None:
        """Refuse what is no series of this width, or of no lengths that can be."""
        check_series(x, lengths, self.event)

    def model(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Sites `z` and `x` in the plate `data`; returns z."""
        self._registration(self)
        seen = self._seen(x, lengths)
        with pyro.plate("data", len(x)):
            chain = MarkovNormal(self.prior(), self.transition, _counted(seen))
            z = pyro.sample("z", chain)
            chain.settle(z)
            emitted = as_distribution(self.likelihood(z), "likelihood")
            pyro.sample("x", observing(emitted.to_event(1), seen, "x"), obs=x)
        return z

    def guide(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Site `z` in the plate `data`; returns z."""
        self._registration(self)
        seen = self._seen(x, lengths)
        counted = _counted(seen)
        loc, scale = loc_and_scale_of(self.posterior(x, seen), "posterior")
        message = Message(loc, torch.where(counted.unsqueeze(-1), scale.pow(-2), 0.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("z", MarkovNormal(self.prior(), self.transition, counted, message))

    def blank(self, n: int) -> tuple[Tensor]:
        """Zeros of (n, steps, *event)."""
        return (self.zeros(n, torch.Size([self.steps, *self.event])),)

    def _event_of_a_step(self) -> torch.Size:
        training = {module: module.training for module in self.modules()}
        self.eval()  # two rows of zeros must not move the statistics of a BatchNorm
        try:
            with torch.no_grad():
                return self.likelihood(self.zeros(2, self.prior().event_shape)).event_shape
        finally:
            for module, mode in training.items():
                module.training = mode

    def _seen(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if may_read():
            self.check_data(x, lengths)  # of a pair that is called as it stands
        return seen_cells(x, lengths)


def _counted(seen: Tensor) -> Tensor:
    """Which steps lie before the last cell that is there, (rows, steps)."""
    return torch.arange(seen.shape[1], device=seen.device) < last_steps(seen).unsqueeze(-1)
