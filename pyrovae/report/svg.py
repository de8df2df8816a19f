"""Charts as SVG, drawn by hand: a few hundred bytes each, and their colours follow the page's light or dark scheme.

They know arrays alone, as the figures in `plots/` do, but are nothing without the page's style sheet beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

_WIDTH, _HEIGHT = 340, 230

_WIDE, _TALL = 480, 340

_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 10, 28, 38

# Colours of the page's style sheet.
COLORS = 10


class ChartLine(NamedTuple):
    """A named curve; `color` counts in the style sheet, `dashed` sets it off from another of the same colour."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    color: int = 0
    dashed: bool = False


Ticks = Sequence[tuple[float, str]]


class Words(NamedTuple):
    """How an axis calls its numbers; `whole` are those of classes, each of which has a name."""

    call: Callable[[float], str]
    whole: bool = False

    def ticks(self, low: float, high: float) -> Ticks:
        """Places from low to high, and what they are called."""
        if not self.whole:
            return [(place, self.call(place)) for place in ticks(low, high, count=3)]
        every = range(math.ceil(low), math.floor(high) + 1)
        return [(place, self.call(place)) for place in every[:: 1 + len(every) // 7]]


class _Frame:
    """Axes: from numbers to places on the page; ticks are round numbers where they are not given."""

    def __init__(
        self,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        *,
        size: tuple[int, int] = (_WIDTH, _HEIGHT),
        x_ticks: Ticks | None = None,
        y_ticks: Ticks | None = None,
    ):
        self.width, self.height = size
        self.x_ticks, self.y_ticks = x_ticks, y_ticks
        self.x_range, self.y_range = _opened(x_range), _opened(y_range)

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM)

    def drawn(self, inside: str, *, title: str, x_label: str, y_label: str) -> str:
        """The chart, with its axes and words."""
        right, bottom, middle = self.width - _RIGHT, self.height - _BOTTOM, (self.height - _BOTTOM + _TOP) / 2
        # What a nested picture leaves its frame with is cut off; the frame has room for half a dot.
        x, y = _LEFT - 4, _TOP - 4
        width, height = right - x + 4, bottom - y + 4
        cut = (
            f'<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}">{inside}</svg>'
        )
        words = [
            f'<text class="title" x="{_LEFT}" y="14">{escape(title)}</text>' if title else "",
            f'<text x="{(_LEFT + right) / 2:.0f}" y="{self.height - 5}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text transform="translate(11 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
        ]
        grid = [
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{self.y(v):.1f}" y2="{self.y(v):.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{self.y(v) + 3.5:.1f}" text-anchor="end">{escape(word)}</text>'
            for v, word in (_numbered(*self.y_range) if self.y_ticks is None else self.y_ticks)
        ]
        grid += [
            f'<text x="{self.x(v):.1f}" y="{bottom + 15}" text-anchor="middle">{escape(word)}</text>'
            for v, word in (_numbered(*self.x_range) if self.x_ticks is None else self.x_ticks)
            if x_label != "epoch" or v == int(v)
        ]
        axis = f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>'
        return (
            f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(title or y_label, quote=True)}">{"".join(grid)}{axis}{cut}{"".join(words)}</svg>'
        )


def line_chart(lines: Sequence[ChartLine], *, title: str, x_label: str, y_label: str) -> str:
    """Curves; where they begin far away, the chart shows where they went."""
    xs = [x for line in lines for x in line.xs]
    frame = _Frame((min(xs), max(xs)), _shown([line.ys for line in lines]))
    return frame.drawn("".join(_curve(frame, line) for line in lines), title=title, x_label=x_label, y_label=y_label)


def scatter_chart(
    points: np.ndarray,
    colors: Sequence[int],
    tips: Sequence[str],
    *,
    title: str,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    small: bool = False,
    x_words: Words | None = None,
    y_words: Words | None = None,
) -> str:
    """Points `(n, 2)`; `diagonal` draws y = x and gives both axes one range; `small` is for several charts in a row."""
    low, high = points.min(0), points.max(0)
    if diagonal:
        low, high = np.full(2, low.min()), np.full(2, high.max())
    margin = 0.04 * (high - low)
    (x_low, y_low), (x_high, y_high) = (low - margin).tolist(), (high + margin).tolist()
    size = (_WIDTH, _WIDTH) if diagonal else (_WIDTH, _HEIGHT) if small else (_WIDE, _TALL)
    x_ticks, y_ticks = x_words and x_words.ticks(x_low, x_high), y_words and y_words.ticks(y_low, y_high)
    frame = _Frame((x_low, x_high), (y_low, y_high), size=size, x_ticks=x_ticks, y_ticks=y_ticks)
    radius = 1.6 if small else 2 if diagonal or len(points) > 800 else 3
    dots = [
        f'<circle class="c{color}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="{radius}">'
        + (f"<title>{escape(tip)}</title>" if tip else "")
        + "</circle>"
        for (x, y), color, tip in zip(points.tolist(), colors, tips, strict=True)
    ]
    ends = f"M{frame.x(x_low):.1f} {frame.y(x_low):.1f}L{frame.x(x_high):.1f} {frame.y(x_high):.1f}"
    line = f'<path class="even" d="{ends}"/>' if diagonal else ""
    return frame.drawn(line + "".join(dots), title=title, x_label=x_label, y_label=y_label)


def histogram(
    parts: Sequence[tuple[str, np.ndarray, int]],
    *,
    title: str,
    bins: int = 24,
    x_label: str = "",
    marks: Sequence[tuple[str, float, int]] = (),
    x_words: Words | None = None,
) -> str:
    """Shares of values, one outline a part, and single values as upright lines: (name, values or value, colour)."""
    both = np.concatenate([values for _, values, _ in parts])
    low, high = _opened((float(np.quantile(both, 0.002)), float(np.quantile(both, 0.998))))
    edges = np.linspace(low, high, bins + 1)
    shares = [np.histogram(values, edges)[0] / max(1, len(values)) for _, values, _ in parts]
    top = max(float(share.max()) for share in shares) * 1.05
    places = [place for _, place, _ in marks]
    margin = 0.02 * (max(high, *places, high) - min(low, *places, low))
    outer = (min([low, *places]) - margin, max([high, *places]) + margin) if places else (low, high)
    frame = _Frame(outer, (0, top), x_ticks=x_words and x_words.ticks(*outer))
    outlines = [
        _curve(
            frame,
            ChartLine(name, np.repeat(edges, 2).tolist(), [0, *np.repeat(share, 2).tolist(), 0], color),
            filled=True,
        )
        for (name, _, color), share in zip(parts, shares, strict=True)
    ]
    lines = [
        _curve(frame, ChartLine(name, [place, place], [0, top], color, dashed=True)) for name, place, color in marks
    ]
    return frame.drawn("".join([*outlines, *lines]), title=title, x_label=x_label, y_label="share")


def bar_chart(names: Sequence[str], parts: Sequence[tuple[str, Sequence[float], int]], *, title: str) -> str:
    """Shares of named things as bars from the left, those of each part below each other: (name, shares, colour)."""
    height = max(_HEIGHT, _TOP + _BOTTOM + 26 * len(names))
    top = 1.05 * max(max(shares) for _, shares, _ in parts)
    y_ticks = [(place, name) for place, name in enumerate(names)]
    frame = _Frame((0, top), (len(names) - 0.5, -0.5), size=(_WIDTH, height), y_ticks=y_ticks)
    thick = 0.8 / len(parts)
    bars = [
        f'<path class="line filled l{color}" d="M{frame.x(0):.1f} {frame.y(above):.1f}H{frame.x(share):.1f}'
        f'V{frame.y(above + thick):.1f}H{frame.x(0):.1f}Z"><title>{escape(f"{word}: {share:.1%}")}</title></path>'
        for number, (word, shares, color) in enumerate(parts)
        for place, share in enumerate(shares)
        for above in [place - 0.4 + thick * number]
    ]
    return frame.drawn("".join(bars), title=title, x_label="share", y_label="")


def error_chart(
    xs: Sequence[float], ys: Sequence[float], errors: Sequence[float], *, title: str, x_label: str, y_label: str
) -> str:
    """Shares with their errors beside the diagonal, both axes from 0 to 1."""
    frame = _Frame((0, 1), (0, 1))
    diagonal = f'<path class="even" d="M{frame.x(0):.1f} {frame.y(0):.1f}L{frame.x(1):.1f} {frame.y(1):.1f}"/>'
    bars = [
        f'<path class="line l0" d="M{frame.x(x):.1f} {frame.y(y - e):.1f}V{frame.y(y + e):.1f}"/>'
        f'<circle class="c0" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"><title>{x:g}: {y:.3f}</title></circle>'
        for x, y, e in zip(xs, ys, errors, strict=True)
    ]
    return frame.drawn(diagonal + "".join(bars), title=title, x_label=x_label, y_label=y_label)


def band_chart(
    xs: Sequence[float],
    ys: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> str:
    """A curve and the band in which it should stay, around 0."""
    reach = 1.1 * max(map(abs, (*ys, *lower, *upper)))
    frame = _Frame((0, 1), (-reach, reach))
    corners = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
    band = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in corners)
    zero = f'<path class="even" d="M{frame.x(0):.1f} {frame.y(0):.1f}H{frame.x(1):.1f}"/>'
    curve = _curve(frame, ChartLine(title, xs, ys))
    return frame.drawn(f'<path class="band" d="M{band}Z"/>{zero}{curve}', title=title, x_label=x_label, y_label=y_label)


def legend(entries: Sequence[tuple[str, int, bool]]) -> str:
    """Names beside their colours: (name, colour, dashed)."""
    marks = [
        f'<span><i class="mark b{color}{" dashed" if dashed else ""}"></i>{escape(name)}</span>'
        for name, color, dashed in entries
    ]
    return f'<div class="legend">{"".join(marks)}</div>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers from low to high.

    Examples:
        >>> ticks(0, 103)
        [0.0, 25.0, 50.0, 75.0, 100.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * factor for factor in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - rough))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _numbered(low: float, high: float) -> Ticks:
    return [(place, _number(place)) for place in ticks(low, high)]


