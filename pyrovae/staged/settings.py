"""What is the same for all steps of a training, as far as a graph or the choice of a route needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from pyrovae.staged.tracing.capture import Pass


@dataclass
class Shown:
    """What Pyro's own passes have shown so far; each of them may show more."""

    parameters: dict[str, torch.Tensor] = field(default_factory=dict)  # every parameter, by canonical name
    loss_state: dict[str, torch.Tensor] = field(default_factory=dict)  # what the loss keeps in Pyro's store
    validated: frozenset[str] = frozenset()  # sites whose distributions looked whether values are in their support


class Settings(NamedTuple):
    """What is the same for all steps of a training."""

    one: Pass
    shown: Shown
    buffers: dict[str, torch.Tensor]
    optimiser: Any
    clip_norm: float | None  # the bound that a graph keeps; where others have parts of the batch, none
    places: Callable[[], list[Any]]  # where what the pair's code can reach begins
    check_support: bool  # whether batches may hold what nobody has looked at
    shared: bool  # whether several processes have a part of each batch
    agree: Callable[[str | None], str | None]  # what any process has to say; all are asked at the same step
    speaks: bool  # whether this process logs for all
    forks: bool  # whether the data come from worker processes, which are copies of this one and its threads
