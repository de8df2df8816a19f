"""The sections with which a report opens: what the model is sure of, what is strange to it, whether to believe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import torch

from pyrovae.errors import PyrovaeError
from pyrovae.plots import pictures
from pyrovae.report import svg
from pyrovae.report.certainty import ALPHA, LEVELS, Certainty, NoveltyExamples, calibration_of, certainty_of, novelty_of
from pyrovae.report.own_units import cells
from pyrovae.report.report_data import ReportData
from pyrovae.report.section import Section

_SHOWN, _NOVEL = 8, 5

_SHOWN_ROWS, _COLUMNS = 5, 5  # of a table


Limits = tuple[float, float] | None


def trust_sections(about: ReportData, limits: Limits) -> list[Section]:
    """What applies to this pair; for the rest, why it does not."""
    parts: list[tuple[str, Callable[[], Section]]] = [
        ("What the model is sure of", lambda: _certain(about, certainty_of(about), limits)),
        ("What is strange to it", lambda: _novelty(about, novelty_of(about, images=limits is not None), limits)),
        ("Whether its intervals hold", lambda: _calibrated(about)),
    ]
    return [_tried(heading, make) for heading, make in parts]


def _tried(heading: str, make: Callable[[], Section]) -> Section:
    # A pair whose weights went bad has a report, too: Pyro refuses a NaN with a ValueError.
    try:
        return make()
    except (PyrovaeError, ValueError, NotImplementedError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Section(heading, f'<p class="note">Not for this pair and these rows: {escape(words)}</p>', "")


# --- the most and the least certain -------------------------------------------------------------------
def _certain(about: ReportData, found: Certainty, limits: Limits) -> Section:
    numbers, words = _numbers(about, found, limits)
    if not np.isfinite(numbers).all():
        raise ValueError(_no_number(about, found))
    order = np.argsort(numbers, kind="stable")
    count = min(_SHOWN if limits else _SHOWN_ROWS, len(order) // 2)
    parts = (("Most certain", order[:count]), ("Least certain", order[len(order) - count :][::-1]))
    body = "".join(
        f"<h3>{heading}</h3>{_group(about, found.rows[places], numbers[places], limits)}" for heading, places in parts
    )
    return Section("What the model is sure of", f"<p>{_split(found)}</p>{body}", words)


def _no_number(about: ReportData, found: Certainty) -> str:
    """Why rows have no number: columns of classes have no variance, all else should have one."""
    lacking = np.atleast_1d(np.isnan(found.elements).all(0))
    columns = about.schema.columns if about.schema else ()
    if lacking.shape != (len(columns),) or not np.isfinite(found.elements[:, ~lacking]).all():
        return "the predictions are not finite."
    names = [repr(one.name) for one, lacks in zip(columns, lacking, strict=True) if lacks]
    listed = ", ".join(names[:_COLUMNS]) + (", ..." if len(names) > _COLUMNS else "")
    return f"columns of several classes have no variance ({listed}), so that no number holds of a whole row."


def _split(found: Certainty) -> str:
    """Where the uncertainty comes from, in words."""
    noise, latent, shared = found.shares
    said = (
        f"Of the uncertainty of a value, {noise:.0%} is noise of the likelihood, {latent:.0%} what the code leaves open"
    )
    if shared is None:
        return f"{said}; how unsure the weights are is not known, since the pair has no distribution over them."
    return f"{said}, and {shared:.0%} what the pair does not know of its weights, which more data would narrow."


def _numbers(about: ReportData, found: Certainty, limits: Limits) -> tuple[np.ndarray, str]:
    """One number for each row, the lower the surer, and what it is."""
    if limits is not None and found.measure == "variance":
        # In the units of the data, which pixels share. Their entropies would be ruled by those that are always black.
        spread = np.asarray(about.restore(torch.from_numpy(found.elements)), np.float64)
        return np.sqrt((spread.reshape(len(spread), -1) ** 2).mean(1)), (
            "The number is by how much a pixel is off, in the units of the data, where the model draws the image again "
            "once it has encoded it, noise included: the lower, the surer."
        )
    below = "" if found.measure == "entropy" else "; of continuous values it may lie below 0, so only differences count"
    return found.nats, (
        "The number is the entropy in nats of what the model expects to see in place of the row once it has encoded "
        f"it, noise included: the lower, the surer{below}."
    )


def _group(about: ReportData, places: np.ndarray, found: np.ndarray, limits: Limits) -> str:
    values, numbers = about.restore(about.rows[places]), [f"{value:.2f}".replace("-", "−") for value in found]
    if limits is None:
        return _table(about, values, [str(place) for place in places], numbers, "nats")
    return _tiles(list(zip(values, numbers, [""] * len(numbers), strict=True)), limits)


def _tiles(tiles: Sequence[tuple[np.ndarray, str, str]], limits: tuple[float, float]) -> str:
    """Pictures with words below; a mark of "novel" draws a frame."""
    drawn = [
        f'<div class="captioned {mark}"><img alt="" src="{pictures.data_url(value, limits)}"><span>{words}</span></div>'
        for value, words, mark in tiles
    ]
    return f'<div class="tiles eight">{"".join(drawn)}</div>'


def _table(about: ReportData, values: np.ndarray, rows: Sequence[str], numbers: Sequence[str], name: str) -> str:
    """Rows of a table, each with its name and its number in front; the first columns of a wide one."""
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    shown = flat[:, :_COLUMNS]
    words = cells(about.schema, flat) if about.schema else [[f"{value:,.4g}" for value in line] for line in shown]
    words = [line[:_COLUMNS] for line in words]
    names = [about.names[c] if c < len(about.names) else f"column {c}" for c in range(shown.shape[1])]
    heads = "".join(f"<th>{escape(word)}</th>" for word in ("row", name, *names))
    body = "".join(
        f"<tr><td>{escape(row)}</td><td>{number}</td>{''.join(f'<td>{escape(word)}</td>' for word in line)}</tr>"
        for row, number, line in zip(rows, numbers, words, strict=True)
    )
    more = "<td>…</td>" if flat.shape[1] > _COLUMNS else ""
    body, heads = body.replace("</tr>", f"{more}</tr>"), heads + more.replace("td", "th")
    head = f"<thead><tr>{heads}</tr></thead>"
    return f'<div class="wide"><table class="numbers named">{head}<tbody>{body}</tbody></table></div>'


# --- novelty ------------------------------------------------------------------------------------------
def _novelty(about: ReportData, found: NoveltyExamples, limits: Limits) -> Section:
    count = len(found.held_out)
    made, held = slice(count, None), slice(0, count)
    flagged = found.p_value <= ALPHA
    novel = np.lexsort((-found.score[held], found.p_value[held]))[:_NOVEL]
    body = (
        f"<p>Flagged at {ALPHA:.0%} false alarms: {flagged[made].sum()} of {len(found.names)} inputs made strange on "
        f"purpose, {flagged[held].sum()} of {count} held-out rows.</p>"
        + _judged(about, about.restore(found.altered), found.names, found.p_value[made], limits)
        + "<h3>Most novel of the held-out rows</h3>"
        + _judged(
            about,
            about.restore(about.rows[found.held_out[novel]]),
            [f"row {place}" for place in found.held_out[novel]],
            found.p_value[novel],
            limits,
        )
        + f'<div class="half">{_scores(found, held, made)}</div>'
    )
    return Section(
        "What is strange to it",
        body,
        f"p is the share of ordinary rows that are at least as strange; red marks {ALPHA:.0%} at most. The chart "
        "shows how improbable rows are: a strange input should stand to the right of the held-out rows, and an input "
        "that stands among them is one that the model cannot tell from data.",
    )


def _judged(about: ReportData, values: np.ndarray, words: Sequence[str], p_value: np.ndarray, limits: Limits) -> str:
    if limits is None:
        return _table(about, values, words, [_p_value(p) for p in p_value], "p")
    marks = ["novel" if p <= ALPHA else "" for p in p_value]
    captions = [f"{escape(word)}<br>p = {p:.3f}" for word, p in zip(words, p_value, strict=True)]
    return _tiles(list(zip(values, captions, marks, strict=True)), limits)


def _p_value(p: float) -> str:
    return f"<b>{p:.3f} novel</b>" if p <= ALPHA else f"{p:.3f}"


def _scores(found: NoveltyExamples, held: slice, made: slice) -> str:
    ordinary = np.concatenate([found.usual, found.score[held]])
    ordinary = ordinary[np.isfinite(ordinary)]
    marks = [
        (word if place == score else f"{word} (further out)", place, 2 + number)
        for number, (word, score, place) in enumerate(
            zip(found.names, found.score[made], _places(found.score[made], ordinary), strict=True)
        )
    ]
    chart = svg.histogram(
        [("held-out rows", ordinary, 0)],
        title="Novelty",
        x_label="nats: −log p(x)",
        marks=marks,
    )
    names = [("held-out rows", 0, False), *((word, color, True) for word, _, color in marks)]
    return chart + svg.legend(names)


def _places(scores: np.ndarray, ordinary: np.ndarray) -> list[float]:
    """Where marks stand: no further out than the rows are wide, or these would shrink to a line; in order there."""
    width = ordinary.max() - ordinary.min()
    furthest = ordinary.max() + width
    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    return [
        float(score if score <= furthest else furthest + 0.05 * width * rank)
        for score, rank in zip(scores, order, strict=True)
    ]


# --- calibration --------------------------------------------------------------------------------------
def _calibrated(about: ReportData) -> Section:
    found = calibration_of(about)
    if not bool(found.coverage.isfinite().all()):
        raise ValueError("no value of these rows was observed.")
    said = {"model": "of a new row", "rest": "from the rest of the row", "residual": "around the row's own code"}
    ninety = LEVELS.index(0.9)
    coverage = svg.error_chart(
        found.levels.tolist(),
        found.coverage.tolist(),
        (2 * found.error).tolist(),
        title="Coverage",
        x_label="level of the interval",
        y_label="share inside",
    )
    ranks = found.pit
    points = ranks.points
    uniform = svg.band_chart(
        points.tolist(),
        *((curve - points).tolist() for curve in (ranks.share, ranks.lower, ranks.upper)),
        title="Where values stand among predictions",
        x_label="rank among draws",
        y_label="share less uniform",
    )
    words = (
        f"Of values predicted {said[found.source]}, {found.coverage[ninety]:.1%} lie in their central 90% interval. "
        f"All levels together: {found.verdict}."
    )
    return Section(
        "Whether its intervals hold",
        f'<p>{escape(words)}</p><div class="charts">{coverage}{uniform}</div>',
        "On the left dots should lie on the diagonal: above it intervals are too wide, below it too narrow (bars are "
        "two standard errors). On the right the curve should stay in the band, which holds it 95 times in 100 where "
        "predictions are right: a slope down in the middle means too narrow, a slope up too wide, and a curve below "
        "the line that predictions are too low, above it too high.",
    )
