"""The built-in pair: a prior, a likelihood and a posterior, each a conditional."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.registration import Registration


class VAE(nn.Module):
    r"""A variational autoencoder: an ordinary Pyro model and guide that share one module.

    \[ p(x, z) = \prod_n p(z_n)\, p(x_n \mid z_n), \qquad q(z \mid x) = \prod_n q(z_n \mid x_n) \]

    Args:
        prior: `prior()` is p(z), with empty batch shape.
        likelihood: `likelihood(z)` is p(x | z).
        posterior: `posterior(x)` is q(z | x).

    `model(x)` and `guide(x)` take data `(rows, *event)`; their sites are `"z"` and `"x"` in a plate
    `"data"`. They run under plain `pyro.infer.SVI`. Every object, a copy or an unpickled one too, has its own
    entries in Pyro's parameter store, and they leave it with the object.

    References:
        Kingma and Welling, Auto-encoding variational Bayes, 2014; Rezende et al., 2014.

    Examples:
        >>> import pyro, torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> vae = pv.VAE(prior=pv.StandardNormal(2),
        ...              likelihood=pv.Bernoulli(pv.MLP(2, [16], 5)),
        ...              posterior=pv.DiagNormal(pv.MLP(5, [16], 2 * 2)))
        >>> svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
        >>> x = torch.ones(8, 5)
        >>> losses = [svi.step(x) for _ in range(50)]
        >>> losses[-1] < losses[0]
        True
    """

    def __init__(
        self,
        prior: Callable[[], Any],
        likelihood: Callable[[Tensor], Any],
        posterior: Callable[[Tensor], Any],
    ):
        super().__init__()
        # The posterior first: a tensor that VampPrior shares with it is then named after the posterior.
        self.posterior = as_part(posterior, "posterior")
        self.prior = as_part(prior, "prior")
        self.likelihood = as_part(likelihood, "likelihood")
        self._registration = Registration("vae")

    def model(self, x: Tensor) -> Tensor:
        """Sites `z` and `x` (observed) in the plate `data`; returns z of shape `(rows, *event)`."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            prior = as_distribution(self.prior(), "prior")
            z = pyro.sample("z", prior)
            compare_events(z, prior, "the posterior gives latents", "the prior", ArgumentError)
            likelihood = as_distribution(self.likelihood(z), "likelihood")
            compare_events(x, likelihood, "x holds data", "the likelihood", DataError)
            pyro.sample("x", likelihood, obs=x)
        return z

    def guide(self, x: Tensor) -> Tensor:
        """Site `z` in the plate `data`; returns z of shape `(rows, *event)`."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", as_distribution(self.posterior(x), "posterior"))

    def blank(self, n: int) -> tuple[Tensor]:
        """Arguments that stand for n data where only their shape counts: zeros of (n, *event), or what can be there."""
        training = {module: module.training for module in self.modules()}
        self.eval()  # two rows of zeros must not move the statistics of a BatchNorm
        try:
            with torch.no_grad():
                likelihood = self.likelihood_of_zeros()
                zeros = self.zeros(n, likelihood.event_shape)
                lawful = getattr(base_of(likelihood), "lawful", None)  # of columns of several kinds, of which 0 is none
                return (zeros if lawful is None else lawful(zeros),)
        finally:
            for module, mode in training.items():
                module.training = mode

    def likelihood_of_zeros(self) -> Any:
        """p(x | z) of two rows whose latents are zeros."""
        return self.likelihood(self.zeros(2, self.prior().event_shape))

    def __getstate__(self) -> Any:
        # Pyro hangs a weak reference on each parameter, which nothing can pickle, and renews it at each use.
        for parameter in self.parameters():
            vars(parameter).pop("unconstrained", None)
        return super().__getstate__()

    def zeros(self, n: int, shape: torch.Size) -> Tensor:
        """Zeros of (n, *shape), of the type and on the device of the parameters."""
        like = next(self.parameters(), torch.zeros(()))
        return torch.zeros(n, *shape, dtype=like.dtype, device=like.device)


_USUAL = {"likelihood": "Bernoulli", "classifier": "Categorical"}  # of a position, to be named in errors


def as_distribution(result: Any, name: str) -> Any:
    """What a part gave, or an error in words where that is no distribution."""
    if not isinstance(result, Distribution):
        raise ArgumentError(
            f"the {name} gave {type(result).__name__}, not a distribution: wrap the network in a conditional, "
            f"such as {name}=pv.{_USUAL.get(name, 'DiagNormal')}(network)"
        )
    return result


def compare_events(value: Tensor, distribution: Any, left: str, right: str, error: type[Exception]) -> None:
    """Refuse values whose event shape is another than that of a distribution."""
    shape, dims = distribution.event_shape, len(distribution.event_shape)
    if value.shape[value.dim() - dims :] != shape or value.dim() < 1 + dims:
        event = tuple(value.shape[1:]) if value.dim() <= 1 + dims else tuple(value.shape[value.dim() - dims :])
        raise error(f"{left} of event shape {event}, but {right} has event shape {tuple(shape)}: make them equal")


def as_part(part: Any, name: str) -> Any:
    """A conditional in its position in a pair, or an error in words."""
    if isinstance(part, Tensor | type) or not callable(part):
        raise ArgumentError(
            f"{name}= takes a conditional, such as pv.DiagNormal(network) or pv.StandardNormal(8), "
            f"got {part if isinstance(part, type) else type(part).__name__}"
        )
    if isinstance(part, Distribution):
        raise ArgumentError(
            f"{name}= takes a conditional, got a distribution: a distribution is what a conditional returns. "
            "For a fixed or learned prior see pv.StandardNormal and pv.LearnedNormal"
        )
    return part
