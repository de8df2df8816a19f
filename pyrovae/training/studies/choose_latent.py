"""A setting chosen by the evidence of data that were held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import torch

from pyrovae.data.rows_of_frames import as_arguments
from pyrovae.errors import ArgumentError
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.tried_settings import plot_tried_settings
from pyrovae.training.fit_options import StudyKeywords
from pyrovae.training.studies.separate_runs import check_options, folds_of, made, picked, rows_of, trained
from pyrovae.training.studies.trial import Trial

_FOLDS = 5

_DRAWS = 64  # the bound is loose by about half the weights' variance over the draws: alike for all settings


class LatentChoice(NamedTuple):
    """What `choose_latent` found: all settings that were tried, in the order of trying.

    Examples:
        >>> trials = (Trial(1, -3.0, 0.2, ()), Trial(2, -2.1, 0.2, ()), Trial(8, -2.0, 0.2, ()))
        >>> choice = LatentChoice(trials)
        >>> choice.best, choice.smallest
        (8, 2)
    """

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Any:
        """The setting of highest held-out evidence."""
        return max(self.trials, key=lambda trial: trial.evidence).setting

    @property
    def smallest(self) -> Any:
        """The first setting in their own order (the smallest of numbers) within one standard error of the best."""
        top = max(self.trials, key=lambda trial: trial.evidence)
        near = [trial.setting for trial in self.trials if trial.evidence >= top.evidence - top.error]
        return min(near) if all(isinstance(setting, int | float) for setting in near) else near[0]

    def plot(self) -> Any:
        """Draw the evidence of each setting with its standard error.

        Returns:
            A matplotlib `Figure`.
        """
        settings, evidence, error = zip(*(trial[:3] for trial in self.trials), strict=True)
        return plot_tried_settings(settings, evidence, error)


@in_turn
def choose_latent(
    make: Callable[[Any], HasPair],
    data: Any,
    settings: Iterable[Any] | Callable[[Any], Any],
    *,
    folds: int = _FOLDS,
    draws: int = _DRAWS,
    seed: int = 0,
    study: str | Path | None = None,
    trials: int | None = None,
    **options: Unpack[StudyKeywords],
) -> LatentChoice:
    r"""Choose a latent size, or any other setting, by the evidence of held-out data.

    \[ \frac1N \sum_{k} \sum_{n \in \text{fold } k} \log \hat p(x_n \mid \text{trained without fold } k), \]

    each by importance weighting with `draws` draws of the guide.

    Args:
        make: from a setting to a new pair.
        data: arrays as `fit` takes them.
        settings: the settings to try; or, with `study`, a function of an Optuna trial that suggests one:
            `lambda trial: trial.suggest_int("latent", 2, 64)`.
        folds: of the cross-validation; the same for all settings, so that they compare.
        draws: for the evidence.
        seed: of folds, weights, order and draws.
        study: a file in which each trial is kept (by Optuna, an extra: `pip install 'pyrovae[search]'`). A search that
            was stopped goes on from it, and several processes may work on one file at a time.
        trials: how many settings to try in all, with a function of a trial.
        **options: of `fit`: epochs, batch_size, learning_rate, ...

    Returns:
        A `LatentChoice`.

    References:
        Stone, "Cross-validatory choice" (1974); Akiba et al., "Optuna" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> def make(latent):
        ...     likelihood = pv.Normal(pv.MLP(latent, [], 4), scale=1.0)
        ...     return pv.VAE(pv.StandardNormal(latent), likelihood, pv.DiagNormal(pv.MLP(4, [], 2 * latent)))
        >>> choice = pv.choose_latent(make, torch.randn(60, 4), [1, 2], folds=2, epochs=1)
        >>> [trial.setting for trial in choice.trials]
        [1, 2]
    """
    check_options(options, "validation", "patience")
    seed = chosen_seed(seed)
    if not callable(settings) and not isinstance(settings, Iterable):
        raise ArgumentError(f"settings={settings!r}; give a list of settings, or a function of an Optuna trial.")
    parts = folds_of(rows_of(data), folds, seed)

    def evaluate(setting: Any) -> Trial:
        return _held_out(lambda: made(make, setting), setting, data, parts, draws=draws, seed=seed, options=options)

    if study is not None:
        from pyrovae.training.studies.search import search

        return LatentChoice(search(evaluate, settings, Path(study), trials=trials, seed=seed))
    if callable(settings) or trials is not None:
        raise ArgumentError("a function of a trial, or trials=, needs a file to keep them in: study='search.log'.")
    tried = list(settings)
    if not tried:
        raise ArgumentError("there is no setting to try.")
    return LatentChoice(tuple(map(evaluate, tried)))


def _held_out(
    make: Any, setting: Any, data: Any, parts: Any, *, draws: int, seed: int, options: StudyKeywords
) -> Trial:
    values = []
    for number, (inside, outside) in enumerate(parts):
        with trained(make, picked(data, inside), seed=seed + number, **options) as run:
            args, named = as_arguments(picked(data, outside))
            values.append(log_evidence(run.pair, *args, draws=draws, seed=seed, **named).value.double())
    joined = torch.cat(values)
    error = float(joined.std() / math.sqrt(len(joined)))
    return Trial(setting, float(joined.mean()), error, tuple(float(value.mean()) for value in values))
