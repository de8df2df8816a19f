"""What a training is made of, everything checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyrovae import objectives
from pyrovae.batches import Batches
from pyrovae.handlers import Tempered
from pyrovae.pairs import HasPair, Structure
from pyrovae.parallel import Alone, Shares
from pyrovae.placement import Placement
from pyrovae.training.optimisers import Optimiser


class Plan(NamedTuple):
    """Everything about a training that does not change while it runs."""

    pair: HasPair
    batches: Batches
    validation: Batches | None
    structure: Structure
    placement: Placement
    loss: objectives.Loss
    optimiser: Optimiser
    tempered: Tempered
    epochs: int | None
    steps: int | None
    clip_norm: float | None
    patience: int | None
    average: float | None
    seed: int
    staged: Any
    precision: str | None
    team: Alone
    shares: Shares | None