def _curve(frame: _Frame, line: ChartLine, *, filled: bool = False) -> str:
    places = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    if len(places) == 1:
        x, y = places[0].split()
        return f'<circle class="c{line.color}" cx="{x}" cy="{y}" r="3"/>'
    kind = f"l{line.color}{' dashed' if line.dashed else ''}{' filled' if filled else ''}"
    return f'<path class="line {kind}" d="M{"L".join(places)}"><title>{escape(line.name)}</title></path>'


def _shown(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The range of the values; without the first tenth of each curve where that is most of it."""
    every = [y for curve in curves for y in curve if math.isfinite(y)] or [0.0]
    later = [y for curve in curves for y in curve[len(curve) // 10 :] if math.isfinite(y)] or every
    far = max(every) - min(every) > 3 * (max(later) - min(later)) > 0
    chosen = later if far else every
    margin = 0.05 * (max(chosen) - min(chosen))
    return min(chosen) - margin, max(chosen) + margin


def _opened(limits: tuple[float, float]) -> tuple[float, float]:
    """A range that is not empty."""
    low, high = limits
    if abs(high - low) > 1e-9 * max(abs(low), abs(high), 1e-300):
        return low, high
    width = abs(low) * 0.1 or 1.0
    return low - width, high + width


def _number(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.10g}"
