"""The total correlation of the aggregate posterior as a penalty, around any pair, from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.objectives.particles import frame_of
from pyrovae.objectives.penalised import Draw, Draws, Penalised, depends_on
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair

_JOINT_NORMALS = (torch.distributions.MultivariateNormal, torch.distributions.LowRankMultivariateNormal)


def total_correlation(
    pair: HasPair,
    weight: float,
    *,
    rows: int,
    sites: Sequence[str] | None = None,
    stratified: bool = True,
    data_plate: str | None = None,
) -> Penalised:
    r"""Punish latent dimensions that depend on each other over the data set: the beta-TC-VAE.

    The loss grows by `weight * KL(q(z) || prod_d q(z_d))` per datum, where `q(z) = mean_n q(z | x_n)`; the paper's
    beta is `1 + weight`. Each `q` at a draw of row `i` is a weighted sum over the `M` rows of the batch: stratified,
    row `i` counts `1 / N` and each other one `(N - 1) / (N (M - 1))`, which has no bias in `q` (its logarithm has
    one that falls with M); minibatch-weighted, each counts `1 / (N M)`. A batch of one row adds nothing. Figures
    never see it, and `temper` leaves it alone.

    Args:
        pair: any pair with continuous latent sites of each row.
        weight: of the total correlation, 0 at least.
        rows: the number of rows of the data set, N; `fit` checks it.
        sites: the sites whose dimensions are meant, all of them together; left out, every continuous one.
        stratified: the weights of the rows; False: minibatch-weighted.
        data_plate: the plate of the data, where several hold all observed sites and have the batch's length.

    Returns:
        A pair.

    Raises:
        ArgumentError: at once for a bad number; at the first call for sites that have no density of each dimension
            in closed form, that depend on other draws, or have one dimension in all.

    References:
        Chen et al., "Isolating sources of disentanglement in variational autoencoders" (2018).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> x = torch.randn(64, 5)
        >>> run = pv.fit(pv.total_correlation(vae, 5.0, rows=64), x, steps=3, batch_size=16, progress=False)
    """
    term = TotalCorrelation(check_count("rows", rows, where="total_correlation: "), bool(stratified))
    return Penalised(pair, weight, term, sites, data_plate)


@dataclass(frozen=True)
class TotalCorrelation:
    """The settings of `total_correlation`, and its estimate."""

    rows: int
    stratified: bool
    name: ClassVar[str] = "total_correlation"

    def check_rows(self, rows: int | None) -> None:
        """Compare the number of rows with that of the data."""
        if rows is not None and rows != self.rows:
            raise ArgumentError(
                f"total_correlation was told rows={self.rows:,}, and the data have {rows:,}. Give rows={rows}: the "
                "aggregate posterior is that of the whole data set."
            )

    def value(self, names: Sequence[str], posterior: Draws, prior: Draws, plate: str, *, named: bool) -> Tensor:
        """The total correlation of the named sites' dimensions, estimated from a batch."""
        for name in names:
            parent = depends_on(posterior[name], posterior, plate)
            if parent is not None:
                raise ArgumentError(
                    f"total_correlation: the guide draws {name!r} given {parent!r}, so that it has no density of a row "
                    "in closed form. Name sites that are drawn from the data alone: sites=[...]."
                )
        log_q = torch.cat([_pairwise(name, posterior[name], plate) for name in names], -1)
        size, _, dims = log_q.shape
        if dims < 2:
            raise ArgumentError(
                f"total_correlation: {', '.join(map(repr, names))} has one dimension, which correlates with nothing."
            )
        if size < 2:
            return log_q.sum() * 0.0
        if size > self.rows:
            raise ArgumentError(
                f"total_correlation was told rows={self.rows:,}, and a batch has {size:,}; rows is the number of rows "
                "of the whole data set."
            )
        weights = self._log_weights(size).to(log_q)
        joint = (log_q.sum(-1) + weights).logsumexp(1)
        each = (log_q + weights.unsqueeze(-1)).logsumexp(1)
        return (joint - each.sum(-1)).mean()

    def _log_weights(self, size: int) -> Tensor:
        """log weights of the batch's rows, by column, in the sum that stands for `q` at each row's draw."""
        if not self.stratified:
            return torch.full((size, size), -math.log(self.rows * size))
        others = torch.full((size, size), math.log(max(self.rows - 1, 1) / (self.rows * (size - 1))))
        return others.fill_diagonal_(-math.log(self.rows))


def _pairwise(name: str, draw: Draw, plate: str) -> Tensor:
    """`log q(z_id | x_j)`: (rows i, rows j, dimensions d)."""
    each = _each_dimension(name, draw.fn)
    shape = draw.fn.batch_shape + draw.fn.event_shape
    axis = len(draw.fn.batch_shape) + frame_of(draw._asdict(), plate).dim
    value = draw.value.expand(shape).movedim(axis, 0).unsqueeze(axis + 1)
    log_prob = each.expand(shape).log_prob(value)
    return log_prob.movedim(axis + 1, 1).flatten(2) if log_prob.ndim > 2 else log_prob.unsqueeze(-1)


def _each_dimension(name: str, fn: Any) -> Any:
    """The distribution of every dimension by itself."""
    base = base_of(fn)
    if isinstance(base, _JOINT_NORMALS):
        base = dist.Normal(base.mean, base.variance.sqrt())
    if base.event_shape or type(base).__name__ == "Delta":
        raise ArgumentError(
            f"total_correlation: {type(base).__name__} at site {name!r} has no density of each dimension in closed "
            "form. Draw it in the guide from a Normal or another family of independent dimensions, or a "
            "MultivariateNormal, or name other sites: sites=[...]."
        )
    return base
