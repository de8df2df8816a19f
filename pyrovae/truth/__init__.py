"""Small models whose evidence and posterior are known exactly: what every estimator is held against.

Each is a pair: `model(x)` and `guide(x)`, where the guide is the exact posterior. `trainable()` is the same
model with a guide whose parameters are to be found and whose family holds the exact posterior.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..conditionals import Categorical, Conditional, DiagNormal, FullNormal, LearnedScale, Normal
from ..errors import ArgumentError
from ..nets import MLP
from ..pairs import Pair
from ..priors import StandardNormal
from ..registration import Registration
from ..vae import VAE
from .shifted import ShiftedGaussian

__all__ = ["BetaBernoulli", "DiscreteMixture", "GammaPoisson", "LinearGaussian", "ShiftedGaussian"]


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
        return Pair(self.model, _Guide(posterior, "z", local=True))

    def vae(self) -> VAE:
        """A VAE to be trained, model and guide, of the same shape: its best ELBO is the highest evidence.

        The posterior is diagonal, which loses nothing: the W of highest evidence can be turned so that its
        columns are orthogonal.
        """
        d, k = self.weight.shape
        likelihood = Normal(MLP(k, [], d), scale=LearnedScale())
        return VAE(StandardNormal(k), likelihood, DiagNormal(MLP(d, [], 2 * k))).to(self.weight)


class BetaBernoulli:
    r"""A coin of unknown bias: one global latent, conjugate.

    \[ p \sim \text{Beta}(a, b), \quad x_n \mid p \sim \text{Bernoulli}(p), \qquad
    \log p(x_{1..N}) = \log \frac{B(a + s,\, b + N - s)}{B(a, b)}, \quad s = \sum_n x_n \]

    Args:
        concentration1: a.
        concentration0: b.
        size: Rows in the whole data where `model` and `guide` get a part of them: the plate then scales.

    Sites: `p` (global) and `x`, in the plate `data`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.BetaBernoulli(1.0, 1.0)
        >>> truth.log_evidence(torch.tensor([1.0, 1.0])).exp()  # 1 / 3
        tensor(0.3333)
    """

    def __init__(self, concentration1: float = 1.0, concentration0: float = 1.0, *, size: int | None = None):
        self.concentration1, self.concentration0, self.size = concentration1, concentration0, size

    def sample(self, count: int, *, seed: int = 0, bias: float = 0.3) -> Tensor:
        """Data (count,) of the given bias."""
        return (_uniform(seed, (count,)) < bias).to(torch.get_default_dtype())

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) of the whole set, a scalar."""
        after = self.posterior(x)
        a, b = torch.as_tensor(self.concentration1, dtype=x.dtype), torch.as_tensor(self.concentration0, dtype=x.dtype)
        return _log_beta(after.concentration1, after.concentration0) - _log_beta(a, b)

    def posterior(self, x: Tensor) -> Any:
        """p(p | x), a beta."""
        ones = x.sum(0)
        return dist.Beta(self.concentration1 + ones, self.concentration0 + len(x) - ones)

    def log_predictive(self, x: Tensor, given: Tensor) -> Tensor:
        """log p(x_n | given) for each x_n on its own, shape (rows,)."""
        return dist.Bernoulli(self.posterior(given).mean).log_prob(x)

    def model(self, x: Tensor) -> Tensor:
        """Sites `p` and `x`."""
        p = pyro.sample("p", dist.Beta(x.new_tensor(self.concentration1), x.new_tensor(self.concentration0)))
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            pyro.sample("x", dist.Bernoulli(p), obs=x)
        return p

    def guide(self, x: Tensor) -> Tensor:
        """Site `p`, from the exact posterior (of these rows, so for `size=None`)."""
        return pyro.sample("p", self.posterior(x))

    def trainable(self) -> Pair:
        """This model, and a guide to be trained: a beta with two parameters."""
        return Pair(self.model, _Guide(_LearnedPositive(dist.Beta), "p", local=False))


