"""Figures of a pair on data: rate and distortion, and how many latent dimensions are used."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch

from pyrovae.batches import Batch, as_batches
from pyrovae.errors import ArgumentError
from pyrovae.handlers import Recorded, fix_data_plate
from pyrovae.isolation import forked_prototypes, isolated, module_modes
from pyrovae.objectives import Loss, loss_alone, own_loss
from pyrovae.pairs import HasPair, Structure, batch_rows, bound_modules, inspect, run
from pyrovae.placement import Placement, placed


class RateDistortion(NamedTuple):
    """`elbo = -(rate + distortion)` in nats per datum, averaged over the data; `error` is the ELBO's standard error.

    Example:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.rate_distortion(vae, torch.randn(64, 5))._fields
        ('elbo', 'rate', 'distortion', 'error')
    """

    elbo: float
    rate: float
    distortion: float
    error: float


class ActiveUnits(NamedTuple):
    """How many dimensions of a latent site depend on the data, of how many, and each dimension's share.

    `shares` holds the variance over the data of the posterior mean, divided by the prior's variance.

    Example:
        >>> import pyrovae as pv
        >>> pv.evaluation.ActiveUnits(count=1, total=2, shares=torch.tensor([0.5, 0.0])).count
        1
    """

    count: int
    total: int
    shares: torch.Tensor


def rate_distortion(
    pair: HasPair, *data: Any, draws: int = 1, seed: int | None = 0, batch_size: int = 256, **named: Any
) -> RateDistortion:
    """Average rate, distortion and ELBO of a pair on data, in eval mode, without temper.

    `rate = E_q[log q(z|x) - log p(z)]`, `distortion = -E_q[log p(x|z)]`, each with `draws` draws a datum.

    Args:
        pair: any pair.
        *data: the arguments of model and guide: tensors or arrays of N rows.
        draws: draws from the guide for each datum.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        batch_size: rows worked on at a time.
        **named: keyword arguments of model and guide.

    Returns:
        A `RateDistortion` of floats.

    References:
        Alemi et al., "Fixing a broken ELBO" (2018).

    Example:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> figures = pv.rate_distortion(vae, torch.randn(64, 5), draws=10)
        >>> abs(figures.elbo + figures.rate + figures.distortion) < 1e-5
        True
    """
    if draws < 1:
        raise ArgumentError(f"draws={draws}; give at least 1.")
    batches = as_batches(named or data, batch_size=batch_size)
    first = batches.first(8)
    place = placed(pair, *first)
    structure = inspect(pair, *place.place(*first))
    loss = own_loss(None, structure)
    return measure(pair, batches.in_order(batch_size), place, loss, structure, draws=draws, seed=seed)


def measure(
    pair: HasPair,
    batches: Iterable[Batch],
    place: Placement,
    loss: Loss,
    structure: Structure,
    *,
    draws: int = 1,
    seed: int | None = 0,
) -> RateDistortion:
    """Run a loss over batches in eval mode, isolated, and average what a recorder reads off it."""
    recorded = Recorded(fix_data_plate(pair, structure.data_plate), data_plate=structure.data_plate)
    sums, squares, rows, parts = torch.zeros(3, dtype=torch.float64), 0.0, 0, 0
    with ExitStack() as stack:
        stack.enter_context(isolated(seed))
        modules = {id(m): m for m in (*bound_modules(pair), *structure.modules.values())}
        stack.enter_context(forked_prototypes(list(modules.values())))
        stack.enter_context(module_modes(list(modules.values()), training=False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # a loss that is not finite is in the figures; it was warned of in training
        for batch in batches:
            args, kwargs = place.place(batch.args, batch.kwargs)
            length = batch_rows(args, kwargs) or 1
            for _ in range(draws):
                loss_alone(loss, recorded, args, kwargs)
            figures = recorded.figures()
            value = torch.stack([torch.as_tensor(f, dtype=torch.float64).cpu() for f in figures])
            sums += length * value
            squares += length * float(value[0]) ** 2
            rows, parts = rows + length, parts + 1
    elbo, rate, distortion = (sums / max(rows, 1)).tolist()
    spread = max(squares / max(rows, 1) - elbo**2, 0.0)
    return RateDistortion(elbo, rate, distortion, math.sqrt(spread / (parts - 1)) if parts > 1 else math.nan)


def active_units(pair: HasPair, *data: Any, threshold: float = 0.01, **named: Any) -> dict[str, ActiveUnits]:
    """Count the latent dimensions that the data move.

    `A_d = Var_x(E_q[z_d | x]) / Var_p(z_d)`; a dimension is active where `A_d > threshold`.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        threshold: the share of the prior's variance from which a dimension counts.
        **named: keyword arguments of model and guide.

    Returns:
        For each local latent site whose guide has a mean (and that is not discrete), an `ActiveUnits`.

    References:
        Burda et al., "Importance weighted autoencoders" (2016), section 3.

    Example:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.active_units(vae, torch.randn(64, 5))["z"].total
        2
    """
    batches = as_batches(named or data)
    batch = batches.first(batches.rows)
    place = placed(pair, *batches.first(8))
    args, kwargs = place.place(*batch)
    structure = inspect(pair, *place.place(*batches.first(8)))
    modules = list({id(m): m for m in (*bound_modules(pair), *structure.modules.values())}.values())
    fixed = fix_data_plate(pair, structure.data_plate)
    with isolated(0), forked_prototypes(modules), module_modes(modules, training=False), torch.no_grad():
        traces = run(fixed, args, kwargs)
    found = {}
    for site in structure.named("latent", local=True):
        units = _active(traces.guide.nodes[site]["fn"], traces.model.nodes[site]["fn"], threshold)
        if units is not None:
            found[site] = units
    return found


def _active(posterior: Any, prior: Any, threshold: float) -> ActiveUnits | None:
    try:
        mean, variance = posterior.mean, torch.as_tensor(prior.variance)
    except (NotImplementedError, AttributeError):
        return None
    if getattr(posterior.support, "is_discrete", False) or not bool(torch.isfinite(variance).all()):
        return None
    event = max(len(posterior.event_shape), 0)
    flat = mean.reshape(-1, posterior.event_shape.numel())
    if len(flat) < 2:
        return None
    scale = variance.reshape(-1, posterior.event_shape.numel()).mean(0) if event or variance.ndim else variance
    shares = (flat.var(0) / scale).cpu()
    return ActiveUnits(int((shares > threshold).sum()), flat.shape[-1], shares)


