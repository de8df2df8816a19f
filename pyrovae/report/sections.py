"""The sections of a report: each one figure and one sentence on how to read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from pyrovae.errors import PyrovaeError
from pyrovae.report import pictures, svg
from pyrovae.report.certainty import certainty_of
from pyrovae.report.svg import ChartLine
from pyrovae.report.trust_sections import Section, doubts
from pyrovae.report.views import Latent, Subject, latent_of, traverse
from pyrovae.training.epoch import Epoch

_PAIRS, _SAMPLES = 16, 48

# Rows that a table's figures are drawn from, and columns that are shown of a wide one.
_ROWS, _COLUMNS = 2_000, 9

_SHOWN_ROWS = 5


def curves(history: Sequence[Epoch]) -> Section:
    """ELBO, rate and distortion over the epochs."""
    held_out = any(row.validation_elbo is not None for row in history)
    drawn = [_curve(history, name, title) for name, title in _FIGURES]
    marks = [("training", 0, False), *([("held-out rows", 1, True)] if held_out else [])]
    return Section(
        "Learning curves",
        f'<div class="charts">{"".join(drawn)}</div>{svg.legend(marks)}',
        "The ELBO should rise and level off; where the held-out curve turns down while the training curve still "
        "rises, the model has begun to learn rows by heart.",
    )


_FIGURES = (("elbo", "ELBO"), ("rate", "Rate: nats in the latent variables"), ("distortion", "Distortion: nats lost"))


def _curve(history: Sequence[Epoch], name: str, title: str) -> str:
    lines = [ChartLine("training", [row.epoch for row in history], [getattr(row, name) for row in history])]
    held_out = [(row.epoch, getattr(row, f"validation_{name}")) for row in history]
    known = [(epoch, figure) for epoch, figure in held_out if figure is not None]
    if known:
        lines.append(ChartLine("held-out rows", *map(list, zip(*known, strict=True)), color=1, dashed=True))
    return svg.line_chart(lines, title=title, x_label="epoch", y_label="nats per datum")


# --- images -------------------------------------------------------------------------------------------
def image_reconstructions(subject: Subject, limits: tuple[float, float]) -> Section:
    """Originals, their reconstructions, and where these are uncertain."""
    originals, again = subject.originals(_PAIRS), subject.reconstructions(_PAIRS)
    maps = _maps(subject, originals.shape)
    columns = [f"{_tile(above, limits)}{_tile(below, limits)}" for above, below in zip(originals, again, strict=True)]
    if maps is not None:
        high = float(maps.max()) or 1.0
        columns = [column + _tile(one, (0.0, high)) for column, one in zip(columns, maps, strict=True)]
    tiles = "".join(f'<div class="pair">{column}</div>' for column in columns)
    third = (
        "; the third picture is the map of its uncertainty, brighter where values are spread further around it"
        if maps is not None
        else ""
    )
    return Section(
        "Reconstructions",
        f'<div class="tiles">{tiles}</div>',
        "Above is an original that was held out, below it what the decoder makes of its encoding: what is missing "
        f"below is what the latent variables do not carry{third}.",
    )


def _maps(subject: Subject, shape: tuple[int, ...]) -> np.ndarray | None:
    """The uncertainty of each pixel of the first rows, where the pair has one."""
    try:
        maps = certainty_of(subject, shape[0]).elements
    except (PyrovaeError, ValueError, NotImplementedError):
        return None
    return maps.reshape(shape) if maps.size == np.prod(shape) and np.isfinite(maps).all() else None


def image_samples(subject: Subject, limits: tuple[float, float]) -> Section:
    """Draws from the prior, decoded."""
    tiles = [_tile(value, limits) for value in subject.samples(_SAMPLES, mean=True)]
    return Section(
        "Samples",
        f'<div class="tiles">{"".join(tiles)}</div>',
        "New images: a latent vector drawn from the prior, and the mean of the likelihood there; they should look "
        "like data, and like many kinds of data.",
    )


def image_traversal(subject: Subject, latent: Latent, limits: tuple[float, float]) -> Section:
    """One latent dimension a row."""
    found = traverse(subject, latent)
    rows = [
        f'<div class="label">{escape(latent.site)}[{dim}]</div>{"".join(_tile(value, limits) for value in row)}'
        for dim, row in zip(found.dims, found.values, strict=True)
    ]
    return Section(
        "Traversal",
        f'<div class="traversal" style="--steps:{len(found.places)}">{"".join(rows)}</div>',
        f"Each row moves one latent dimension of the first original from {found.places[0]:g} to {found.places[-1]:g} "
        "standard deviations and leaves the others: a row that changes nothing is a dimension that is not used.",
    )


def _tile(value: np.ndarray, limits: tuple[float, float]) -> str:
    return f'<img alt="" src="{pictures.address(value, limits)}">'


# --- tables -------------------------------------------------------------------------------------------
def table_reconstructions(subject: Subject) -> Section:
    """Each column against its reconstruction."""
    before, after = (_flat(values) for values in (subject.originals(_ROWS), subject.reconstructions(_ROWS)))
    # Spread over all rows: the first ones of a sorted file are of one kind.
    few = np.unique(np.linspace(0, len(before) - 1, 300).astype(int))
    drawn = [
        svg.scatter_chart(
            np.stack([before[few, column], after[few, column]], 1),
            [0] * len(before[few]),
            [""] * len(before[few]),
            title=f"{_name(subject, column)} (R² {_explained(before[:, column], after[:, column])})",
            x_label="original",
            y_label="reconstruction",
            diagonal=True,
        )
        for column in range(min(_COLUMNS, before.shape[1]))
    ]
    return Section(
        "Reconstructions",
        f'<div class="charts small">{"".join(drawn)}</div>{_cut(before.shape[1])}',
        "Each dot is a held-out row: the closer to the diagonal, the more of the column the latent variables carry; "
        "R² is the share of its variance that they explain, and a flat cloud is taken for noise.",
    )


def table_samples(subject: Subject) -> Section:
    """Histograms of data and samples, and a few sampled rows."""
    data = _flat(subject.originals(_ROWS))
    drawn = _flat(subject.samples(_ROWS, mean=False))
    outlines = [
        svg.histogram([("data", data[:, column], 0), ("samples", drawn[:, column], 1)], title=_name(subject, column))
        for column in range(min(_COLUMNS, data.shape[1]))
    ]
    heads = "".join(f"<th>{escape(_name(subject, column))}</th>" for column in range(min(_COLUMNS, data.shape[1])))
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


def table_traversal(subject: Subject, latent: Latent) -> Section:
    """How the columns answer to each latent dimension."""
    found = traverse(subject, latent)
    values = found.values.reshape(*found.values.shape[:2], -1)
    data = _flat(subject.originals(_ROWS))
    scaled = (values - data.mean(0)) / np.where(data.std(0) > 0, data.std(0), 1.0)
    # The columns that move most somewhere: as many as there are colours to tell them apart.
    moving = np.argsort(-np.ptp(scaled, axis=1).max(0))[:6].tolist()
    drawn = [
        svg.line_chart(
            [ChartLine(_name(subject, c), found.places.tolist(), row[:, c].tolist(), k) for k, c in enumerate(moving)],
            title=f"{latent.site}[{dim}]",
            x_label="standard deviations of the latent dimension",
            y_label="standard deviations of the column",
        )
        for dim, row in zip(found.dims, scaled, strict=True)
    ]
    return Section(
        "Traversal",
        f'<div class="charts small">{"".join(drawn)}</div>'
        f"{svg.legend([(_name(subject, c), k, False) for k, c in enumerate(moving)])}",
        "Each chart moves one latent dimension of the first held-out row and shows how the columns that move most "
        "answer; flat lines mean a dimension that is not used.",
    )


def _flat(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _name(subject: Subject, column: int) -> str:
    return subject.names[column] if column < len(subject.names) else f"column {column}"


def _cut(columns: int) -> str:
    return f'<p class="note">The first {_COLUMNS} of {columns} columns.</p>' if columns > _COLUMNS else ""


def _explained(before: np.ndarray, after: np.ndarray) -> str:
    variance = float(before.var())
    return f"{1 - float(((before - after) ** 2).mean()) / variance:.2f}" if variance > 0 else "undefined"


def _short(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


# --- latent space and settings ------------------------------------------------------------------------
def latent_space(subject: Subject, latent: Latent) -> Section:
    """The encodings as points."""
    points, (x_label, y_label) = latent.plane()
    labels = None if subject.labels is None else [str(label) for label in subject.labels[: len(points)]]
    kinds = sorted(set(labels or ()), key=_order)
    colored = labels is not None and len(kinds) <= svg.COLORS
    colors = [kinds.index(label) for label in labels] if labels is not None and colored else [0] * len(points)
    chart = svg.scatter_chart(points, colors, labels or [""] * len(points), title="", x_label=x_label, y_label=y_label)
    words = "Each dot is the mean encoding of a held-out row"
    if latent.means.shape[1] > 2:
        words += f", {latent.means.shape[1]} dimensions seen from their two widest directions"
    known = f"colours are the {len(kinds)} classes, which training never saw" if colored else "dots that lie close mean"
    known += ": classes that lie apart were told apart" if colored else " rows that the model takes for alike"
    marks = svg.legend([(kind, number, False) for number, kind in enumerate(kinds)]) if colored else ""
    return Section("Latent space", f'<div class="single">{chart}{marks}</div>', f"{words}; {known}.")


def _order(label: str) -> tuple[float, str]:
    """Numbers by size, words by letter."""
    try:
        return float(label), label
    except ValueError:
        return math.inf, label


def settings(entries: Mapping[str, Any]) -> Section:
    """How the run was made."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in entries.items())
    return Section(
        "Settings",
        f'<div class="wide"><table class="settings"><tbody>{rows}</tbody></table></div>',
        "With the same settings, versions and machine the same run comes out again, though to the last bit only with "
        "`staged=False`: the routes of 'auto' round otherwise, and training makes much of a last bit.",
    )


