"""What the dims of each variable are called, and what stands along them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyrovae.errors import ArgumentError
from pyrovae.export.group_contents import DENSITIES, VariablePart

SAMPLES = ("chain", "draw")


class Variable(NamedTuple):
    """An array of a group: its dims with chain and draw in front where it has draws, its shape, and that of a part."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    part: tuple[int, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any]


class VariableNames:
    """Gives names to variables and dims.

    Plates give their own names to dims. The other axes of a site are called as `dims` says, else `site_dim_0`, and
    so on; a plate that has the name of a variable is called `name_plate`, since xarray takes a variable of the
    name of its dim for a coordinate.

    Args:
        parts: one part of every variable.
        rows: how many data there are.
        draws: how many draws.
        together: how many draws come at once.
        dims: names for the axes of a site that are no plates.
        coords: what stands along a dim: labels by the dim's name, or `(dim, labels)` by a name of their own.
    """

    def __init__(
        self,
        parts: Iterable[VariablePart],
        *,
        rows: int,
        draws: int,
        together: int,
        dims: Mapping[str, Sequence[str]] | None,
        coords: Mapping[str, Any] | None,
    ):
        parts = list(parts)
        self.rows, self.draws, self.together = rows, draws, min(draws, together)
        self._given = {site: _words(site, names) for site, names in (dims or {}).items()}
        self._taken = {variable_name(part.name) for part in parts}
        self.lengths: dict[str, int] = {"chain": 1, "draw": draws}
        self.variables: dict[tuple[str, str], Variable] = {}
        for part in parts:
            self.variables[part.group, part.name] = self._variable(part)
        _check_known(self._given, {part.name for part in parts}, "dims", "variable")
        self.labels = self._labels(coords or {})

    def _variable(self, part: VariablePart) -> Variable:
        shape = list(part.value.shape)
        if part.axis is not None:
            shape[part.axis] = self.rows
        drawn = part.draws is not None
        own = shape[1:] if drawn else shape
        dims = self._dims(part, own)
        known = variable_name(part.name)
        kind, attributes = array(part.value).dtype, {} if known == part.name else {"site": part.name}
        if not drawn:
            return Variable(dims, tuple(own), tuple(part.value.shape), kind, attributes)
        pieces = (1, self.together, *part.value.shape[1:])
        return Variable((*SAMPLES, *dims), (1, self.draws, *own), pieces, kind, attributes)

    def _dims(self, part: VariablePart, shape: Sequence[int]) -> tuple[str, ...]:
        found: list[str] = []
        free = 0
        given = self._given.get(part.name)
        count = sum(plate is None for plate in part.plates)
        if given is not None and part.group not in DENSITIES and len(given) not in (count, 0):
            raise ArgumentError(
                f"dims[{part.name!r}] has {len(given)} names, {', '.join(given)}; in {part.group} it has {count} axes "
                f"that are no plates, behind {', '.join(filter(None, part.plates)) or 'no plate'}."
            )
        for plate, length in zip(part.plates, shape, strict=True):
            name = self._plate(plate, length)
            if name is None:
                usual = f"{variable_name(part.name)}_dim_{free}"
                name = given[free] if given and len(given) == count else usual
                free += 1
                self._note(name, length, part)
            found.append(name)
        if len(set(found)) < len(found):
            raise ArgumentError(f"dims of {part.name!r}: {', '.join(found)}; each axis needs a name of its own.")
        return tuple(found)

    def _plate(self, plate: str | None, length: int) -> str | None:
        if plate is None:
            return None
        name = variable_name(plate)
        name = f"{name}_plate" if name in self._taken else name
        # A site that a plate only broadcasts has one value there.
        return name if self.lengths.setdefault(name, length) == length else None

    def _note(self, name: str, length: int, part: VariablePart) -> None:
        if name in (*self._taken, *SAMPLES):
            raise ArgumentError(f"dims[{part.name!r}]: {name!r} is the name of something else; choose another.")
        if self.lengths.setdefault(name, length) != length:
            raise ArgumentError(
                f"dims[{part.name!r}]: {name!r} has {length} entries here and {self.lengths[name]} elsewhere; "
                "give the two axes different names."
            )

    def _labels(self, coords: Mapping[str, Any]) -> dict[str, tuple[str, np.ndarray]]:
        """Coordinate -> its dim and labels, of those that were given."""
        found: dict[str, tuple[str, np.ndarray]] = {}
        for name, given in coords.items():
            named = isinstance(given, tuple) and len(given) == 2 and given[0] in self.lengths
            dim, labels = given if named else (name, given)
            if dim not in self.lengths:
                known = ", ".join(dim for dim in self.lengths if dim not in SAMPLES)
                raise ArgumentError(f"coords[{name!r}]: no dim is called {dim!r}. The dims: {known}.")
            values = np.asarray(labels)
            if values.shape != (self.lengths[dim],):
                raise ArgumentError(
                    f"coords[{name!r}] has shape {values.shape}; along {dim!r} stand {self.lengths[dim]} entries."
                )
            if name != dim and name in self._taken:
                raise ArgumentError(f"coords[{name!r}]: a variable has this name; choose another.")
            found[name] = (dim, values)
        return found

    def coordinates(self, group: str) -> dict[str, tuple[str, np.ndarray]]:
        """The coordinates of the dims that a group has; a dim without labels is numbered."""
        dims = {dim: 0 for (place, _), one in self.variables.items() if place == group for dim in one.dims}
        numbers = {dim: (dim, np.arange(self.lengths[dim])) for dim in dims if dim not in self.labels}
        return numbers | {name: (dim, labels) for name, (dim, labels) in self.labels.items() if dim in dims}


def variable_name(site: str) -> str:
    """The name of a site or plate in a file: a slash would be a group there, and two names are xarray's own."""
    name = site.replace("/", ".")
    return f"{name}_" if name in SAMPLES else name


def array(value: Any) -> np.ndarray:
    """A tensor as an array of a type that files know."""
    value = value.detach().cpu()
    return value.float().numpy() if str(value.dtype) == "torch.bfloat16" else value.numpy()


def _words(site: str, names: Any) -> list[str]:
    words = [names] if isinstance(names, str) else list(names)
    if not all(isinstance(word, str) and word for word in words):
        raise ArgumentError(f"dims[{site!r}]={names!r}: give a list of names, one for each axis that is no plate.")
    return words


def _check_known(given: Mapping[str, Any], known: set[str], argument: str, what: str) -> None:
    if foreign := [name for name in given if name not in known]:
        raise ArgumentError(
            f"{argument}: no {what} is called {', '.join(map(repr, foreign))}. There are: {', '.join(sorted(known))}."
        )
