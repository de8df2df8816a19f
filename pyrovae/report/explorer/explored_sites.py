"""What a page says of each observed site: its form, names, classes, and what is black and white in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from pyrovae.plots import pictures
from pyrovae.report.explorer.shown_sites import ShownPart
from pyrovae.tables.schema import Schema
from pyrovae.tables.table_column import DATES


class DataUnits(NamedTuple):
    """From the numbers of the pair to those of the data: times, and plus."""

    times: float = 1.0
    plus: float = 0.0


class PageOptions(NamedTuple):
    """What a page is told of the data.

    Attributes:
        title: of the page.
        rows: how many it holds.
        names: of the elements of a datum.
        labels: a class for each of the rows that it holds.
        shape: of a datum, where the pair has it flat.
        schema: of a table.
        units: of the data.
        limits: what is black and what is white in a picture, in the units of the data.
        given: the covariates of a row in words.
    """

    title: str
    rows: int = 0
    names: Sequence[str] = ()
    labels: list[str] | None = None
    shape: tuple[int, ...] | None = None
    schema: Schema | None = None
    units: DataUnits = DataUnits()
    limits: tuple[float, float] | None = None
    given: Callable[[int], str] | None = None


def explored_site(
    name: str, parts: list[ShownPart], first: int, values: np.ndarray, options: PageOptions
) -> dict[str, Any]:
    """A site as the page's script takes it.

    Args:
        name: of the site.
        parts: what is shown of it.
        first: the number of its first output.
        values: some that were observed, `(rows, *event)`.
        options: what is known of the data.
    """
    shape, names, schema, units = options.shape, options.names, options.schema, options.units
    event = shape if shape is not None and np.prod(shape) == values[:1].size else values.shape[1:]
    plain = len(parts) == 1 and not parts[0].classes
    picture = plain and pictures.is_picture(event)
    found: dict[str, Any] = {"name": name, "units": list(units), "parts": []}
    for part in parts:
        outputs = list(range(first, first + len(part.outputs)))
        found["parts"].append({"places": part.places, "classes": part.classes, "outputs": outputs})
        first += len(part.outputs)
    if picture:
        found["picture"] = [1, *event] if len(event) == 2 else list(event)
        found["limits"] = options.limits or pictures.value_range(values * units.times + units.plus)
    elif schema is not None and len(schema.columns) == values[:1].size:
        known = [one for one in schema.table if one.column is not None]
        found["names"] = [one.name for one in known]
        found["levels"] = [list(map(str, one.levels)) if one.form == "classes" else [] for one in known]
        found["dates"] = [one.form in DATES for one in known]
    else:
        found["names"] = list(map(str, names)) if len(names) == values[:1].size else _places(event)
    return found


def _places(event: tuple[int, ...]) -> list[str]:
    return [",".join(map(str, place)) for place in product(*map(range, event))] if event else [""]
