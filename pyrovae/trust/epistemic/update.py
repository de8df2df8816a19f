"""Learning from new data alone."""

from __future__ import annotations

from typing import Any, Unpack

from pyrovae.data.rows_of_frames import as_arguments
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.training.fit import fit
from pyrovae.training.fit_options import UpdateKeywords
from pyrovae.training.fit_result import Fit
from pyrovae.trust.epistemic.carry_over import carry_over


@in_turn
def update(
    pair: HasPair,
    data: Any,
    /,
    *,
    size: int | None = None,
    data_plate: str | None = None,
    **options: Unpack[UpdateKeywords],
) -> Fit:
    r"""Learn from new data alone: what the pair knows of its global sites becomes their prior.

    \[ p(w \mid x_{\text{old}}, x_{\text{new}}) \propto p(w \mid x_{\text{old}})\, p(x_{\text{new}} \mid w) \]

    Args:
        pair: a trained pair with global sites; its parameters are trained on, in place.
        data: the new data, as in `fit`.
        size: their number of rows, where they have no length.
        data_plate: the name of the plate that holds the data, where several follow the batch.
        **options: those of `fit`.

    Returns:
        A `Fit` whose `.pair` has the former posterior as its prior; update that one the next time.

    References:
        Nguyen et al., "Variational continual learning" (2018).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> pair, rate = truth.trainable(), pv.cosine(0.05, 0.0, steps=400)
        >>> first = pv.fit(pair, torch.tensor([3.0, 5.0]), steps=400, learning_rate=rate, seed=0, progress=False)
        >>> second = pv.update(first.pair, torch.tensor([9.0]), steps=400, learning_rate=rate, seed=0, progress=False)
        >>> found, exact = pair.guide.posterior(), truth.posterior(torch.tensor([3.0, 5.0, 9.0]))
        >>> bool((found.mean - exact.mean).abs() < 0.3 * exact.stddev)
        True
    """
    args, named = as_arguments(data)
    return fit(
        carry_over(pair, *args, size=size, data_plate=data_plate, **named), data, data_plate=data_plate, **options
    )
