"""The arguments of `fit` as one value, and their types for the functions that hand them on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from pyrovae.objectives.losses import Loss
from pyrovae.training.trackers.tracker import Tracker


@dataclass(frozen=True)
class FitOptions:
    """All arguments of `fit` but the pair and its data; `fit` says what each means."""

    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    optim: Any = None
    learning_rate: Any = None
    clip_norm: float | None = None
    loss: Loss | None = None
    temper: Any = 1.0
    row_weights: Any = None
    validation: Any = None
    patience: int | None = None
    average: float | None = None
    transform: Callable[..., Any] | None = None
    seed: int | None = None
    device: str | torch.device = "auto"
    precision: str | None = None
    staged: bool | str = "auto"
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_every: float = 300
    resume: bool = False
    progress: bool = True
    tracker: Tracker | None = None
    data_plate: str | None = None


# What type checkers see where a function hands arguments on to `fit`: all of them, but those that it names itself.
class CommonKeywords(TypedDict, total=False):
    """The arguments of `fit` that no function on the way to it takes for itself."""

    steps: int | None
    batch_size: int | None
    optim: Any
    learning_rate: Any
    clip_norm: float | None
    loss: Loss | None
    temper: Any
    row_weights: Any
    validation: Any
    patience: int | None
    average: float | None
    transform: Callable[..., Any] | None
    device: str | torch.device
    precision: str | None
    staged: bool | str
    checkpoint_every: float


class StartKeywords(CommonKeywords, total=False):
    """The arguments of `fit` beside those of how long and from which seed, of checkpoints and of what is shown."""

    data_plate: str | None


class StudyKeywords(StartKeywords, total=False):
    """The arguments of `fit` that a study of several trainings leaves to its caller."""

    epochs: int | None


class SeedlessKeywords(StudyKeywords, total=False):
    """All arguments of `fit` but the seed and the tracker, which are of one training."""

    checkpoint: str | os.PathLike[str] | None
    resume: bool
    progress: bool


class FitKeywords(SeedlessKeywords, total=False):
    """All arguments of `fit`."""

    seed: int | None
    tracker: Tracker | None


class UpdateKeywords(CommonKeywords, total=False):
    """All arguments of `fit` but the plate of the data."""

    epochs: int | None
    seed: int | None
    checkpoint: str | os.PathLike[str] | None
    resume: bool
    progress: bool
    tracker: Tracker | None
