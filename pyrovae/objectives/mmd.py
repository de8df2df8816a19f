"""The discrepancy between aggregate posterior and prior as a penalty, around any pair, from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.objectives.particles import frame_of
from pyrovae.objectives.penalised import Draw, Draws, Penalised, depends_on
from pyrovae.pairs.numbers import check_positive
from pyrovae.pairs.pair import HasPair


def mmd(
    pair: HasPair,
    weight: float,
    *,
    sites: Sequence[str] | None = None,
    bandwidth: float | None = None,
    data_plate: str | None = None,
) -> Penalised:
    r"""Punish the maximum mean discrepancy between aggregate posterior and prior: the InfoVAE.

    The loss grows by `weight * MMD^2` per datum, `MMD^2 = E k(z, z') + E k(p, p') - 2 E k(z, p)` for draws `z` of
    the batch's rows and as many draws `p` of the prior, pairs of one draw with itself left out, so that it has no
    bias. The kernel is `k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))`. With `temper=1 - alpha` and
    `weight=alpha + lambda - 1` it is the paper's loss; with `temper=0` a Wasserstein autoencoder. Figures never see
    it, and `temper` leaves it alone.

    Args:
        pair: any pair with continuous latent sites of each row.
        weight: of the discrepancy, 0 at least. MMD^2 is below 2, the rate some nats: hundreds are usual.
        sites: the sites whose values are compared, side by side; left out, every continuous one that the model
            draws without another one before it.
        bandwidth: of the kernel; left out, the square root of the number of dimensions.
        data_plate: the plate of the data, where several hold all observed sites and have the batch's length.

    Returns:
        A pair.

    Raises:
        ArgumentError: at once for a bad number; at the first call for sites that are discrete, masked, or whose prior
            depends on another latent site.

    References:
        Zhao et al., "InfoVAE: balancing learning and inference in variational autoencoders" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> x = torch.randn(64, 5)
        >>> run = pv.fit(pv.mmd(vae, 100.0), x, steps=3, batch_size=16, temper=0.0, progress=False)
    """
    width = None if bandwidth is None else check_positive("bandwidth", bandwidth, where="mmd: ")
    return Penalised(pair, weight, MeanDiscrepancy(width), sites, data_plate)


@dataclass(frozen=True)
class MeanDiscrepancy:
    """The settings of `mmd`, and its estimate."""

    bandwidth: float | None
    name: ClassVar[str] = "mmd"

    def check_rows(self, rows: int | None) -> None:
        """Nothing here depends on how many rows the data have."""

    def value(self, names: Sequence[str], posterior: Draws, prior: Draws, plate: str, *, named: bool) -> Tensor:
        """The squared discrepancy, estimated from a batch and as many draws of the prior."""
        parents = {name: depends_on(prior[name], prior, plate) for name in names}
        tops = [name for name in names if parents[name] is None]
        if not tops or (named and len(tops) < len(names)):
            below = next(name for name in names if parents[name] is not None)
            raise ArgumentError(
                f"mmd: the model draws {below!r} given {parents[below]!r}, so that its prior is not that of one draw. "
                "Name sites that the model draws first: sites=[...]."
            )
        drawn = torch.cat([_flat(posterior[name].value, posterior[name], plate) for name in tops], 1)
        if len(drawn) < 2:
            return drawn.sum() * 0.0
        fresh = torch.cat([_flat(_prior_draw(prior[name].fn), prior[name], plate) for name in tops], 1)
        width = self.bandwidth or drawn.shape[1] ** 0.5
        return _within(drawn, width) + _within(fresh, width) - 2 * _kernel(drawn, fresh, width).mean()


def _prior_draw(fn) -> Tensor:
    return fn.rsample() if fn.has_rsample else fn.sample()


def _flat(value: Tensor, draw: Draw, plate: str) -> Tensor:
    """One row for each datum."""
    shape = draw.fn.batch_shape + draw.fn.event_shape
    axis = len(draw.fn.batch_shape) + frame_of(draw._asdict(), plate).dim
    return value.expand(shape).movedim(axis, 0).reshape(shape[axis], -1)


def _kernel(one: Tensor, other: Tensor, width: float) -> Tensor:
    apart = (one.unsqueeze(1) - other.unsqueeze(0)).square().sum(-1)
    return torch.exp(-apart / (2 * width**2))


def _within(draws: Tensor, width: float) -> Tensor:
    """The mean of the kernel over pairs of different draws."""
    count = len(draws)
    return (_kernel(draws, draws, width).sum() - count) / (count * (count - 1))
