"""One component of a mixture, as a prior."""

from __future__ import annotations

from typing import Any

from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.priors.mixture import Mixture


class ChosenComponent(Conditional):
    """The distribution of one component of a `Mixture`, whose weights it shares."""

    def __init__(self, mixture: Mixture, component: int):
        super().__init__()
        self.mixture, self.component = mixture, component

    def forward(self) -> Any:
        """Batch shape `()`, event shape of the mixture."""
        return self.mixture.component(self.component)
