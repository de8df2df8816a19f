"""Functions that return a pair: short cuts from raw data to something that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.conditionals.base import Conditional, LearnedScale
from pyrovae.models.conditionals.continuous import Normal
from pyrovae.models.conditionals.discrete import DiscretizedLogistic, NegativeBinomial
from pyrovae.models.conditionals.distributions import DiscretizedLogisticLevels
from pyrovae.models.conditionals.normals import DiagNormal
from pyrovae.models.nets import MLP, Chain, ConvDecoder, ConvEncoder, event_shape
from pyrovae.models.priors import StandardNormal
from pyrovae.models.vae import VAE
from pyrovae.trust.epistemic.bayesian_weights import bayesian
from pyrovae.trust.epistemic.uncertain_weights import UncertainWeights

__all__ = ["bayesian_decoder", "count_vae", "image_vae", "vector_vae"]


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
    _check(latent=latent)
    shape = event_shape(shape, "shape")
    wide = (2 * shape[0], *shape[1:])
    units = _Units()
    if channels:
        encoder: nn.Module = ConvEncoder(shape, 2 * latent, channels=channels)
        decoder: nn.Module = ConvDecoder(latent, wide, channels=channels[::-1])
    else:
        encoder = MLP(shape, hidden, 2 * latent)
        decoder = MLP(latent, hidden[::-1], wide)
    return VAE(
        prior=StandardNormal(latent),
        likelihood=_InUnits(DiscretizedLogistic(decoder), units),
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
    _check(size=size, latent=latent)
    columns = _Columns(size, mean, scale)
    return VAE(
        prior=StandardNormal(latent),
        likelihood=_InColumns(Normal(MLP(latent, hidden[::-1], size), scale=LearnedScale(size)), columns),
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
    _check(size=size, latent=latent)
    columns = _Columns(size)
    return VAE(
        prior=StandardNormal(latent),
        likelihood=_AtLevel(NegativeBinomial(MLP(latent, hidden[::-1], size), LearnedScale(size)), columns),
        posterior=DiagNormal(Chain(_Log1p(), columns, MLP(size, hidden, 2 * latent))),
    )


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
    blank = vae.blank(4)
    return bayesian(vae, blank, {}, size=rows, rank=rank, prior_scale=prior_scale, scale=scale)


def _check(**numbers: Any) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ArgumentError(f"{name}={number!r}: give a positive integer")


class _Log1p(nn.Module):
    """log(1 + x) of counts."""

    def forward(self, x: Tensor) -> Tensor:
        if x.lt(0).any():
            raise DataError("count_vae takes counts; some of these are below 0")
        return torch.log1p(x)


class _Units(nn.Module):
    """Images divided by their highest level, 255 or 1, which the first image that is not black decides."""

    highest: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("highest", torch.zeros(()))  # 0: not decided yet

    def forward(self, x: Tensor) -> Tensor:
        # In eval mode too: a unit tells nothing about the data but how they are written.
        if not self.highest and x.any():
            self._decide(float(x.min()), float(x.max()))
        return x.to(self.highest.dtype) / self.known()

    def known(self) -> Tensor:
        """The highest level; 1 while there was no image."""
        return torch.where(self.highest > 0, self.highest, 1.0)

    def _decide(self, lowest: float, highest: float) -> None:
        if not (lowest >= 0 and highest <= 255):
            raise DataError(
                f"image_vae takes raw images, levels 0 to 255 or the same divided by 255; these reach from {lowest:g} "
                f"to {highest:g}: undo their normalisation, or build a pv.VAE with another likelihood"
            )
        self.highest.fill_(255.0 if highest > 1 else 1.0)


class _InUnits(Conditional):
    """A discretised logistic in the units of the data."""

    def __init__(self, likelihood: DiscretizedLogistic, units: _Units):
        super().__init__()
        self.likelihood, self.units = likelihood, units

    def forward(self, *given: Tensor) -> Any:
        pixels = self.likelihood(*given)
        base = pixels.base_dist
        levels = DiscretizedLogisticLevels(base.loc, base.scale, base.levels, self.units.known())
        return levels.to_event(len(pixels.event_shape))


class _Columns(nn.Module):
    """Columns less their mean, divided by their scale: those of the first batch met in train mode, or as given."""

    mean: Tensor
    scale: Tensor
    decided: Tensor

    def __init__(self, size: int, mean: Any = None, scale: Any = None):
        super().__init__()
        if (mean is None) != (scale is None):
            raise ArgumentError("vector_vae: mean= and scale= go together: give both or neither")
        self.register_buffer("mean", _column(mean, size, "mean", 0.0))
        self.register_buffer("scale", _column(scale, size, "scale", 1.0))
        self.register_buffer("decided", torch.tensor(mean is not None))
        if not bool((self.scale > 0).all()):
            raise ArgumentError("vector_vae: scale= must be positive")

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 1 or x.shape[-1] != len(self.mean):
            raise DataError(
                f"the pair takes {len(self.mean)} columns, the data have shape {tuple(x.shape)}, so "
                f"{x.shape[-1] if x.dim() else 0} columns"
            )
        # All zeros stand for data where only the shape counts, see VAE.blank.
        if self.training and not self.decided and x.any():
            self._decide(x.detach().reshape(-1, x.shape[-1]).double())
        return (x.to(self.mean.dtype) - self.mean) / self.scale

    def _decide(self, rows: Tensor) -> None:
        mean, spread = rows.mean(0), rows.std(0, correction=0)
        if not bool(torch.isfinite(spread).all()):
            columns = torch.nonzero(~torch.isfinite(spread)).flatten()[:5].tolist()
            raise DataError(f"columns {columns} of the first batch hold NaN, infinity or numbers too large to square")
        # Below this spread a column is constant but for the rounding of float32.
        constant = spread <= 1e-6 * mean.abs()
        spread = torch.where(constant, torch.where(mean == 0, 1.0, mean.abs()), spread)
        self.mean.copy_(mean)
        self.scale.copy_(spread)
        self.decided.fill_(True)


class _InColumns(Conditional):
    """A normal of standardised columns, as the normal of the raw ones."""

    def __init__(self, likelihood: Normal, columns: _Columns):
        super().__init__()
        self.likelihood, self.columns = likelihood, columns

    def forward(self, *given: Tensor) -> Any:
        base, columns = self.likelihood(*given).base_dist, self.columns
        return dist.Normal(columns.mean + columns.scale * base.loc, columns.scale * base.scale).to_event(1)


class _AtLevel(Conditional):
    """A negative binomial whose means are counted from the level of the columns."""

    def __init__(self, likelihood: NegativeBinomial, columns: _Columns):
        super().__init__()
        self.likelihood, self.columns = likelihood, columns

    def forward(self, *given: Tensor) -> Any:
        base = self.likelihood(*given).base_dist
        return dist.NegativeBinomial(base.total_count, logits=base.logits + self.columns.mean).to_event(1)


def _column(value: Any, size: int, name: str, default: float) -> Tensor:
    numbers = torch.as_tensor(np.asarray(default if value is None else value, dtype=np.float64))
    if numbers.dim() > 1 or numbers.numel() not in (1, size) or not bool(torch.isfinite(numbers).all()):
        raise ArgumentError(f"vector_vae: {name}= takes a finite number, or one for each of the {size} columns")
    return numbers.to(torch.get_default_dtype()).expand(size).clone()
