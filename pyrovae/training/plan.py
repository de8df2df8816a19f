"""What a training is made of, everything checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.data.placement import Placement
from pyrovae.objectives.losses import Loss
from pyrovae.objectives.temper import Tempered
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Structure
from pyrovae.training.optimisers import Optimiser
from pyrovae.training.parallel.shares import Shares
from pyrovae.training.parallel.team import SingleProcess


class Plan(NamedTuple):
    """Everything about a training that does not change while it runs."""

    pair: HasPair
    batches: Batches
    first: Batch
    validation: Batches | None
    structure: Structure
    placement: Placement
    loss: Loss
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
    team: SingleProcess
    shares: Shares | None
    no_density: str = ""  # why there is no ELBO, in words

    def steps_in_all(self) -> int | None:
        """How many steps there are from first to last, where that is known."""
        per_epoch = self.batches.batches_per_epoch
        if self.epochs is None or per_epoch is None:
            return self.steps
        return min(self.epochs * per_epoch, self.steps or self.epochs * per_epoch)
