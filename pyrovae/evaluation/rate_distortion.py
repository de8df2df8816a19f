"""Rate, distortion and ELBO of a pair, averaged over data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches, as_batches, tile_size
from pyrovae.data.placement import Placement
from pyrovae.errors import DataError, PairError, PyrovaeError
from pyrovae.evaluation.estimate import Mean
from pyrovae.evaluation.per_datum import check_common_densities, check_local_densities
from pyrovae.objectives.losses import Loss, is_of_several_draws, loss_alone, own_loss
from pyrovae.objectives.record import Recorded
from pyrovae.pairs.fixed_plate import FixedPlate
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.masks import mask_of, one_sided_words, same_elements
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, for_figures
from pyrovae.pairs.seeds import check_seed
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import run, samples
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.first_look import UncutError
from pyrovae.sampling.observed_together import observed_together
from pyrovae.sampling.programs import WholePlate
from pyrovae.sampling.runs import plate_scale
from pyrovae.sampling.use import Use, arguments

_ROWS = 256  # worked on at a time

_BATCHES = 8  # by which the error of their mean is known to a quarter


class RateDistortion(NamedTuple):
    """`elbo = -(rate + distortion)` in nats per datum, averaged over the data; `error` is the ELBO's standard error.

    The error is that of the batches' means: NaN where all data are one batch.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.rate_distortion(vae, torch.randn(64, 5))._fields
        ('elbo', 'rate', 'distortion', 'error')
    """

    elbo: float
    rate: float
    distortion: float
    error: float


@in_turn
def rate_distortion(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = 1,
    seed: int | None = 0,
    batch_size: int | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> RateDistortion:
    """Average rate, distortion and ELBO of a pair on data, in eval mode, without temper.

    `rate = E_q[log q(z|x) - log p(z)]`, `distortion = -E_q[log p(x|z)]`, each with `draws` draws a datum.

    Args:
        pair: any pair.
        *data: the arguments of model and guide: tensors or arrays of N rows.
        draws: draws from the guide for each datum.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        batch_size: rows worked on at a time. Left out, 256; and of few rows an eighth, so that they tell the error,
            where they have nothing in common (a global site, or rows that move with each other).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        A `RateDistortion` of floats.

    References:
        Alemi et al., "Fixing a broken ELBO" (2018).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> figures = pv.rate_distortion(vae, torch.randn(64, 5), draws=10)
        >>> abs(figures.elbo + figures.rate + figures.distortion) < 1e-5
        True
    """
    draws, seed = check_count("draws", draws), check_seed(seed)
    pair = for_figures(pair)
    given = arguments(pair, data, named)
    batches = as_batches(given, batch_size=tile_size(given, _ROWS if batch_size is None else batch_size))
    parted = _parted(pair, given, batches, data_plate) if batch_size is None else None
    try:
        use = parted or Use.of(pair, batches, data_plate=data_plate, ordered=False)
        batches = use.batches
    except (PairError, UncutError):
        if not batches.random_access or batches.batches_per_epoch == 1:
            raise
        batches = as_batches(given, batch_size=batches.rows)
        use = Use.of(pair, batches, data_plate=data_plate)
    check_local_densities(use)
    check_common_densities(use)
    use.tell_of_other_rows()
    use.tell_of_other_units()
    several = batches.batches_per_epoch != 1
    charged = _charged_in_each_batch(use) if several else []
    if charged and not batches.random_access:
        raise PairError(
            f"{charged[0]!r} belongs to all rows, and the plate of the data is as long as the batch, so that its rate "
            "would count once in each batch of these data. Give arrays, or say in the model how many rows there are: "
            "pyro.plate(name, size=N, subsample_size=len(x))."
        )
    if several and batches.random_access and (charged or not (parted or _runs_on_a_part(use)) or _ties_its_rows(use)):
        batches = as_batches(given, batch_size=batches.rows)
    loss = own_loss(None, use.structure)
    # Shuffled, so that batches differ by chance alone, and their spread tells the error of the average.
    shuffled = batches.epoch(0) if batches.random_access else batches.in_order()
    with use.blaming_holes():
        figures = measure(pair, shuffled, use.placement, loss, use.structure, draws=draws, seed=seed).figures
    if not math.isfinite(figures.distortion) and (words := use.outside_words()):
        raise DataError(words)
    return figures


def _parted(pair: HasPair, given: Any, whole: Batches, data_plate: str | None) -> Use | None:
    """Few rows as several batches, where they have nothing in common: so the average has an error."""
    rows = whole.rows or 0
    if not whole.random_access or not 2 * _BATCHES <= rows <= (_BATCHES - 1) * _ROWS:
        return None
    parts = as_batches(given, batch_size=math.ceil(rows / _BATCHES))
    try:
        use = Use.of(pair, parts, data_plate=data_plate, ordered=False)
        alone = all(site.local for site in use.structure.sites.values()) and not use.moving_with_others.found
    except (PyrovaeError, UncutError):
        return None  # said, if it is so, of all rows
    return use if alone and _runs_on_a_part(use) else None


def _charged_in_each_batch(use: Use) -> list[str]:
    """Sites that all rows share, where no size of the plate says what part of their rate a batch bears."""
    nodes = [node for _, node in samples(use.posterior_run.model)]
    scaled = any(plate_scale(node, use.structure.data_plate) != 1 for node in nodes)
    return [] if scaled else use.structure.named("latent", local=False)


def _runs_on_a_part(use: Use) -> bool:
    """Not so where the size of all rows is written into the plate of the data."""
    batch = use.first(None)
    with use.quietly():
        try:
            run(FixedPlate(use.pair, use.structure.data_plate), batch.args, batch.kwargs)
        except Exception:
            return False  # the author's code stops on a part of his rows in any way it likes
    return True


def _ties_its_rows(use: Use) -> bool:
    whole, batch = WholePlate(use.pair, use.structure.data_plate, follows=False), use.first(None)
    whole.turn_to(batch)
    with use.quietly():
        return bool(observed_together(whole, batch, use.structure))


class Measured(NamedTuple):
    """Figures of data, and the bound per datum that the loss is of: the ELBO, or one of several draws."""

    figures: RateDistortion
    bound: float


def measure(
    pair: HasPair,
    batches: Iterable[Batch],
    place: Placement,
    loss: Loss,
    structure: Structure,
    *,
    draws: int = 1,
    seed: int | None = 0,
) -> Measured:
    """Run a loss over batches in eval mode, isolated, and average what a recorder reads off it."""
    fixed = FixedPlate(pair, structure.data_plate)
    recorded = Recorded(fixed, data_plate=structure.data_plate)
    average, bound = Mean(), 0.0
    several = is_of_several_draws(loss)
    with isolated(seed), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loss that is not finite is in the figures; it was warned of in training
        for batch in batches:
            batch = place.place(batch)
            fixed.index = batch.positions
            length = batch.rows
            losses = [loss_alone(loss, recorded, batch.args, batch.kwargs) for _ in range(draws)]
            _check_masks(recorded)
            if several:
                bound -= length * sum(losses) / draws / recorded.size()
            figures = recorded.figures()
            value = torch.stack([torch.as_tensor(f, dtype=torch.float64).cpu() for f in figures])
            average.add(value[None], length)
    found = average.estimate()
    _, rate, distortion = found.value.expand(3).tolist()
    elbo = -(rate + distortion)  # exactly, whatever the rounding of sums
    error = float(found.error[0]) if average.count > 1 else math.nan
    figures = RateDistortion(elbo, rate, distortion, error)
    return Measured(figures, bound / max(average.weight, 1.0) if several else elbo)


def _check_masks(recorded: Recorded) -> None:
    run = recorded.last_run()
    for name, node in samples(run.guide) if run is not None else ():
        other: Any = run.model.nodes.get(name) if run is not None else None
        if other is not None and not other["is_observed"] and not same_elements(mask_of(node), mask_of(other)):
            raise PairError(one_sided_words(name))
