"""What an encoder gives: numbers of each row, for all sites or for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError


class Features(NamedTuple):
    """Features (rows, numbers) by site; under "" those of all others."""

    by_site: dict[str, Tensor]

    @classmethod
    def of(cls, given: Any) -> Features:
        """From what the encoder returned.

        Raises:
            ArgumentError: it is neither a matrix nor a dictionary of matrices of as many rows.
        """
        named = dict(given) if isinstance(given, Mapping) else {"": given}
        for name, one in named.items():
            if not isinstance(one, Tensor) or one.dim() != 2 or not one.is_floating_point():
                said = f"shape {tuple(one.shape)}, {one.dtype}" if isinstance(one, Tensor) else type(one).__name__
                where = f" for {name!r}" if name else ""
                raise ArgumentError(
                    f"AmortizedGuide: the encoder gives {said}{where}; give floating numbers of shape "
                    "(rows, features), or a dictionary of such by the names of sites."
                )
        rows = {name: len(one) for name, one in named.items()}
        if len(set(rows.values())) != 1:
            raise ArgumentError(f"AmortizedGuide: the encoder gives other rows for each site ({rows}); give as many.")
        return cls(named)

    @property
    def like(self) -> Tensor:
        """A tensor of their type and device."""
        return next(iter(self.by_site.values())).detach()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.like)

    def of_rows(self, count: int, index: Tensor) -> Features:
        """Those of a batch of rows: of the batch already, or of all rows, from which the plate chose some.

        Raises:
            ArgumentError: there are other rows than the model has.
        """
        if self.rows == count:
            return self
        if self.rows > count and torch.is_tensor(index) and int(index.max()) < self.rows:
            return Features({name: one[index.to(one.device)] for name, one in self.by_site.items()})
        raise ArgumentError(
            f"AmortizedGuide: the encoder gives features of {self.rows} rows, and the model has {count}; give one row "
            "of features for each datum."
        )

    def of_site(self, name: str) -> Tensor:
        """Those of a site.

        Raises:
            ArgumentError: the encoder gives none for it.
        """
        found = self.by_site.get(name, self.by_site.get(""))
        if found is None:
            raise ArgumentError(
                f"AmortizedGuide: the encoder gives features for {', '.join(map(repr, self.by_site))}, and the model "
                f"has the site {name!r}, too; give them for every local site, or one matrix for all."
            )
        return found
