"""Rate against distortion as the weight of the rate moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, NamedTuple, Unpack

from pyrovae.data.rows_of_frames import as_arguments
from pyrovae.errors import ArgumentError
from pyrovae.evaluation.rate_distortion import RateDistortion, rate_distortion
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.distortion_over_rate import plot_distortion_over_rate
from pyrovae.training.fit_options import StudyKeywords
from pyrovae.training.studies.separate_runs import check_options, trained

_WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0)


class RateDistortionCurve(NamedTuple):
    """For each weight, rate and distortion of the pair that was trained with it.

    Examples:
        >>> point = RateDistortion(elbo=-5.0, rate=2.0, distortion=3.0, error=0.1)
        >>> RateDistortionCurve((1.0,), (point,)).points[0].rate
        2.0
    """

    weights: tuple[float, ...]
    points: tuple[RateDistortion, ...]

    def plot(self) -> Any:
        """Draw distortion over rate, each point with its weight; lines of equal ELBO behind.

        Returns:
            A matplotlib `Figure`.
        """
        rates, distortions = ([getattr(point, name) for point in self.points] for name in ("rate", "distortion"))
        return plot_distortion_over_rate(self.weights, rates, distortions)


@in_turn
def rate_distortion_curve(
    make: Callable[[], HasPair],
    data: Any,
    weights: Iterable[float] = _WEIGHTS,
    *,
    held_out: Any = None,
    draws: int = 1,
    seed: int = 0,
    **options: Unpack[StudyKeywords],
) -> RateDistortionCurve:
    r"""Train a pair anew for each weight of the rate, and measure rate and distortion.

    Each point minimises \( D + \beta R \), so that the curve has slope \( -\beta \) there: large weights give short
    codes, small ones faithful reconstructions.

    Args:
        make: returns a new pair.
        data: arrays as `fit` takes them.
        weights: the weights.
        held_out: data to measure on; left out, the training data.
        draws: for each datum.
        seed: of weights, order and draws, the same at each point.
        **options: of `fit`: epochs, batch_size, learning_rate, ...

    Returns:
        A `RateDistortionCurve`, by rising weight.

    References:
        Alemi et al., "Fixing a broken ELBO" (2018).

    Examples:
        >>> import torch, pyrovae as pv
        >>> def make():
        ...     likelihood = pv.Normal(pv.MLP(1, [], 4), scale=1.0)
        ...     return pv.VAE(pv.StandardNormal(1), likelihood, pv.DiagNormal(pv.MLP(4, [], 2)))
        >>> curve = pv.rate_distortion_curve(make, 3 * torch.randn(60, 4), [0.1, 10.0], epochs=1)
        >>> len(curve.points)
        2
    """
    check_options(options, "temper")
    chosen = tuple(weights)
    if not chosen or not all(isinstance(weight, Real) and 0 <= weight < float("inf") for weight in chosen):
        raise ArgumentError(f"weights={list(chosen)}; give numbers of 0 or more.")
    chosen = tuple(sorted(map(float, chosen)))
    args, named = as_arguments(data if held_out is None else held_out)
    seed, points = chosen_seed(seed), []
    for weight in chosen:
        weighted: StudyKeywords = {**options, "temper": weight}
        with trained(make, data, seed=seed, **weighted) as run:
            points.append(rate_distortion(run.pair, *args, draws=draws, seed=seed, **named))
    return RateDistortionCurve(chosen, tuple(points))
