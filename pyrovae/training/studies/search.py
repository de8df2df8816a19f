"""Trials kept in a file by Optuna, so that a search can be stopped, gone on with, and shared by several processes."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyrovae.errors import ArgumentError, FileError
from pyrovae.pairs.numbers import check_count
from pyrovae.training.studies.trial import Trial

_NAME = "pyrovae"

_PLACE = "setting"  # Optuna's parameters are plain values: a list of settings is searched by place


def search(
    evaluate: Callable[[Any], Trial],
    settings: Iterable[Any] | Callable[[Any], Any],
    file: Path,
    *,
    trials: int | None,
    seed: int,
) -> tuple[Trial, ...]:
    """Try settings, each once among all processes that work on the file, and return all that are done.

    Args:
        evaluate: from a setting to its trial.
        settings: a list, or a function of an Optuna trial.
        file: a journal of lines of JSON.
        trials: how many in all, for a function.
        seed: of Optuna's sampler.
    """
    optuna = _optuna()
    suggest = settings if callable(settings) else None
    listed = [] if suggest else list(settings)  # type: ignore[arg-type]
    if suggest:
        if trials is None:
            raise ArgumentError("settings is a function of a trial; say how many to try: trials=50.")
        trials = check_count("trials", trials)
    with _quiet(optuna):
        study = _study(optuna, file, seed, len(listed))
        known = study.user_attrs.get("settings")
        if listed and known not in (None, [repr(s) for s in listed]):
            raise ArgumentError(f"{file} holds a search over other settings ({', '.join(known)}); name another file.")
        if listed:
            study.set_user_attr("settings", [repr(s) for s in listed])

        _forget_lost(optuna, study)

        def objective(trial: Any) -> float:
            trial.set_user_attr("process", [platform.node(), os.getpid()])
            setting = suggest(trial) if suggest else listed[trial.suggest_int(_PLACE, 0, len(listed) - 1)]
            done = evaluate(setting)
            trial.set_user_attr("error", done.error)
            trial.set_user_attr("folds", list(done.folds))
            trial.set_user_attr("setting", setting if isinstance(setting, int | float | str) else repr(setting))
            return done.evidence

        while _left(study, trials if suggest else len(listed)) > 0:
            study.optimize(objective, n_trials=1)
    return _done(study, listed)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ArgumentError("study= needs Optuna, which is an extra: pip install 'pyrovae[search]'.") from error
    return optuna


def _study(optuna: Any, file: Path, seed: int, count: int) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if file.is_dir() or not file.parent.is_dir():
        raise FileError(f"{file} cannot hold a search; name a file in a folder that exists.")
    sampler = (
        optuna.samplers.GridSampler({_PLACE: list(range(count))}, seed=seed)
        if count
        else optuna.samplers.TPESampler(seed=seed)
    )
    try:
        storage = JournalStorage(JournalFileBackend(str(file)))
        return optuna.create_study(
            study_name=_NAME, storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
        )
    except (OSError, ValueError, KeyError, AssertionError) as error:  # the last is how it meets a file of others
        raise FileError(f"{file} is no search of Optuna's that can be gone on with: {error}") from error


def _left(study: Any, wanted: int | None) -> int:
    """How many trials are still to be started; what runs in another process counts as started."""
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    return (wanted or 0) - sum(state in ("COMPLETE", "RUNNING") for state in states)


def _forget_lost(optuna: Any, study: Any) -> None:
    """Give up the trials of processes that are no more; this one has none under way yet."""
    for trial in study.get_trials(deepcopy=False):
        # One that has not said whose it is has begun just now in another process.
        machine, process = trial.user_attrs.get("process", (None, 0))
        lost = machine == platform.node() and (process == os.getpid() or not _is_alive(process))
        if trial.state.name == "RUNNING" and lost:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _done(study: Any, listed: list[Any]) -> tuple[Trial, ...]:
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    # Two processes that start at the same instant may take the same place of a list: it counts once.
    once = {trial.params[_PLACE] if listed else trial.number: trial for trial in finished}
    found = []
    for trial in once.values():
        setting = listed[trial.params[_PLACE]] if listed else trial.user_attrs["setting"]
        error, folds = trial.user_attrs["error"], tuple(trial.user_attrs["folds"])
        found.append(Trial(setting, float(trial.value), float(error), folds))
    return tuple(found)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna's own messages off, and back as they were."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