class GammaPoisson:
    r"""Counts of unknown rate: one global latent, conjugate.

    \[ \lambda \sim \text{Gamma}(a, b), \quad x_n \mid \lambda \sim \text{Poisson}(\lambda), \qquad p(x_{1..N}) =
    \frac{b^a}{\Gamma(a)} \frac{\Gamma(a + s)}{(b + N)^{a + s}} \prod_n \frac{1}{x_n!}, \quad s = \sum_n x_n \]

    Args:
        concentration: a.
        rate: b.
        size: Rows in the whole data where `model` and `guide` get a part of them: the plate then scales.

    Sites: `rate` (global) and `x`, in the plate `data`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> truth.posterior(torch.tensor([3.0, 5.0])).mean  # (2 + 8) / (1 + 2)
        tensor(3.3333)
    """

    def __init__(self, concentration: float = 1.0, rate: float = 1.0, *, size: int | None = None):
        self.concentration, self.rate, self.size = concentration, rate, size

    def sample(self, count: int, *, seed: int = 0, rate: float = 3.0) -> Tensor:
        """Data (count,) of the given rate."""
        generator = torch.Generator().manual_seed(seed)
        return torch.poisson(torch.full((count,), rate), generator=generator)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) of the whole set, a scalar."""
        a, b = torch.as_tensor(self.concentration, dtype=x.dtype), torch.as_tensor(self.rate, dtype=x.dtype)
        after = self.posterior(x)
        before = a * b.log() - a.lgamma()
        return before - (after.concentration * after.rate.log() - after.concentration.lgamma()) - (x + 1).lgamma().sum()

    def posterior(self, x: Tensor) -> Any:
        """p(rate | x), a gamma."""
        return dist.Gamma(self.concentration + x.sum(0), x.new_tensor(self.rate + len(x)))

    def log_predictive(self, x: Tensor, given: Tensor) -> Tensor:
        """log p(x_n | given) for each x_n on its own, shape (rows,): a negative binomial."""
        after = self.posterior(given)
        return dist.NegativeBinomial(after.concentration, logits=-after.rate.log()).log_prob(x)

    def model(self, x: Tensor) -> Tensor:
        """Sites `rate` and `x`."""
        rate = pyro.sample("rate", dist.Gamma(x.new_tensor(self.concentration), x.new_tensor(self.rate)))
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)
        return rate

    def guide(self, x: Tensor) -> Tensor:
        """Site `rate`, from the exact posterior (of these rows, so for `size=None`)."""
        return pyro.sample("rate", self.posterior(x))

    def trainable(self) -> Pair:
        """This model, and a guide to be trained: a gamma with two parameters."""
        return Pair(self.model, _Guide(_LearnedPositive(dist.Gamma), "rate", local=False))


class DiscreteMixture:
    r"""Binary vectors from a few classes, small enough to sum over.

    \[ z \sim \text{Categorical}(\pi), \quad x_j \mid z \sim \text{Bernoulli}(\theta_{z j}), \qquad
    p(x) = \sum_k \pi_k \prod_j \theta_{k j}^{x_j} (1 - \theta_{k j})^{1 - x_j} \]

    The exact posterior's logits are affine in x.

    Args:
        weights: π, shape (k,).
        probabilities: θ, shape (k, d), strictly between 0 and 1.

    Sites: `z` (local, discrete; mark it with `pyro.infer.config_enumerate` to sum it out) and `x`, in the plate `data`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.DiscreteMixture(torch.tensor([0.5, 0.5]), torch.tensor([[0.9], [0.1]]))
        >>> truth.posterior(torch.tensor([[1.0]])).probs
        tensor([[0.9000, 0.1000]])
    """

    def __init__(self, weights: Tensor, probabilities: Tensor):
        if weights.dim() != 1 or probabilities.dim() != 2 or len(weights) != len(probabilities):
            raise ArgumentError(
                f"DiscreteMixture takes weights (k,) and probabilities (k, d), got {tuple(weights.shape)} and "
                f"{tuple(probabilities.shape)}"
            )
        self.weights, self.probabilities = weights, probabilities

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Data (count, d) that leave the global random state alone."""
        k, d = self.probabilities.shape
        uniform = _uniform(seed, (1 + d, count)).to(self.probabilities)
        z = torch.searchsorted(self.weights.cumsum(0), uniform[0]).clamp(max=k - 1)
        return (self.probabilities[z] > uniform[1:].T).to(self.probabilities)

    def _log_joint(self, x: Tensor) -> Tensor:
        log_prob = dist.Bernoulli(self.probabilities).to_event(1).log_prob(x.unsqueeze(-2))
        return self.weights.log() + log_prob

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), shape (rows,)."""
        return self._log_joint(x).logsumexp(-1)

    def posterior(self, x: Tensor) -> Any:
        """p(z | x), batch shape (rows,)."""
        return dist.Categorical(logits=self._log_joint(x))

    def model(self, x: Tensor) -> Tensor:
        """Sites `z` and `x`."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(self.weights))
            pyro.sample("x", dist.Bernoulli(self.probabilities[z]).to_event(1), obs=x)
        return z

    def guide(self, x: Tensor) -> Tensor:
        """Site `z`, from the exact posterior."""
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(x))

    def trainable(self) -> Pair:
        """This model, and a guide to be trained: a categorical with an affine net, which holds the posterior."""
        k, d = self.probabilities.shape
        return Pair(self.model, _Guide(Categorical(MLP(d, [], k)).to(self.probabilities), "z", local=True))


class _LearnedPositive(Conditional):
    """A distribution of two positive parameters, both learned."""

    def __init__(self, family: Any):
        super().__init__()
        self.family = family
        # Size and balance, not the two themselves: a tight posterior is a long narrow valley in those.
        self.size, self.balance = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self) -> Any:
        return self.family((self.size + self.balance).exp(), (self.size - self.balance).exp())


class _Guide:
    """A guide of one site drawn from a conditional: of x inside the plate, or of nothing outside it."""

    def __init__(self, posterior: Conditional, site: str, *, local: bool):
        self.posterior, self.site, self.local = posterior, site, local
        self.registration = Registration("guide")

    def __call__(self, x: Tensor) -> Tensor:
        self.registration(self.posterior)
        if not self.local:
            return pyro.sample(self.site, self.posterior())
        with pyro.plate("data", len(x)):
            return pyro.sample(self.site, self.posterior(x))


def _uniform(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _normal(seed: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype).to(like.device)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return a.lgamma() + b.lgamma() - (a + b).lgamma()
