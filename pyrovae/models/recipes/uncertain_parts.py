"""Recipes with weights that are latent sites of the pair."""

from __future__ import annotations

from pyrovae.errors import ArgumentError
from pyrovae.models.priors.stick_breaking_mixture import StickBreakingMixture
from pyrovae.models.vaes.vae import VAE
from pyrovae.pairs.blank import HasBlank
from pyrovae.pairs.numbers import check_counts
from pyrovae.trust.epistemic.bayesian_weights import bayesian
from pyrovae.trust.epistemic.uncertain_weights import UncertainWeights


def bayesian_decoder(
    vae: VAE, rows: int, *, rank: int = 0, prior_scale: float = 1.0, scale: float = 0.01
) -> UncertainWeights:
    r"""A VAE whose decoder's weights are a global latent site.

    \[ w \sim \mathcal N(0, s^2 I), \quad z \sim p(z), \quad x \mid z, w \sim p_w(x \mid z), \qquad
    q(w) = \mathcal N(\mu, U U^\top + \operatorname{diag}(\sigma^2)) \]

    The choices, each with its reason:

    - *The decoder only*: its weights are the model's; the encoder's belong to the guide, which is an approximation
      and has no posterior. `pv.epistemic.bayesian_weights` takes any others, of any pair.
    - *The number of rows is asked for*: a prior is weighed against all data, not against a batch.
    - *σ starts at 0.01*: so that training starts as that of single weights does.

    Args:
        vae: The VAE, trained or not; what it has for weights is where μ starts.
        rows: How many rows the training data have.
        rank: Columns of U; 0 for independent weights.
        prior_scale: s.
        scale: σ to start from.

    Returns:
        A pair with the global site `weights` beside `z` and `x`, to be trained by `pv.fit`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.count_vae(5, latent=2)
        >>> pair = pv.recipes.bayesian_decoder(vae, rows=100)
        >>> _ = pv.fit(pair, torch.poisson(torch.full((100, 5), 4.0)), epochs=1, progress=False)
        >>> sorted(pv.generate(pair, 3, seed=0))
        ['weights', 'x', 'z']
    """
    if not isinstance(vae, HasBlank):
        raise ArgumentError(
            f"bayesian_decoder takes a VAE, got {type(vae).__name__}: any other pair goes into "
            "pv.epistemic.bayesian_weights(pair, x)."
        )
    blank = vae.blank(4)
    (rows,) = check_counts(rows=rows)
    return bayesian(vae, blank, {}, size=rows, rank=rank, prior_scale=prior_scale, scale=scale)


def bayesian_mixture(vae: VAE, rows: int, *, scale: float = 0.05) -> UncertainWeights:
    r"""A VAE whose mixture prior finds how many components the data need.

    \[ a, b, c \sim \mathcal N(0, I), \quad z \sim \sum_k \pi_k(a)\, \mathcal N(\mu_k(b), \sigma_k^2(c)), \quad
    x \sim p(x \mid z) \]

    The choices, each with its reason:

    - *Everything of the prior is uncertain, nothing else*: a component that explains a few rows alone costs more nats
      for what is learned of its place than it saves, so its share of the stick goes.
    - *The number of rows is asked for*: with more data, more components are worth their cost.

    Args:
        vae: A VAE with a `StickBreakingMixture` as its prior.
        rows: How many rows the training data have.
        scale: σ of the posterior of a, b and c to start from.

    Returns:
        A pair with the global site `weights` beside `z` and `x`, to be trained by `pv.fit`. Afterwards
        `with pv.epistemic.at_mean(pair): vae.prior.used()` says how many components are used.

    Examples:
        >>> import torch, pyrovae as pv
        >>> prior = pv.StickBreakingMixture(10, 2)
        >>> vae = pv.VAE(prior, pv.Normal(pv.MLP(2, [8], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [8], 4)))
        >>> pair = pv.recipes.bayesian_mixture(vae, rows=100)
        >>> _ = pv.fit(pair, torch.randn(100, 5), epochs=1, progress=False)
        >>> with pv.epistemic.at_mean(pair):
        ...     0 < prior.used() <= 10
        True
    """
    prior = getattr(vae, "prior", None)
    if not isinstance(prior, StickBreakingMixture):
        raise ArgumentError(
            f"bayesian_mixture: the prior of this {type(vae).__name__} is {type(prior).__name__}; give a VAE with "
            "pv.StickBreakingMixture, whose numbers are standard normal before any data."
        )
    (rows,) = check_counts(rows=rows)
    return bayesian(vae, vae.blank(4), {}, size=rows, parameters=vae.prior, scale=scale)
