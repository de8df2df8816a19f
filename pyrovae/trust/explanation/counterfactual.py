"""The nearest datum of which a pair says something else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.data.rows_of_frames import as_arguments
from pyrovae.data.whole_leaves import whole_leaves
from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.pairs.numbers import check_count, check_share
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.scoring import scorers
from pyrovae.sampling.use import arguments
from pyrovae.trust.conformal import NoveltyScore
from pyrovae.trust.explanation.counterfactual_search import (
    Condition,
    Manifold,
    check_has_mean,
    distances,
    nearest,
    rounded,
)
from pyrovae.trust.explanation.explained_figures import figure_of
from pyrovae.trust.explanation.observed_leaf import observed_leaf
from pyrovae.trust.explanation.predictive_spread import predictive_spread
from pyrovae.trust.explanation.row_leaves import key_of, reference_rows, spread


class Counterfactual(NamedTuple):
    """For each row the nearest datum on the manifold that meets what was asked for.

    Attributes:
        data: (rows, *shape of a row).
        change: data - the rows as they were given.
        distance: root mean square of the change over cells, each in units of its scale, (rows,).
        p_value: of the data by the evidence score of `novelty`, (rows,).
        met: whether all that was asked for is met, (rows,); where it is not, `data` is the last try.
        toward: what was asked for.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> found = pv.counterfactual(truth, torch.tensor([[0.5, 0.5, 9.0]]), calibration=truth.sample(99), steps=20)
        >>> found.data.shape, bool(found.met)
        (torch.Size([1, 3]), True)
    """

    data: Tensor
    change: Tensor
    distance: Tensor
    p_value: Tensor
    met: Tensor
    toward: str

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


@in_turn
def counterfactual(
    pair: HasPair,
    /,
    *data: Any,
    calibration: Any,
    toward: str | Callable[[Tensor], Tensor] = "usual",
    alpha: float = 0.05,
    scale: Any = None,
    cells_of: int | str | None = None,
    steps: int = 200,
    draws: int = 16,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Counterfactual:
    r"""The nearest datum on a pair's manifold that is usual, or certain, or of another class.

    \[ \min_z \; d\big(x, x'(z)\big) \quad \text{with} \quad g\big(x'(z)\big) \ge 0, \quad p\big(x'(z)\big) \ge \alpha,
    \qquad x'(z) = \operatorname E[x \mid z] \]

    with d the root mean square over cells, each in units of its `scale`, p the conformal p-value of
    the evidence among them, and g what is asked for. z starts at the guide's mean and moves by gradients; whole numbers
    are rounded. So x' is a datum without noise.

    Args:
        pair: any pair whose guide's local sites are continuous.
        *data: the arguments of model and guide, N rows.
        calibration: data of the usual kind that were not trained on, in the form of the data.
        toward: "usual" (nothing beyond the p-value), "certain" (its predictive variance, in units of the columns, is at
            most the median of that of the calibration data), or a function of data, (rows, *shape) -> (rows,), that is
            0 or more where they are as wanted and has gradients: a classifier's margin.
        alpha: the p-value that has to be kept.
        scale: in what changes of a cell are counted, a number or one for each cell of a row; left out, the standard
            deviations of the calibration data. 1.0 for pixels, of which some hardly ever vary.
        cells_of: the argument that is changed, by place or name; left out, the first.
        steps: of the search.
        draws: of the guide for each figure.
        seed: of all draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        A `Counterfactual`.

    Raises:
        ArgumentError: a local site of the guide is discrete.
        PairError: the argument is none that a site observes as it is.

    References:
        Wachter, Mittelstadt and Russell, "Counterfactual explanations without opening the black box" (2017); Joshi et
        al., "Towards realistic individual recourse and actionable explanations in black-box decision making systems"
        (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> found = pv.counterfactual(
        ...     truth, torch.zeros(1, 3), calibration=truth.sample(99), toward=lambda x: x.mean(1) - 1.0
        ... )
        >>> [round(one) for one in found.data[0].tolist()]
        [1, 1, 1]
    """
    steps, draws, alpha = check_count("steps", steps), check_count("draws", draws), check_share("alpha", alpha)
    leaves = whole_leaves(arguments(pair, data, named))
    key = key_of(leaves, cells_of)
    usual_leaves = whole_leaves(arguments(pair, *as_arguments(calibration)))
    usual = reference_rows(pair, calibration, key, leaves[key])
    sampler = Sampler.of(pair, *spread(leaves), seed=seed, data_plate=data_plate)
    among = Sampler.of(pair, *spread(usual_leaves), seed=sampler.seed, data_plate=data_plate)
    site, units = observed_leaf(sampler, key), _units(scale, usual)
    check_has_mean(sampler, site)
    lawful = _lawful(pair, sampler, site)
    evidence = figure_of("evidence", sampler, draws).values
    own = evidence(among).double()
    conditions = [_usual(evidence, own, alpha), *_asked(toward, site, key, units, among, draws)]
    parts = [nearest(Manifold(sampler, one, key, site, lawful), conditions, units, steps) for one in scorers(sampler)]
    found, met = (torch.cat(part) for part in zip(*parts, strict=True))
    score = -evidence(sampler.on({**leaves, key: found}))
    p_value = NoveltyScore.of(score, -own).p_value
    name = toward if isinstance(toward, str) else getattr(toward, "__name__", "function")
    return Counterfactual(
        found, found - leaves[key], distances(found, leaves[key], units), p_value, met & (p_value >= alpha), name
    )


def _units(scale: Any, usual: Tensor) -> Tensor:
    if scale is None:
        return deviations(usual)
    try:
        units = torch.as_tensor(scale, dtype=torch.float64).expand(usual.shape[1:])
    except (TypeError, ValueError, RuntimeError):
        units = torch.zeros(())
    if not bool((units > 0).all()):
        raise ArgumentError(
            f"counterfactual: {argument('scale', scale)}; give a number above 0, or one for each cell of a row, "
            f"{tuple(usual.shape[1:])}."
        )
    return units


def deviations(rows: Tensor) -> Tensor:
    """The standard deviation of each cell; of one that hardly varies a hundredth of what they vary on average."""
    rows = rows.double()
    seen = ~rows.isnan()
    mean = rows.nanmean(0)
    spread = (torch.where(seen, rows - mean, 0.0).square().sum(0) / seen.sum(0).clamp(min=1)).sqrt()
    least = 0.01 * float(spread.mean())
    if not least > 1e-9 * float(rows.abs().nan_to_num().mean()):
        raise DataError("counterfactual: the calibration data are all the same row, so that no distance has a unit.")
    return spread.clamp(min=least)


def _lawful(pair: HasPair, sampler: Sampler, site: str) -> Callable[[Tensor], Tensor]:
    schema: Any = schema_of(pair)
    if schema is None:
        return rounded(sampler, site)
    return lambda rows: schema.encode(schema.decode(rows.detach(), nearest=True)).to(rows)


def _usual(evidence: Callable[[Sampler], Tensor], own: Tensor, alpha: float) -> Condition:
    """p >= alpha: so many of the calibration data, or more, have no more evidence than the datum."""
    needed = math.ceil(alpha * (len(own) + 1) - 1 - 1e-9)
    if needed < 1:  # so few calibration data that nothing is ever flagged
        raise DataError(
            f"counterfactual: {len(own)} calibration data cannot give a p-value below {argument('alpha', alpha)}; give "
            f"{math.floor(1 / alpha + 1e-9)} at least."
        )
    border = own.sort().values[needed - 1]
    return Condition(lambda here: evidence(here).double() - border - 1e-6, own.std())


def _asked(toward: Any, site: str, key: Any, scale: Tensor, among: Sampler, draws: int) -> list[Condition]:
    if not isinstance(toward, str) and callable(toward):
        wanted: Any = toward
        return [Condition(lambda here: _margin(wanted, here, key), _unit(_margin(wanted, among, key)))]
    if toward == "certain":
        own = predictive_spread(among, site, scale, draws)
        border = own.median() * (1 + 1e-6)  # where all are equally certain, rounding decides nothing
        return [Condition(lambda here: border - predictive_spread(here, site, scale, draws), _unit(own))]
    if toward != "usual":
        raise ArgumentError(
            f"counterfactual: {argument('toward', toward)}; give 'usual', 'certain', or a function of data that is 0 "
            "or more where they are as wanted."
        )
    return []


def _unit(margins: Tensor) -> Tensor:
    return margins.double().std().clamp(min=1e-12)


def _margin(function: Callable[[Tensor], Tensor], here: Sampler, key: Any) -> Tensor:
    rows = torch.as_tensor(here.use.batches.leaves()[key])
    found = function(rows)
    if not isinstance(found, Tensor) or found.shape != (len(rows),):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ArgumentError(
            f"counterfactual: the function {argument('toward')} gave {shape}; it is given data, {tuple(rows.shape)}, "
            f"and has to give one number for each row, a tensor of shape ({len(rows)},)."
        )
    if here.use.gradients and not found.requires_grad:
        raise ArgumentError(
            f"counterfactual: the function {argument('toward')} loses the gradient of its data; compute with torch "
            "alone, without .detach(), .numpy() or torch.no_grad()."
        )
    return found
