"""How long the guide goes ahead of the model."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from pyrovae.training.resting_optimiser import RestingOptimiser

logger = logging.getLogger("pyrovae")


class AggressivePhase:
    """Lets the guide go ahead as long as its codes say more of the data after each epoch.

    Attributes:
        state: whether it goes ahead, and the mutual information after the last epoch.
    """

    def __init__(self, optimiser: Any, team: Any):
        self._optimiser = optimiser if isinstance(optimiser, RestingOptimiser) else None
        self._team = team
        self._information = -math.inf

    @property
    def state(self) -> list[Any] | None:
        """None where no guide goes ahead of its model."""
        return None if self._optimiser is None else [self._optimiser.ahead, self._information]

    @state.setter
    def state(self, state: list[Any] | None) -> None:
        if self._optimiser is not None and state is not None:
            self._optimiser.ahead, self._information = state

    def end_epoch(self, step: int, measure: Callable[[], float]) -> None:
        """Look whether the information has grown.

        Args:
            step: how many were made.
            measure: gives it.
        """
        if self._optimiser is None or not self._optimiser.ahead:
            return
        found, before = self._team.broadcast(measure()), self._information
        self._information = found
        if not found > before:
            self._optimiser.ahead = False
            words = (
                "codes say %.2f nats of the data, %.2f an epoch before: from step %d on guide and model move together"
            )
            logger.info(words, found, before, step)