def missing(heading: str, words: str) -> Section:
    """A section that this pair has nothing for."""
    return Section(heading, f'<p class="note">{escape(words)}</p>', "")


def make_sections(
    subject: Subject, history: Sequence[Epoch], limits: tuple[float, float] | None, entries: Mapping[str, Any]
) -> list[Section]:
    """All sections, for images where there are limits of black and white, else for a table."""
    first = [_history(history)]
    if limits is None:
        middle = [table_reconstructions(subject), table_samples(subject)]
    else:
        middle = [image_reconstructions(subject, limits), image_samples(subject, limits)]
    return [*doubts(subject, limits), *first, *middle, *_of_latent(subject, limits), settings(entries)]


def few_sections(history: Sequence[Epoch], entries: Mapping[str, Any], error: Exception) -> list[Section]:
    """What can be said of a pair that cannot be run any more."""
    words = f"The pair cannot be run with these weights: {str(error).splitlines()[0]}"
    return [_history(history), missing("What it learned", words), settings(entries)]


def _history(history: Sequence[Epoch]) -> Section:
    return curves(history) if history else missing("Learning curves", "No epoch was finished.")


def _of_latent(subject: Subject, limits: tuple[float, float] | None) -> list[Section]:
    latent = latent_of(subject, _ROWS)
    if latent is None:
        return [missing("Latent space", "This pair has no latent vector for each row, so there is no space to show.")]
    moved = table_traversal(subject, latent) if limits is None else image_traversal(subject, latent, limits)
    return [latent_space(subject, latent), moved]
