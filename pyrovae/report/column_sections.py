"""What the report shows of a table whose columns are of several kinds: each beside its draws, and pairs of them."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from pyrovae.models.conditionals.columns import has_classes, kind_of
from pyrovae.report import svg
from pyrovae.report.own_units import cells, known_columns, short, worded, words_of
from pyrovae.report.section import Section
from pyrovae.report.table_figures import LEVEL, ColumnFigures, PairFigures, TableFigures
from pyrovae.tables.schema import Schema
from pyrovae.tables.table_column import DATES, TableColumn

_CHARTS, _BARS = 9, 9  # columns that are drawn, and classes of one
_LISTED = 100  # columns of one table
_PAIRS, _DRAWN_PAIRS = 10, 4
_SHOWN_ROWS = 5
_POINTS = 300
_FAR = 0.1  # of the rows that would have to be others, from which on a column is marked
_OFF = 0.05  # of coverage

_LEGEND = svg.legend([("data", 0, False), ("draws", 1, False)])


def column_sections(schema: Schema, found: TableFigures) -> list[Section]:
    """The sections of a table."""
    return [_by_column(schema, found), _charts(schema, found), *([_pairs(schema, found)] if found.pairs else [])]


def is_far(figures: ColumnFigures) -> bool:
    """Whether a column's draws are other than its data."""
    return figures.apart > max(_FAR, figures.chance)


def is_off(coverage: float, hidden: int) -> bool:
    """Whether intervals cover too much or too little, beyond what the number of cells leaves open."""
    return hidden > 0 and abs(coverage - LEVEL) > max(_OFF, 3 * math.sqrt(LEVEL * (1 - LEVEL) / hidden))


# --- column by column ---------------------------------------------------------------------------------
def _by_column(schema: Schema, found: TableFigures) -> Section:
    heads = "".join(
        f"<th>{word}</th>"
        for word in ("column", "kind", "missing", "data", "draws", "apart", "imputation error", "coverage")
    )
    columns = known_columns(schema)
    lines = [
        _line(one, found.data[:, place], found.drawn[:, place], found.columns[place])
        for place, one in enumerate(columns[:_LISTED])
    ]
    more = f'<p class="note">The first {_LISTED} of {len(columns)} columns.</p>' if len(columns) > _LISTED else ""
    return Section(
        "Column by column",
        f'<div class="wide"><table class="numbers named columns"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>{more}",
        "Of numbers and dates the median and, below, the 5 and 95 % quantiles; of classes the shares of the most "
        "frequent ones. Apart is the share of rows that would have to be others for draws to be distributed as data "
        "are. For imputation a fifth of the cells was hidden from the model: errors of numbers are in standard "
        "deviations of the column, so that 1 is what its mean comes to, those of classes the share that is wrong; "
        "coverage is the share of cells within 90% intervals. Red is beyond chance. Of rows that were trained on, "
        "errors and coverage flatter.",
    )


def _line(one: TableColumn, data: np.ndarray, drawn: np.ndarray, figures: ColumnFigures) -> str:
    assert one.column is not None
    unit = "wrong" if has_classes(one.column) else "sd"
    error = _share(figures.error) if unit == "wrong" else f"{figures.error:.2f}"
    imputed = (f"{error} {unit}", _share(figures.coverage)) if figures.hidden else ("–", "–")
    entries = [
        (one.name, False),
        ("date" if one.form in DATES else one.column.kind.replace("_", " "), False),
        (_share(figures.missing), False),
        *((text, False) for text in _summaries(one, data[~np.isnan(data)], drawn)),
        (_share(figures.apart), is_far(figures)),
        (imputed[0], False),
        (imputed[1], is_off(figures.coverage, figures.hidden)),
    ]
    return "<tr>" + "".join(f"<td>{_cell(text, bad)}</td>" for text, bad in entries) + "</tr>"


def _cell(text: str, bad: bool) -> str:
    """What is said first, and the rest of it below."""
    first, *rest = (escape(short(part, 60)) for part in text.split("\n"))
    return _marked(first, bad) + "".join(f"<small>{part}</small>" for part in rest)


def _marked(text: str, bad: bool) -> str:
    return f"<b>{text}</b>" if bad else text


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}" if value == 0 or value >= 0.095 else f"{value:.1%}"


def _summaries(one: TableColumn, seen: np.ndarray, drawn: np.ndarray) -> list[str]:
    """Data and draws in a few words each."""
    if not len(seen):
        return ["–", "–"]
    if one.column is not None and has_classes(one.column):
        order = _frequent(seen)[:3]
        return [
            "\n".join(f"{short(worded(one, level), 12)} {_share(float((values == level).mean()))}" for level in order)
            for values in (seen, drawn)
        ]
    return [
        f"{worded(one, middle)}\n{worded(one, low)} to {worded(one, high)}"
        for low, middle, high in (np.quantile(values, (0.05, 0.5, 0.95), method="nearest") for values in (seen, drawn))
    ]


