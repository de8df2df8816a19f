"""The guide's local sites as one unconstrained vector for each draw and datum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint

from pyrovae.errors import ArgumentError
from pyrovae.pairs.known_support import known_support
from pyrovae.sampling.layout import Place
from pyrovae.sampling.runs import summed
from pyrovae.sampling.scoring import Scorer


class _Part(NamedTuple):
    """Where a site stands in the vector."""

    transform: Any  # from the real numbers to the site's support
    value: Place  # of the rows in a value
    batch: Place  # and in a log-probability

    @property
    def axis(self) -> int | None:
        """Of the rows in free values, which may have other event dims (a triangular matrix is a vector there)."""
        lost = self.transform.codomain.event_dim - self.transform.domain.event_dim
        return None if self.value.axis is None else self.value.axis + lost


class Coordinates:
    """A map between values of sites, (draws, *plates, *event), and vectors (draws, rows, width) of real numbers.

    Args:
        scorer: a tile of rows.
        purpose: what needs it, for the words of an error.

    Raises:
        ArgumentError: a site is discrete.
    """

    def __init__(self, scorer: Scorer, purpose: str):
        layout = scorer.sampler.layout
        self.rows = len(scorer.rows)
        self._parts: dict[str, _Part] = {}
        for site, node in scorer.sites.items():
            support: Constraint = known_support(node["fn"])
            if support.is_discrete:
                raise ArgumentError(
                    f"{purpose} moves the guide's local sites continuously, and {site!r} is discrete. Have it summed "
                    "out (pyro.infer.config_enumerate on the model, no such site in the guide), or use log_evidence."
                )
            places = (layout.place(("guide", site), batch=batch) for batch in (False, True))
            self._parts[site] = _Part(biject_to(support), *places)
        self._shapes: dict[str, torch.Size] = {}

    def vector(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Values as one vector."""
        parts = []
        for site, part in self._parts.items():
            free = part.transform.inv(values[site])
            free = free if part.axis is None else free.movedim(part.axis, 1)
            self._shapes[site] = free.shape[2:]
            parts.append(free.reshape(*free.shape[:2], -1))
        return torch.cat(parts, -1)

    def values(self, vector: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """A vector as values, and the logarithm of the change of volume, (draws, rows)."""
        found, volume = {}, torch.zeros((), dtype=torch.float64, device=vector.device)
        for (site, part), flat in zip(self._parts.items(), vector.split(self._widths(), -1), strict=True):
            free = flat.reshape(*flat.shape[:2], *self._shapes[site])
            free = free if part.axis is None else free.movedim(1, part.axis)
            found[site] = part.transform(free)
            volume = volume + summed(part.transform.log_abs_det_jacobian(free, found[site]), part.batch).double()
        return found, volume

    def _widths(self) -> list[int]:
        return [self._shapes[site].numel() for site in self._parts]
