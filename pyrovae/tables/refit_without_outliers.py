"""A pair trained again without the cells and rows that were found strange."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.tables.found_outliers import FoundOutliers
from pyrovae.tables.outliers import outliers
from pyrovae.training.fit_result import Fit
from pyrovae.training.fit_whole import fit_whole


class Refitted(NamedTuple):
    """What was left out, and how the training without it went.

    Attributes:
        outliers: what was found before the last training.
        frame: what was trained on: holes in the place of strange cells, and no strange rows.
        run: the last training.
    """

    outliers: FoundOutliers
    frame: Any
    run: Fit


def refit_without_outliers(
    pair: HasPair, frame: Any, *, above: float = 0.9, rounds: int = 1, draws: int = 200, seed: int | None = 0,
    **options: Any,
) -> Refitted:  # fmt: skip
    """Find outliers, make holes of them, and train the pair on with what is left; the frame stays as it is.

    Args:
        pair: one that was trained on the frame, and carries its schema; it is trained in place.
        frame: the frame.
        above: the probability from which on a cell or a row is left out.
        rounds: how often: a model that has forgotten some outliers sees others.
        draws: of `outliers`.
        seed: of both.
        **options: those of `fit`, such as `epochs`.

    Returns:
        A `Refitted`.

    Examples:
        >>> import numpy as np, pandas as pd, pyrovae as pv
        >>> x = np.random.default_rng(0).normal(size=200)
        >>> frame = pd.DataFrame({"a": x, "b": x + 0.1, "c": -x})
        >>> frame.loc[7, "b"] = 50.0
        >>> pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[16])
        >>> _ = pv.fit(pair, frame, epochs=3, seed=0, progress=False)
        >>> again = pv.tables.refit_without_outliers(pair, frame, epochs=2, progress=False)
        >>> bool(again.frame["b"].isna()[7])
        True
    """
    check_count("rounds", rounds)
    for _ in range(rounds):
        found = outliers(pair, frame, draws=draws, seed=seed)
        cleaned = found.cleaned(above)
        run = fit_whole(pair, cleaned, seed=seed, **options)
    return Refitted(found, cleaned, run)
