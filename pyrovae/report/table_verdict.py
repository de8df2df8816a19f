"""What a table says of its model, in a verdict: whether draws are told from data, and whether intervals hold."""

from __future__ import annotations

import math

from pyrovae.report.column_sections import is_far, is_lost, is_off
from pyrovae.report.own_units import known_columns
from pyrovae.report.table_figures import LEVEL, TableFigures
from pyrovae.tables.schema import Schema
from pyrovae.training.verdict import Verdict, VerdictKind

_TOLD = 0.75  # area under the ROC curve from which on draws are told from data
_NAMED = 3  # columns


def table_verdicts(schema: Schema, found: TableFigures) -> list[Verdict]:
    """Verdicts on draws and on intervals, where there are rows and cells enough to say."""
    said = []
    if found.area is not None:
        said.append(_of_draws(schema, found, found.area))
    if not math.isnan(found.coverage):
        said.append(_of_intervals(found))
    return said


def _of_draws(schema: Schema, found: TableFigures, area: float) -> Verdict:
    words = f"A classifier tells drawn rows from data with an area under the ROC curve of {area:.2f}; 0.5 is chance"
    if area <= _TOLD:
        return Verdict(VerdictKind.ACTIVE, f"{words}.")
    return Verdict(VerdictKind.TOLD_APART, f"{words}. {_by(schema, found)}")


def _by(schema: Schema, found: TableFigures) -> str:
    """What draws differ by."""
    names = [one.name for one in known_columns(schema)]
    order = sorted(range(len(names)), key=lambda place: -found.columns[place].apart)
    far = [repr(names[place]) for place in order if is_far(found.columns[place])][:_NAMED]
    lost = [f"{names[pair.first]!r} and {names[pair.second]!r}" for pair in found.pairs if is_lost(pair)][:1]
    parts = [f"columns by themselves: {', '.join(far)}"] if far else []
    parts += [f"how columns depend on each other: {lost[0]} first of all"] if lost else []
    if not parts:
        return "Neither single columns nor pairs of them show by what: it is more columns together."
    mend = "See whether the kinds fit, train longer, or take more latent dimensions."
    return f"They differ by {'; and by '.join(parts)}. {mend}"


def _of_intervals(found: TableFigures) -> Verdict:
    words = f"Of cells that were hidden {found.coverage:.1%} lie within their {LEVEL:.0%} intervals"
    if not is_off(found.coverage, found.hidden):
        return Verdict(VerdictKind.ACTIVE, f"{words}.")
    narrow = "too narrow: what is imputed is less sure than it looks" if found.coverage < LEVEL else "too wide"
    return Verdict(VerdictKind.MISCOVERED, f"{words}: these are {narrow}.")