def _frequent(values: np.ndarray) -> list[float]:
    levels, counts = np.unique(values, return_counts=True)
    return levels[np.argsort(-counts, kind="stable")].tolist()


# --- charts -------------------------------------------------------------------------------------------
def _charts(schema: Schema, found: TableFigures) -> Section:
    columns = known_columns(schema)
    apart = np.nan_to_num([one.apart for one in found.columns], nan=-1.0)
    worst = np.argsort(-apart, kind="stable")[:_CHARTS]
    drawn = [
        _chart(columns[place], found.data[:, place], found.drawn[:, place]) for place in worst if apart[place] >= 0
    ]
    heads = "".join(f"<th>{escape(short(one.name))}</th>" for one in columns[:_CHARTS])
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row[:_CHARTS])}</tr>"
        for row in cells(schema, found.drawn[:_SHOWN_ROWS])
    )
    more = f" of {len(columns)}" if len(columns) > _CHARTS else ""
    return Section(
        "Data and draws",
        f'<div class="charts small">{"".join(drawn)}</div>{_LEGEND}'
        f'<div class="wide"><table class="numbers"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>',
        f"The {len(drawn)} columns{more} whose draws are furthest from the data, the furthest first: the two outlines, "
        f"or the two bars of a class, should agree. Below {_SHOWN_ROWS} rows as the model draws them"
        f"{', the first columns of them' if more else ''}.",
    )


def _chart(one: TableColumn, data: np.ndarray, drawn: np.ndarray) -> str:
    seen, title = data[~np.isnan(data)], short(one.name, 40)
    assert one.column is not None
    if not has_classes(one.column):
        return svg.histogram([("data", seen, 0), ("draws", drawn, 1)], title=title, x_words=words_of(one))
    levels = _frequent(np.concatenate([seen, drawn]))
    kept = (sorted(levels) if kind_of(one.column).ordered else levels)[:_BARS]
    shares = [[float((values == level).mean()) for level in kept] for values in (seen, drawn)]
    names = [short(worded(one, level), 10) for level in kept]
    if len(levels) > len(kept):
        names, shares = [*names, "others"], [[*one, max(0.0, 1 - sum(one))] for one in shares]
    return svg.bar_chart(names, [("data", shares[0], 0), ("draws", shares[1], 1)], title=title)


# --- pairs --------------------------------------------------------------------------------------------
def _pairs(schema: Schema, found: TableFigures) -> Section:
    columns = known_columns(schema)
    worst = found.pairs[:_PAIRS]
    lines = "".join(
        f"<tr><td>{escape(short(columns[pair.first].name, 40))} × {escape(short(columns[pair.second].name, 40))}</td>"
        f"<td>{_marked(_share(pair.apart), is_lost(pair))}</td><td>{_share(pair.chance)}</td></tr>"
        for pair in worst
    )
    drawn = [_scatter(columns, found, pair) for pair in worst[:_DRAWN_PAIRS]]
    return Section(
        "Pairs of columns",
        f'<div class="charts small">{"".join(drawn)}</div>{_LEGEND}'
        '<div class="wide"><table class="numbers named"><thead><tr><th>the dependence of</th><th>differs by</th>'
        f"<th>by chance</th></tr></thead><tbody>{lines}</tbody></table></div>",
        "The pairs whose dependence is worst reproduced: the share of rows that would have to be others for two "
        "columns to depend on each other in the draws as they do in the data, whatever each is by itself; beside it "
        "the same between two sets of draws, which is chance. Red is more than twice that. Classes are spread a "
        "little, so that dots do not lie on each other.",
    )


def is_lost(pair: PairFigures) -> bool:
    """Whether the dependence of two columns is another in the draws."""
    return pair.apart > max(_FAR, 2 * pair.chance)


def _points(
    columns: list[TableColumn], found: TableFigures, pair: PairFigures
) -> tuple[np.ndarray, list[int], list[str]]:
    places, chance = [pair.first, pair.second], np.random.default_rng(0)
    both = [values[~np.isnan(values[:, places]).any(1)][:, places][:_POINTS] for values in (found.data, found.drawn)]
    points = np.concatenate(both)
    for side, place in enumerate(places):
        column = columns[place].column
        if column is not None and has_classes(column):
            points[:, side] += chance.uniform(-0.3, 0.3, len(points))
        else:  # what is far out would press the rest into a corner
            points[:, side] = points[:, side].clip(*np.quantile(points[:, side], (0.01, 0.99)))
    return points, np.repeat([0, 1], [len(part) for part in both]).tolist(), [""] * len(points)


def _scatter(columns: list[TableColumn], found: TableFigures, pair: PairFigures) -> str:
    first, second = columns[pair.first], columns[pair.second]
    return svg.scatter_chart(
        *_points(columns, found, pair),
        small=True,
        title=f"{short(first.name, 20)} × {short(second.name, 20)}",
        x_label=short(first.name, 30),
        y_label="" if second.form in DATES else short(second.name, 30),  # dates take its place
        x_words=words_of(first),
        y_words=words_of(second),
    )
