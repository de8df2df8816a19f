"""What the report shows of tables."""

from __future__ import annotations

from html import escape

import numpy as np

from pyrovae.models.conditionals.columns import has_classes
from pyrovae.report import svg
from pyrovae.report.own_units import known_columns, words_of
from pyrovae.report.report_data import ReportData
from pyrovae.report.section import Section
from pyrovae.report.svg import ChartLine
from pyrovae.report.views import Latent, traverse

# Rows that figures are drawn from, and columns that are shown of a wide table.
_ROWS, _COLUMNS = 2_000, 9

_SHOWN_ROWS = 5


def table_reconstructions(about: ReportData) -> Section:
    """Each column against its reconstruction."""
    before, after = (_flat(values) for values in (about.originals(_ROWS), about.reconstructions(_ROWS)))
    # Spread over all rows: the first ones of a sorted file are of one kind.
    few = np.unique(np.linspace(0, len(before) - 1, 300).astype(int))
    drawn = [
        _scatter(about, column, before[:, column], after[:, column], few)
        for column in _of_numbers(about, before.shape[1])[:_COLUMNS]
        if not np.isnan(before[few, column]).all()
    ]
    return Section(
        "Reconstructions",
        f'<div class="charts small">{"".join(drawn)}</div>{_cut(before.shape[1])}',
        "Each dot is a held-out row: the closer to the diagonal, the more of the column the latent variables carry; "
        "R² is the share of its variance that they explain, and a flat cloud is taken for noise.",
    )


def _of_numbers(about: ReportData, columns: int) -> list[int]:
    """The columns that have a place on an axis: those of classes have none."""
    if about.schema is None:
        return list(range(columns))
    return [place for place, column in enumerate(about.schema.columns) if not has_classes(column)]


def _scatter(about: ReportData, column: int, before: np.ndarray, after: np.ndarray, few: np.ndarray) -> str:
    words = words_of(known_columns(about.schema)[column]) if about.schema else None
    there = ~np.isnan(before)  # a cell that is missing has no place
    few = few[there[few]]
    return svg.scatter_chart(
        np.stack([before[few], after[few]], 1),
        [0] * len(few),
        [""] * len(few),
        title=f"{_name(about, column)} (R² {_explained(before[there], after[there])})",
        x_label="original",
        y_label="reconstruction",
        diagonal=True,
        x_words=words,
        y_words=words,
    )


def table_samples(about: ReportData) -> Section:
    """Histograms of data and samples, and a few sampled rows."""
    data = _flat(about.originals(_ROWS))
    drawn = _flat(about.samples(_ROWS, mean=False))
    outlines = [
        svg.histogram([("data", seen, 0), ("samples", drawn[:, column], 1)], title=_name(about, column))
        for column in range(min(_COLUMNS, data.shape[1]))
        if len(seen := data[~np.isnan(data[:, column]), column])
    ]
    heads = "".join(f"<th>{escape(_name(about, column))}</th>" for column in range(min(_COLUMNS, data.shape[1])))
    rows = "".join(
        f"<tr>{''.join(f'<td>{_short(value)}</td>' for value in row[:_COLUMNS])}</tr>" for row in drawn[:_SHOWN_ROWS]
    )
    return Section(
        "Samples",
        f'<div class="charts small">{"".join(outlines)}</div>'
        f"{svg.legend([('data', 0, False), ('samples', 1, False)])}"
        f'<div class="wide"><table class="numbers"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"{_cut(data.shape[1])}",
        "Rows drawn from the model, noise included, beside the held-out rows: the two outlines of a column should "
        "agree.",
    )


def table_traversal(about: ReportData, latent: Latent) -> Section:
    """How the columns answer to each latent dimension."""
    found = traverse(about, latent)
    values = found.values.reshape(*found.values.shape[:2], -1)
    data = _flat(about.originals(_ROWS))
    spread = np.nanstd(data, axis=0)
    scaled = (values - np.nanmean(data, axis=0)) / np.where(spread > 0, spread, 1.0)
    # The columns that move most somewhere: as many as there are colours to tell them apart.
    moving = np.argsort(-np.ptp(scaled, axis=1).max(0))[:6].tolist()
    drawn = [
        svg.line_chart(
            [ChartLine(_name(about, c), found.places.tolist(), row[:, c].tolist(), k) for k, c in enumerate(moving)],
            title=f"{latent.site}[{dim}]",
            x_label="standard deviations of the latent dimension",
            y_label="standard deviations of the column",
        )
        for dim, row in zip(found.dims, scaled, strict=True)
    ]
    return Section(
        "Traversal",
        f'<div class="charts small">{"".join(drawn)}</div>'
        f"{svg.legend([(_name(about, c), k, False) for k, c in enumerate(moving)])}",
        "Each chart moves one latent dimension of the first held-out row and shows how the columns that move most "
        "answer; flat lines mean a dimension that is not used.",
    )


def _flat(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _name(about: ReportData, column: int) -> str:
    return about.names[column] if column < len(about.names) else f"column {column}"


def _cut(columns: int) -> str:
    return f'<p class="note">The first {_COLUMNS} of {columns} columns.</p>' if columns > _COLUMNS else ""


def _explained(before: np.ndarray, after: np.ndarray) -> str:
    variance = float(before.var())
    return f"{1 - float(((before - after) ** 2).mean()) / variance:.2f}" if variance > 0 else "undefined"


def _short(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
