"""A VAE whose prior is a mixture, with the component of each row as a site of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor

from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.priors.mixture import Mixture
from pyrovae.models.vaes.chosen_component import ChosenComponent
from pyrovae.models.vaes.vae import VAE, as_distribution, compare_events
from pyrovae.pairs.numbers import as_whole


class MixtureVAE(VAE):
    r"""A Gaussian-mixture VAE; the component y of each row is summed out exactly.

    \[ y \sim \text{Categorical}(\pi), \quad z \mid y \sim \mathcal N(\mu_y, \operatorname{diag}(\sigma_y^2)), \quad
    x \sim p(x \mid z), \qquad q(z \mid x) \]

    Take it to find clusters: given z, \( p(y \mid z) \) is known, so the guide needs no site for y, and nothing about y
    is approximated. `pv.encode(vae, x)["y"].mean` and `pv.clusters(vae, x)` are the memberships of rows.

    Args:
        prior: a `pv.Mixture`.
        likelihood: `likelihood(z)` is p(x | z).
        posterior: `posterior(x)` is q(z | x).

    References:
        Jiang et al., Variational deep embedding, 2017; Dilokthanakul et al., Deep unsupervised clustering, 2016.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.mixture_vae(5, latent=2, components=3)
        >>> pv.encode(vae, torch.ones(4, 5))["y"].mean.shape
        torch.Size([4, 3])
    """

    prior: Mixture

    def __init__(self, prior: Mixture, likelihood: Callable[[Tensor], Any], posterior: Callable[[Tensor], Any]):
        super().__init__(prior, likelihood, posterior)
        if not isinstance(prior, Mixture):
            raise ArgumentError("pv.MixtureVAE: prior= takes a pv.Mixture(components, shape), whose component is y.")

    def check_training_data(self, x: Tensor) -> None:
        """Refuse fewer rows than components, before the first step."""
        if len(x) < len(self.prior.logits):
            raise DataError(
                f"a mixture of {len(self.prior.logits)} components cannot be learned from {len(x)} rows: take fewer "
                "components, or more data."
            )

    def model(self, x: Tensor) -> Tensor:
        """Sites `y` (enumerated), `z` and `x` in the plate `data`; returns z."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=self.prior.logits), infer={"enumerate": "parallel"})
            z = pyro.sample("z", self.prior.component(y))
            likelihood = as_distribution(self.likelihood(z), "likelihood")
            compare_events(x, likelihood, "x holds data", "the likelihood", DataError)
            pyro.sample("x", likelihood, obs=x)
        return z

    def under(self, component: int) -> VAE:
        """The VAE of one component, p(x | y), of the same weights: generate and evaluate under a chosen cluster."""
        number, count = as_whole(component), len(self.prior.logits)
        if number is None or not 0 <= number < count:
            raise ArgumentError(f"component={component!r}; give a number of 0 to {count - 1}.")
        return VAE(ChosenComponent(self.prior, number), self.likelihood, self.posterior)
