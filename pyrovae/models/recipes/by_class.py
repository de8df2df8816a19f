"""Recipes of pairs with classes and conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from pyrovae.errors import ArgumentError, argument
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.conditionals.discrete import Bernoulli, Categorical
from pyrovae.models.conditionals.normals import DiagNormal
from pyrovae.models.conditionals.relaxed import RelaxedCategorical, StraightThrough
from pyrovae.models.nets import MLP, Chain, Event, event_shape
from pyrovae.models.priors.mixture import Mixture
from pyrovae.models.priors.normal_priors import StandardNormal
from pyrovae.models.vaes.categorical_vae import CategoricalVAE
from pyrovae.models.vaes.conditional_vae import ConditionalVAE
from pyrovae.models.vaes.labelled_vae import LabelledVAE
from pyrovae.models.vaes.mixture_vae import MixtureVAE
from pyrovae.models.vaes.vae import VAE
from pyrovae.pairs.numbers import check_counts

Family = Callable[[Any], Conditional]


def mixture_vae(
    shape: Event, latent: int, components: int, *, likelihood: Family = Bernoulli, hidden: Sequence[int] = (400,)
) -> MixtureVAE:
    """A Gaussian-mixture VAE, which finds clusters: see `MixtureVAE`.

    Args:
        shape: Event shape of x.
        latent: Dims of z.
        components: How many clusters at most. To choose their number by held-out evidence, without labels:
            `pv.choose_latent(lambda k: pv.recipes.mixture_vae(784, 10, k), x, [5, 10, 20], epochs=20)`.
        likelihood: A family of one number an element, made of a network: `pv.Bernoulli`, or
            `lambda network: pv.Normal(network, scale=pv.LearnedScale(5))`.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.

    Returns:
        A pair of data `(rows, *shape)` with sites `y`, `z` and `x`.
    """
    latent, components = check_counts(latent=latent, components=components)
    shape = event_shape(shape, "shape")
    return MixtureVAE(
        prior=Mixture(components, latent),
        likelihood=likelihood(MLP(latent, hidden[::-1], shape)),
        posterior=DiagNormal(MLP(shape, hidden, 2 * latent)),
    )


def conditional_vae(
    shape: Event,
    latent: int,
    *,
    condition: int | None = None,
    classes: int | None = None,
    likelihood: Family = Bernoulli,
    hidden: Sequence[int] = (400,),
) -> ConditionalVAE:
    """A VAE of x under labels or covariates: see `ConditionalVAE`.

    Args:
        shape: Event shape of x.
        latent: Dims of z.
        condition: How many numbers a row's condition has; or
        classes: how many classes its label may be of.
        likelihood: A family made of a network, as in `mixture_vae`.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.

    Returns:
        A pair of data `((rows, *shape), condition)`.
    """
    if (condition is None) == (classes is None):
        raise ArgumentError(
            f"conditional_vae takes {argument('condition')} (numbers a row) or {argument('classes')} (of "
            "labels): one of both."
        )
    said: dict[str, Any] = {"condition": condition} if classes is None else {"classes": classes}
    latent, width = check_counts(latent=latent, **said)
    return ConditionalVAE(**_given(shape, latent, width, likelihood, hidden), condition=condition, classes=classes)


def semi_supervised_vae(
    shape: Event,
    latent: int,
    classes: int,
    *,
    classification: float = 10.0,
    likelihood: Family = Bernoulli,
    hidden: Sequence[int] = (400,),
) -> LabelledVAE:
    """A VAE with a class for each row, known for some: see `LabelledVAE`.

    Args:
        shape: Event shape of x.
        latent: Dims of z.
        classes: How many classes.
        classification: Weight of the classification loss, in nats a labelled row.
        likelihood: A family made of a network, as in `mixture_vae`. For "M1+M2" train a VAE on x, and this one with
            `lambda network: pv.Normal(network, scale=pv.LearnedScale(size))` on `pv.encode(first, x)["z"].mean`.
        hidden: Widths of the hidden layers of encoder and classifier; the decoder has them in reverse.

    Returns:
        A pair of data `((rows, *shape), labels)`, or of x alone; -1 is an unknown label.
    """
    latent, classes = check_counts(latent=latent, classes=classes)
    classifier = Categorical(MLP(event_shape(shape, "shape"), hidden, classes))
    parts = _given(shape, latent, classes, likelihood, hidden)
    return LabelledVAE(**parts, classifier=classifier, classes=classes, classification=classification)


def categorical_vae(
    shape: Event,
    classes: int,
    *,
    sites: int = 1,
    temperature: float | None = None,
    straight_through: bool = False,
    likelihood: Family = Bernoulli,
    hidden: Sequence[int] = (400,),
) -> CategoricalVAE | VAE:
    """A VAE whose code is of classes: summed out, or relaxed.

    Args:
        shape: Event shape of x.
        classes: How many values each code has.
        sites: How many codes a row has.
        temperature: None: all combinations are summed out, and every figure is exact (`CategoricalVAE`). A number of
            0.5 to 10: the code is a `RelaxedCategorical` site `z`, of event shape (sites, classes). Evidence is then
            that of the *relaxed* model, whose decoder sees points between classes: no other evidence compares.
        straight_through: Of a relaxed code, whether the decoder sees the nearest classes. Evidence is then that of the
            model with classes, as if they were summed out, and compares; gradients of the encoder are biased.
        likelihood: A family made of a network, as in `mixture_vae`.
        hidden: Widths of the decoder's hidden layers; the encoder, where there is one, has them in reverse.

    Returns:
        A pair of data `(rows, *shape)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.categorical_vae(5, classes=3, sites=4, temperature=0.7, straight_through=True)
        >>> pv.generate(vae, 2, seed=0)["z"].shape
        torch.Size([2, 4, 3])
    """
    sites, classes = check_counts(sites=sites, classes=classes)
    shape, code = event_shape(shape, "shape"), (sites, classes)
    if temperature is None:
        if straight_through:
            raise ArgumentError("straight_through=True is of a relaxed code: give temperature=, such as 0.7.")
        return CategoricalVAE(likelihood(MLP(sites * classes, hidden, shape)), sites=sites, classes=classes)
    decoder: nn.Module = MLP(code, hidden, shape)
    return VAE(
        prior=RelaxedCategorical(_Logits(code), temperature),
        likelihood=likelihood(Chain(StraightThrough(), decoder) if straight_through else decoder),
        posterior=RelaxedCategorical(MLP(shape, hidden[::-1], code), temperature),
    )


def _given(shape: Event, latent: int, width: int, likelihood: Family, hidden: Sequence[int]) -> dict[str, Any]:
    shape = event_shape(shape, "shape")
    return {
        "prior": StandardNormal(latent),
        "likelihood": likelihood(MLP([latent, width], hidden[::-1], shape)),
        "posterior": DiagNormal(MLP([shape, width], hidden, 2 * latent)),
    }


class _Logits(nn.Module):
    """A learned tensor as a network of nothing."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.output_shape, self.values = shape, nn.Parameter(torch.zeros(shape))

    def forward(self) -> torch.Tensor:
        return self.values
