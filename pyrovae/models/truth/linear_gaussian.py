"""A linear-Gaussian VAE, which is probabilistic PCA: exact evidence and posterior."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import LearnedScale
from pyrovae.models.conditionals.continuous import Normal
from pyrovae.models.conditionals.normals import DiagNormal, FullNormal
from pyrovae.models.nets import MLP
from pyrovae.models.priors.normal_priors import StandardNormal
from pyrovae.models.truth.trainable_guides import TrainableGuide
from pyrovae.models.vaes.vae import VAE
from pyrovae.pairs.pair import Pair


class LinearGaussian:
    r"""A linear-Gaussian VAE, which is probabilistic PCA.

    \[ z \sim \mathcal N(0, I_k), \quad x \mid z \sim \mathcal N(W z + m, \sigma^2 I_d), \qquad
    \log p(x) = \log \mathcal N(x \mid m,\, W W^\top + \sigma^2 I) \]

    \[ z \mid x \sim \mathcal N\big(M^{-1} W^\top (x - m),\, \sigma^2 M^{-1}\big), \qquad M = W^\top W + \sigma^2 I \]

    Args:
        weight: W, shape (d, k).
        mean: m, shape (d,).
        noise: σ, a positive number.

    Sites: `z` (local) and `x`, in the plate `data`.

    References:
        Tipping and Bishop, Probabilistic principal component analysis, 1999; Lucas et al., Don't blame the ELBO!, 2019.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5)
        >>> x = truth.sample(1000, seed=0)
        >>> best = pv.truth.LinearGaussian.maximum_likelihood(x, latent=2)
        >>> bool(best.log_evidence(x).mean() > truth.log_evidence(x).mean())
        True
    """

    def __init__(self, weight: Tensor, mean: Tensor, noise: float | Tensor):
        self.weight, self.mean = weight, mean
        self.noise = torch.as_tensor(noise, dtype=weight.dtype, device=weight.device)
        if weight.dim() != 2 or mean.shape != weight.shape[:1] or not bool(self.noise > 0):
            raise ArgumentError(
                f"LinearGaussian takes a weight (d, k), a mean (d,) and a positive noise, got shapes "
                f"{tuple(weight.shape)}, {tuple(mean.shape)} and noise {float(self.noise):g}"
            )

    @classmethod
    def maximum_likelihood(cls, x: Tensor, latent: int) -> LinearGaussian:
        r"""The parameters of highest evidence for data (rows, d), in closed form.

        \[ W = U_k (\Lambda_k - \sigma^2 I)^{1/2}, \qquad \sigma^2 = \frac{1}{d - k} \sum_{j > k} \lambda_j \]

        with λ, U the eigenvalues and vectors of the covariance (divided by rows). The columns of W are orthogonal, so
        the posterior is a diagonal normal. `log_evidence(x).mean()` is then the highest mean evidence there is.

        Args:
            x: Data (rows, d).
            latent: k, less than d.
        """
        if not 0 < latent < x.shape[-1]:
            raise ArgumentError(f"latent={latent}: give at least 1 and less than the {x.shape[-1]} columns")
        mean = x.mean(0)
        values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        values, vectors = values.flip(0), vectors.flip(1)
        variance = values[latent:].mean()
        weight = vectors[:, :latent] * (values[:latent] - variance).clamp(min=0).sqrt()
        return cls(weight, mean, variance.sqrt())

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Data (count, d) that leave the global random state alone."""
        normal = _normal(seed, (count, sum(self.weight.shape)), self.weight)
        k = self.weight.shape[1]
        return normal[:, :k] @ self.weight.T + self.mean + self.noise * normal[:, k:]

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), shape (rows,)."""
        eye = torch.eye(len(self.mean), dtype=x.dtype, device=x.device)
        covariance = self.weight @ self.weight.T + self.noise**2 * eye
        return dist.MultivariateNormal(self.mean, covariance).log_prob(x)

    def posterior(self, x: Tensor) -> Any:
        """p(z | x), batch shape (rows,), event shape (k,)."""
        k = self.weight.shape[1]
        gram = self.weight.T @ self.weight + self.noise**2 * torch.eye(k, dtype=x.dtype, device=x.device)
        loc = torch.linalg.solve(gram, self.weight.T @ (x - self.mean).T).T
        return dist.MultivariateNormal(loc, self.noise**2 * torch.linalg.inv(gram))

    def model(self, x: Tensor) -> Tensor:
        """Sites `z` and `x`."""
        prior = dist.Normal(self.mean.new_zeros(self.weight.shape[1]), 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z @ self.weight.T + self.mean, self.noise).to_event(1), obs=x)
        return z

    def guide(self, x: Tensor) -> Tensor:
        """Site `z`, from the exact posterior."""
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(x))

    def trainable(self) -> Pair:
        """This model, and a guide to be trained: a full normal with affine nets, which holds the posterior."""
        d, k = self.weight.shape
        posterior = FullNormal(MLP(d, [], k * (k + 3) // 2)).to(self.weight)
        return Pair(self.model, TrainableGuide(posterior, "z", local=True))

    def vae(self) -> VAE:
        """A VAE to be trained, model and guide, of the same shape: its best ELBO is the highest evidence.

        The posterior is diagonal, which loses nothing: the W of highest evidence can be turned so that its
        columns are orthogonal.
        """
        d, k = self.weight.shape
        likelihood = Normal(MLP(k, [], d), scale=LearnedScale())
        return VAE(StandardNormal(k), likelihood, DiagNormal(MLP(d, [], 2 * k))).to(self.weight)


def _normal(seed: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype).to(like.device)
