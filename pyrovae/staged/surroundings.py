"""What a lane asks of the training around it, and what is the same for all lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.staged.capturing import Pass


class Host(Protocol):
    """What a lane asks of the training around it."""

    @property
    def parameters(self) -> Mapping[str, torch.Tensor]:
        """Every parameter that a pass has shown."""
        ...

    @property
    def loss_state(self) -> Mapping[str, torch.Tensor]:
        """What the loss keeps in Pyro's store."""
        ...

    def plain_pass(self, batch: Batch) -> torch.Tensor:
        """Figures of one pass of Pyro's; the gradients are in `live()`."""
        ...

    def finish(self, figures: torch.Tensor) -> torch.Tensor:
        """The final figures; the gradients are checked and clipped."""
        ...

    def together(
        self, figures: torch.Tensor, gradients: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Figures and gradients of the whole batch, where several processes have parts of it."""
        ...

    def live(self) -> dict[str, torch.Tensor]:
        """The parameters that have a gradient and are not frozen."""
        ...

    def update(self) -> None:
        """Move the parameters by the gradients that a plain pass has left."""
        ...

    def begin(self, batch: Batch, step: int, epoch: int) -> None:
        """Turn to a batch and a step."""
        ...

    rows: int  # of the whole batch, of which several processes have parts
    validated: frozenset[str]  # sites where the last plain pass has looked whether values are in the support

    def agree(self, words: str | None) -> str | None:
        """What any process has to say; all are asked at the same step."""
        ...


class Settings(NamedTuple):
    """What is the same for all lanes of a training."""

    one: Pass
    buffers: dict[str, torch.Tensor]
    optimiser: Any
    clip_norm: float | None
    places: Callable[[], list[Any]]  # where what the pair's code can reach begins
    check_support: bool  # whether batches may hold what nobody has looked at
    shared: bool  # whether several processes have a part of each batch
    forks: bool  # whether the data come from worker processes, which are copies of this one and its threads
