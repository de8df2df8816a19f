"""A linear-Gaussian VAE of unknown mean: local and global latents, both with exact posteriors."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.pairs.pair import Pair
from pyrovae.pairs.registration import Registration


class Split(NamedTuple):
    """The predictive variance of each element, in closed form, (rows, d)."""

    aleatoric: Tensor
    latent: Tensor
    epistemic: Tensor


class ShiftedGaussian:
    r"""A linear-Gaussian VAE whose mean is a global latent.

    \[ m \sim \mathcal N(0, \tau^2 I_d), \quad z_n \sim \mathcal N(0, I_k), \quad
    x_n \mid z_n, m \sim \mathcal N(W z_n + m, \sigma^2 I_d) \]

    With \( C = W W^\top + \sigma^2 I \), \( M = W^\top W + \sigma^2 I \) and \( A = W M^{-1} W^\top \):

    \[ m \mid x_{1..N} \sim \mathcal N\Big(S C^{-1} \sum_n x_n,\; S\Big), \quad S = (\tau^{-2} I + N C^{-1})^{-1},
    \qquad z_n \mid x_n, m \sim \mathcal N\big(M^{-1} W^\top (x_n - m),\, \sigma^2 M^{-1}\big) \]

    so a new observation at the same z_n and m has the variance \( \sigma^2 \) (noise) +
    \( \operatorname{diag}(\sigma^2 A) \) (latent) + \( \operatorname{diag}((I - A) S (I - A)^\top) \) (epistemic, which
    falls as 1/N).

    Args:
        weight: W, shape (d, k).
        noise: σ, a positive number.
        spread: τ, a positive number.
        size: Rows in the whole data where `model` and `guide` get a part of them: the plate then scales.

    Sites: `mean` (global), `z` (local) and `x`, in the plate `data`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.ShiftedGaussian(torch.eye(2, 1), noise=1.0, spread=10.0)
        >>> for rows in (10, 100):
        ...     print(truth.split(truth.sample(rows)).epistemic[0])
        tensor([0.0499, 0.0999])
        tensor([0.0050, 0.0100])
    """

    def __init__(self, weight: Tensor, noise: float = 1.0, spread: float = 1.0, *, size: int | None = None):
        if weight.dim() != 2 or not noise > 0 or not spread > 0:
            raise ArgumentError(
                f"ShiftedGaussian takes a weight (d, k), a positive noise and a positive spread, got shape "
                f"{tuple(weight.shape)}, {noise:g} and {spread:g}"
            )
        self.weight, self.noise, self.spread, self.size = weight, noise, spread, size

    def _eye(self, size: int) -> Tensor:
        return torch.eye(size, dtype=self.weight.dtype, device=self.weight.device)

    @property
    def _gram(self) -> Tensor:
        return self.weight.T @ self.weight + self.noise**2 * self._eye(self.weight.shape[1])

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Data (count, d) that leave the global random state alone."""
        d, k = self.weight.shape
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(count + 1, d + k, generator=generator, dtype=self.weight.dtype)
        return normal[1:, :k] @ self.weight.T + self.spread * normal[0, k:] + self.noise * normal[1:, k:]

    def posterior(self, x: Tensor) -> Any:
        """p(m | x) of the whole set, event shape (d,)."""
        d = len(self.weight)
        precision = torch.linalg.inv(self.weight @ self.weight.T + self.noise**2 * self._eye(d))
        covariance = torch.linalg.inv(self._eye(d) / self.spread**2 + len(x) * precision)
        return dist.MultivariateNormal(covariance @ precision @ x.sum(0), covariance)

    def local_posterior(self, x: Tensor, mean: Tensor) -> Any:
        """p(z | x, m), batch shape (rows,), event shape (k,)."""
        loc = torch.linalg.solve(self._gram, self.weight.T @ (x - mean).mT).mT
        return dist.MultivariateNormal(loc, self.noise**2 * torch.linalg.inv(self._gram))

    def split(self, x: Tensor, given: Tensor | None = None) -> Split:
        """The three parts of each datum's predictive variance, the global posterior from `given` (left out: from x)."""
        d = len(self.weight)
        shrunk = self.weight @ torch.linalg.solve(self._gram, self.weight.T)
        rest = self._eye(d) - shrunk
        covariance = self.posterior(x if given is None else given).covariance_matrix
        parts = (
            torch.full_like(x[0], self.noise**2),
            self.noise**2 * shrunk.diag(),
            (rest @ covariance @ rest.T).diag(),
        )
        return Split(*(part.expand(len(x), d) for part in parts))

    def model(self, x: Tensor) -> Tensor:
        """Sites `mean`, `z` and `x`."""
        d, k = self.weight.shape
        mean = pyro.sample("mean", dist.Normal(self.weight.new_zeros(d), self.spread).to_event(1))
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(self.weight.new_zeros(k), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T + mean, self.noise).to_event(1), obs=x)
        return z

    def guide(self, x: Tensor) -> Tensor:
        """Sites `mean` and `z`, from their exact posteriors (of these rows, so for `size=None`)."""
        return self._guide(x, self.posterior(x))

    def _guide(self, x: Tensor, posterior: Any) -> Tensor:
        mean = pyro.sample("mean", posterior)
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            return pyro.sample("z", self.local_posterior(x, mean))

    def trainable(self) -> Pair:
        """This model, and a guide whose global posterior, a full normal, is to be trained."""
        return Pair(self.model, _ShiftedGuide(self))


class _ShiftedGuide:
    """The exact local posterior under a learned global one."""

    def __init__(self, truth: ShiftedGaussian):
        self.truth, self.posterior = truth, _LearnedNormal(len(truth.weight)).to(truth.weight)
        self.registration = Registration("guide")

    def __call__(self, x: Tensor) -> Tensor:
        self.registration(self.posterior)
        return self.truth._guide(x, self.posterior())


class _LearnedNormal(nn.Module):
    """A normal of full covariance."""

    def __init__(self, size: int):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))
        self.below = nn.Parameter(torch.zeros(size, size))

    def forward(self) -> Any:
        unit = self.below.tril(-1) + torch.eye(len(self.loc), dtype=self.loc.dtype, device=self.loc.device)
        return dist.MultivariateNormal(self.loc, scale_tril=self.log_scale.exp().unsqueeze(-1) * unit)
