"""A training of which something larger is made."""

from __future__ import annotations

from typing import Any, Unpack

from pyrovae.pairs.pair import HasPair
from pyrovae.training.fit import fit
from pyrovae.training.fit_options import FitKeywords
from pyrovae.training.fit_result import Fit


def fit_whole(pair: HasPair, data: Any, **options: Unpack[FitKeywords]) -> Fit:
    """`fit`, whose Ctrl-C ends what the training is for as well.

    A member of an ensemble or a fold that was stopped on its way would count as one that was trained.

    Raises:
        KeyboardInterrupt: the training was interrupted.
    """
    run = fit(pair, data, **options)
    if run.reason == "interrupted":
        raise KeyboardInterrupt(f"a training was stopped after step {run.step:,}, and what it is for with it")
    return run
