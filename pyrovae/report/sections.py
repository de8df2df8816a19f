"""The sections of a report: each one figure and one sentence on how to read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pyrovae.plots.learning_curves import curve_titles
from pyrovae.report import svg
from pyrovae.report.image_sections import image_reconstructions, image_samples, image_traversal
from pyrovae.report.report_data import ReportData
from pyrovae.report.section import Section
from pyrovae.report.svg import ChartLine
from pyrovae.report.table_sections import table_reconstructions, table_samples, table_traversal
from pyrovae.report.text_sections import text_sections
from pyrovae.report.trust_sections import trust_sections
from pyrovae.report.views import Latent, latent_of
from pyrovae.training.epoch import Epoch

_ROWS = 2_000  # of which encodings are drawn


def curves(history: Sequence[Epoch], no_elbo: str = "") -> Section:
    """ELBO, rate and distortion over the epochs; what they are where there is no ELBO, for the reason given."""
    held_out = any(row.validation_elbo is not None for row in history)
    titles = curve_titles(history, is_elbo=not no_elbo)
    drawn = [_curve(history, name, _LONGER.get(title, title)) for name, title in titles.items()]
    marks = [("training", 0, False), *([("held-out rows", 1, True)] if held_out else [])]
    return Section(
        "Learning curves",
        f'<div class="charts">{"".join(drawn)}</div>{svg.legend(marks)}',
        (
            f"None of these curves is an ELBO or a bound of the evidence, and none is a rate: {no_elbo} "
            if no_elbo
            else ""
        )
        + _EXPECTED.get(next(iter(titles)), "").format("first curve" if no_elbo else "ELBO"),
    )


_EXPECTED = {
    "elbo": "The {} should rise and level off; where the held-out curve turns down while the training curve still "
    "rises, the model has begun to learn rows by heart.",
    "loss": "The loss of such a training may go up and down at its best; the distortion should fall and level off.",
}

_LONGER = {"rate": "Rate: nats in the latent variables", "distortion": "Distortion: nats lost", "loss": "Loss"}


def _curve(history: Sequence[Epoch], name: str, title: str) -> str:
    lines = [ChartLine("training", [row.epoch for row in history], [getattr(row, name) for row in history])]
    held_out = [(row.epoch, getattr(row, f"validation_{name}", None)) for row in history]
    known = [(epoch, figure) for epoch, figure in held_out if figure is not None]
    if known:
        lines.append(ChartLine("held-out rows", *map(list, zip(*known, strict=True)), color=1, dashed=True))
    return svg.line_chart(lines, title=title, x_label="epoch", y_label="nats per datum")


# --- latent space and settings ------------------------------------------------------------------------
def latent_space(about: ReportData, latent: Latent) -> Section:
    """The encodings as points."""
    points, (x_label, y_label) = latent.plane()
    labels = None if about.labels is None else [str(label) for label in about.labels[: len(points)]]
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
    about: ReportData,
    history: Sequence[Epoch] | None,
    limits: tuple[float, float] | None,
    entries: Mapping[str, Any],
    columns: Sequence[Section] = (),
    no_elbo: str = "",
) -> list[Section]:
    """All sections, for images where there are limits of black and white, else for a table.

    Args:
        about: what is looked at.
        history: the epochs.
        limits: of black and white.
        entries: the settings.
        columns: what is shown of a table whose columns are of several kinds.
        no_elbo: why what the history calls ELBO is none; empty where it is one.
    """
    first, last = _history(history, no_elbo), [settings(entries)] if entries else []
    if about.decode is not None:
        latent = latent_of(about, _ROWS)
        seen = [] if latent is None else [latent_space(about, latent)]
        return [*text_sections(about), *first, *seen, *last]
    if columns:
        return [*columns, *trust_sections(about, limits), *first, table_reconstructions(about),
                *_of_latent(about, limits), *last]  # fmt: skip
    if limits is None:
        middle = [table_reconstructions(about), table_samples(about)]
    else:
        middle = [image_reconstructions(about, limits), image_samples(about, limits)]
    return [*trust_sections(about, limits), *first, *middle, *_of_latent(about, limits), *last]


def few_sections(history: Sequence[Epoch] | None, entries: Mapping[str, Any], error: Exception) -> list[Section]:
    """What can be said of a pair that cannot be run any more."""
    words = f"The pair cannot be run with these weights: {str(error).splitlines()[0]}"
    return [*_history(history), missing("What it learned", words), *([settings(entries)] if entries else [])]


def _history(history: Sequence[Epoch] | None, no_elbo: str = "") -> list[Section]:
    if history is None:
        return []
    return [curves(history, no_elbo) if history else missing("Learning curves", "No epoch was finished.")]


def _of_latent(about: ReportData, limits: tuple[float, float] | None) -> list[Section]:
    latent = latent_of(about, _ROWS)
    if latent is None:
        return [missing("Latent space", "This pair has no latent vector for each row, so there is no space to show.")]
    moved = table_traversal(about, latent) if limits is None else image_traversal(about, latent, limits)
    return [latent_space(about, latent), moved]
