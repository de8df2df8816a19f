"""Recipes of pairs for series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyrovae.models.conditionals.conditional import Conditional, LearnedScale
from pyrovae.models.conditionals.continuous import Normal
from pyrovae.models.conditionals.normals import DiagNormal
from pyrovae.models.nets import MLP, Event, event_shape
from pyrovae.models.priors.normal_priors import LearnedNormal
from pyrovae.models.sequences.gated_transition import GatedTransition
from pyrovae.models.sequences.series_reader import SeriesReader
from pyrovae.models.vaes.sequence_vae import SequenceVAE
from pyrovae.pairs.numbers import check_counts


def sequence_vae(
    shape: Event,
    latent: int,
    steps: int,
    *,
    likelihood: Callable[[Any], Conditional] | None = None,
    hidden: int = 64,
    both_ways: bool = False,
) -> SequenceVAE:
    r"""A deep Markov model of series of any lengths, with gaps: see `SequenceVAE`.

    The choices, each with its reason:

    - *One latent site for the whole chain*, `z` of (steps, latent): the densities of all steps are computed at once,
      only the guide's draws go from step to step.
    - *A gated transition that starts as the identity*: a chain of unknown dynamics is first a slow walk.
    - *A guide that is the model's transition times what the data from there on say*: of a linear model this is the
      form of the posterior, in gaps it has the rest to go by, and behind the last cell it is a forecast.

    Args:
        shape: Event shape of one step, the number of columns mostly.
        latent: Dims of z at each step.
        steps: How many steps drawn series have; data may have any number.
        likelihood: A family of one number an element, made of a network: `pv.Bernoulli`, `pv.Poisson`; left out, a
            normal with one learned scale for each element. Give real numbers standardised.
        hidden: Width of all hidden layers.
        both_ways: Whether the guide reads series forward, too.

    Returns:
        A pair of `(x)` or `(x, lengths)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.sequence_vae(2, latent=3, steps=10)
        >>> x = torch.randn(16, 10, 2)
        >>> x[:, 4:6] = float("nan")
        >>> _ = pv.fit(vae, x, epochs=1, progress=False)
        >>> pv.impute(vae, x, draws=5).values["x"].shape
        torch.Size([5, 16, 10, 2])
    """
    latent, steps, hidden = check_counts(latent=latent, steps=steps, hidden=hidden)
    shape = event_shape(shape, "shape")
    decoder = MLP(latent, [hidden], shape)
    return SequenceVAE(
        prior=LearnedNormal(latent),
        transition=DiagNormal(GatedTransition(latent, hidden)),
        likelihood=Normal(decoder, scale=LearnedScale(shape)) if likelihood is None else likelihood(decoder),
        posterior=DiagNormal(SeriesReader(shape, 2 * latent, hidden=hidden, both_ways=both_ways)),
        steps=steps,
    )
