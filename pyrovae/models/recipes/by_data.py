"""Recipes by the kind of the data: images, vectors, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from pyrovae.models.conditionals.conditional import LearnedScale
from pyrovae.models.conditionals.continuous import Normal
from pyrovae.models.conditionals.discrete import DiscretizedLogistic, NegativeBinomial
from pyrovae.models.conditionals.normals import DiagNormal
from pyrovae.models.nets import MLP, Chain, ConvDecoder, ConvEncoder, event_shape
from pyrovae.models.priors.normal_priors import StandardNormal
from pyrovae.models.units.log_of_counts import LogOfCounts
from pyrovae.models.units.pixel_units import InPixelUnits, PixelUnits
from pyrovae.models.units.standard_columns import AtColumnLevel, InColumnUnits, StandardColumns
from pyrovae.models.vaes.vae import VAE
from pyrovae.pairs.numbers import check_counts


def image_vae(
    shape: tuple[int, ...], latent: int, *, hidden: Sequence[int] = (400,), channels: Sequence[int] = ()
) -> VAE:
    r"""A VAE of raw grey or colour images, uint8 0, …, 255 or the same divided by 255.

    \[ z \sim \mathcal N(0, I), \qquad x_i \mid z \sim \text{DiscretizedLogistic}(\mu_i(z), s_i(z)) \]

    The choices, each with its reason:

    - *Grey likelihood on the 256 levels* (`DiscretizedLogistic`): it is a probability of the image as it is, so
      its evidence (÷ log 2 ÷ pixels = bits per pixel) compares across models, and black and white, which most
      pixels of most images are, get the tails' whole mass. Bernoulli is no density of grey values.
    - *No binarisation*: fresh zeros and ones at each pass would have to be the same in model and guide, and would make
      every figure random. Where you want it: `pv.VAE` with `pv.Bernoulli` and `pv.fit(..., transform=torch.bernoulli)`.
    - *The unit is read off the first batch that is not all black* (above 1: levels; else `x / 255`) and kept in a
      buffer: training, files and what `generate` returns all speak the units of your data. The network sees x / 255.
    - *A plain MLP*: it trains in seconds an epoch on two cores; `channels=` takes residual convolutions instead.

    Args:
        shape: Event shape of an image, such as (1, 28, 28) or (28, 28).
        latent: Dims of z.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        channels: Widths of the levels of convolutional nets; then `hidden` is not used, and the shape is
            (channels, height, width).

    Returns:
        A `VAE` of data `(rows, *shape)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> x = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
        >>> vae = pv.recipes.image_vae((1, 8, 8), latent=4, hidden=[32])
        >>> vae.guide(x).shape
        torch.Size([64, 4])
        >>> vae.likelihood(torch.zeros(1, 4)).support.base_constraint.upper_bound
        tensor(255.)
    """
    (latent,) = check_counts(latent=latent)
    shape = event_shape(shape, "shape")
    wide = (2 * shape[0], *shape[1:])
    units = PixelUnits()
    if channels:
        encoder: nn.Module = ConvEncoder(shape, 2 * latent, channels=channels)
        decoder: nn.Module = ConvDecoder(latent, wide, channels=channels[::-1])
    else:
        encoder = MLP(shape, hidden, 2 * latent)
        decoder = MLP(latent, hidden[::-1], wide)
    return VAE(
        prior=StandardNormal(latent),
        likelihood=InPixelUnits(DiscretizedLogistic(decoder), units),
        posterior=DiagNormal(Chain(units, encoder)),
    )


def vector_vae(
    size: int,
    latent: int,
    *,
    hidden: Sequence[int] = (128, 64),
    mean: Any = None,
    scale: Any = None,
) -> VAE:
    r"""A VAE of raw numbers in columns of any location and scale.

    \[ z \sim \mathcal N(0, I), \qquad x_j \mid z \sim \mathcal N\big(m_j + c_j\,\mu_j(z),\ (c_j \sigma_j)^2\big) \]

    The choices, each with its reason:

    - *Standardisation inside the pair*: m and c are the mean and the standard deviation of each column in the first
      batch that it meets in train mode (so give `pv.fit` a `batch_size` of some tens at least). They are buffers:
      saved, loaded, copied, and never moved again.
    - *The density is that of the raw numbers*: c stands in it, so its Jacobian is counted and evidence compares across
      scalings, whichever rows the first batch had.
    - *A column that is constant there* gets c = |m|, or 1 where m is 0: dividing by its spread would divide by 0.
    - *One learned noise scale σ a column*: columns differ in how much of them is noise, and a noise that the
      network gives can shrink to nothing at single rows.

    Args:
        size: Number of columns.
        latent: Dims of z.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        mean: m, a number or one a column; with `scale`, instead of the first batch's.
        scale: c, likewise, positive.

    Returns:
        A `VAE` of data `(rows, size)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(64, 3) * torch.tensor([1e-3, 1.0, 1e6]) + torch.tensor([0.0, 5.0, 1e7])
        >>> vae = pv.recipes.vector_vae(3, latent=2)
        >>> vae.guide(x).abs().max() < 10
        tensor(True)
    """
    size, latent = check_counts(size=size, latent=latent)
    columns = StandardColumns(size, mean, scale)
    return VAE(
        prior=StandardNormal(latent),
        likelihood=InColumnUnits(Normal(MLP(latent, hidden[::-1], size), scale=LearnedScale(size)), columns),
        posterior=DiagNormal(Chain(columns, MLP(size, hidden, 2 * latent))),
    )


def count_vae(size: int, latent: int, *, hidden: Sequence[int] = (128, 64)) -> VAE:
    r"""A VAE of raw counts, such as words in a text or molecules in a cell.

    \[ z \sim \mathcal N(0, I), \qquad x_j \mid z \sim \text{NegativeBinomial}\big(\text{mean } e^{m_j + \mu_j(z)},
    \text{total count } r_j\big) \]

    The choices, each with its reason:

    - *Negative binomial with one r a column*: counts vary more than a Poisson allows, and by column.
    - *The encoder sees log(1 + x), standardised* by the first batch in train mode as in `vector_vae`: counts span
      orders of magnitude. m is that batch's mean of log(1 + x), so that rare and common columns start at their level.

    Args:
        size: Number of columns.
        latent: Dims of z.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.

    Returns:
        A `VAE` of counts `(rows, size)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.count_vae(5, latent=2)
        >>> vae.guide(torch.poisson(torch.full((32, 5), 1e3))).shape
        torch.Size([32, 2])
    """
    size, latent = check_counts(size=size, latent=latent)
    columns = StandardColumns(size)
    return VAE(
        prior=StandardNormal(latent),
        likelihood=AtColumnLevel(NegativeBinomial(MLP(latent, hidden[::-1], size), LearnedScale(size)), columns),
        posterior=DiagNormal(Chain(LogOfCounts(), columns, MLP(size, hidden, 2 * latent))),
    )
