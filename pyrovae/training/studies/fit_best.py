"""Several starts, of which the best goes on."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from pyrovae.errors import ArgumentError
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.training.fit_options import StartKeywords
from pyrovae.training.fit_result import Fit
from pyrovae.training.fit_whole import fit_whole
from pyrovae.training.studies.separate_runs import check_options, made, trained

logger = logging.getLogger("pyrovae")


@in_turn
def fit_best(
    make: Callable[[], HasPair],
    data: Any,
    *,
    restarts: int = 5,
    trial_epochs: int = 1,
    epochs: int,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[StartKeywords],
) -> Fit:
    r"""Train from several starts for a while, and go on with the one of highest ELBO.

    \[ \hat s = \arg\max_{s \le k} \text{ELBO}_s(\text{after } \texttt{trial\_epochs}), \]

    of the validation data where there are any. The run that goes on is the one that `fit` would have made from
    that start alone.

    Args:
        make: returns a new pair.
        data: as `fit` takes it.
        restarts: how many starts, with seeds `seed`, `seed + 1`, ...
        trial_epochs: of each start before the choice.
        epochs: of the best start in all.
        seed: of the first start.
        checkpoint: a folder for the run that goes on.
        progress: show a line for the run that goes on.
        **options: of `fit`.

    Returns:
        The `Fit` of the best start; its `seed` says which.

    Examples:
        >>> import torch, pyrovae as pv
        >>> def make():
        ...     likelihood = pv.Normal(pv.MLP(1, [], 4), scale=1.0)
        ...     return pv.VAE(pv.StandardNormal(1), likelihood, pv.DiagNormal(pv.MLP(4, [], 2)))
        >>> run = pv.fit_best(make, torch.randn(60, 4), restarts=2, epochs=2, progress=False)
        >>> len(run.history)
        2
    """
    check_options(options, "steps")
    restarts, trial_epochs, epochs = check_counts(restarts=restarts, trial_epochs=trial_epochs, epochs=epochs)
    seed = chosen_seed(seed)
    if trial_epochs > epochs:
        raise ArgumentError(f"trial_epochs={trial_epochs!r}; give 1 to the {epochs} epochs of the whole training.")
    with tempfile.TemporaryDirectory(prefix="pyrovae-") as folder:
        bounds = {}
        for start in range(seed, seed + restarts):
            place = Path(folder) / str(start)
            with trained(make, data, seed=start, checkpoint=place, epochs=trial_epochs, **options) as run:
                row = run.history[-1]
                bounds[start] = row.elbo if row.validation_bound is None else row.validation_bound
        best = max(bounds, key=bounds.__getitem__)
        logger.info("starts by bound after %d epochs: %s; %d goes on", trial_epochs, bounds, best)
        return _gone_on(make, data, Path(folder) / str(best), checkpoint, best, epochs, progress, options)


def _gone_on(
    make: Any, data: Any, begun: Path, folder: Any, seed: int, epochs: int, progress: bool, options: StartKeywords
) -> Fit:
    """The run of a start's checkpoint, gone on with in the folder that the user named, or in none."""
    if folder is not None:
        shutil.copytree(begun, folder)
        begun = Path(folder)
    with forked_random(seed):
        pair = made(make)
    run = fit_whole(pair, data, epochs=epochs, seed=seed, checkpoint=begun, resume=True, progress=progress, **options)
    return run if folder is not None else dataclasses.replace(run, checkpoint=None)
