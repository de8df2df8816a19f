"""What a report shows of lines of text: lines read again, lines that are strange, new ones, and a way between two."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import torch

import pyrovae as pv
from pyrovae.report.report_data import ReportData, chosen_rows
from pyrovae.report.section import Section

_SHOWN, _POINTS = 10, 7


def text_sections(about: ReportData) -> list[Section]:
    """Of a pair whose rows are the tokens of lines."""
    return [_strange(about), _reconstructions(about), _samples(about), _way(about)]


def _lines(about: ReportData, tokens: torch.Tensor) -> list[str]:
    assert about.decode is not None
    return about.decode(tokens)


def _strange(about: ReportData) -> Section:
    rows = about.rows[chosen_rows(about.rows, 300)]
    tokens = (rows != 0).sum(1) + 1
    nats = -pv.log_evidence(about.pair, rows, draws=50, seed=about.seed).value / tokens
    order = nats.argsort()
    parts = (("Likeliest", order[:_SHOWN]), ("Strangest", order.flip(0)[:_SHOWN]))
    body = ""
    for heading, places in parts:
        numbers = [f"{number:.2f}" for number in nats[places].tolist()]
        shown = list(zip(numbers, _lines(about, rows[places]), strict=True))
        body += f"<h3>{heading}</h3>{_table(shown, ('nats a token', 'line'))}"
    reading = "Held-out lines by their negative log-likelihood for each token, with the code integrated out."
    return Section("What is strange to it", body, reading)


def _reconstructions(about: ReportData) -> Section:
    given = about.first(_SHOWN)
    again = pv.reconstruct(about.pair, *given.args, seed=about.seed)[about.observed()]
    rows = list(zip(_lines(about, about.rows[:_SHOWN]), _lines(about, again), strict=True))
    reading = (
        "Each line is put into a code and written from it, the likeliest token at each step. A code of a few nats "
        "tells what kind of line it was, not its words."
    )
    return Section("Reconstructions", _table(rows, ("line", "written again")), reading)


def _samples(about: ReportData) -> Section:
    drawn = pv.generate(about.pair, _SHOWN, seed=about.seed)[about.observed()]
    rows = [(line,) for line in _lines(about, drawn)]
    return Section("Samples", _table(rows, ("new line",)), "Lines drawn from the model: a code, then token by token.")


def _way(about: ReportData) -> Section:
    given = about.first(2)
    if len(about.rows) < 2:
        return Section("A way between two lines", '<p class="note">There is one line alone.</p>', "")
    found = pv.interpolate(about.pair, *given.args, points=_POINTS)[about.observed()]
    ends = _lines(about, about.rows[:2])
    rows = [(line,) for line in (ends[0], *_lines(about, found), ends[1])]
    reading = "The first line, what the straight way between the codes of both decodes to, and the last line."
    return Section("A way between two lines", _table(rows, ("line",)), reading)


def _table(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
