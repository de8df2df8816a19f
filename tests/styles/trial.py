"""One style through everything: what went wrong, in words."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

import pyrovae as pv
from styles.by_hand import ByHand
from styles.figures import FIGURES, Asked
from styles.style import Style
from styles.trained import Training, fitted, plain

FEW = 3  # steps that are compared on each route


def trained(style: Style) -> Iterator[str]:
    """Where `fit` differs from a plain loop, by any route."""
    expected = plain(style, FEW)
    for staged in (False, "auto"):
        yield from _apart(f"staged={staged!r}", fitted(style, FEW, staged=staged), expected)
    words = style.route[0]
    yield from held("traced", "" if words == "traced" else words, lambda: _by_graph(style, expected))


def _by_graph(style: Style, expected: Training) -> list[str]:
    found = fitted(style, FEW, staged="traced")
    route = [] if found.route.startswith("traced") else [f"the route is {found.route!r}"]
    return route + list(_apart("traced", found, expected))


def _apart(title: str, found: Training, expected: Training) -> Iterator[str]:
    ratios = torch.tensor(expected.losses) / torch.tensor(found.losses)
    if not torch.allclose(ratios, ratios.round(), rtol=2e-4) or not torch.allclose(ratios, ratios[:1], rtol=2e-4):
        yield f"{title}: losses {found.losses}, of a plain loop {expected.losses}"
    for name in sorted({*found.parameters, *expected.parameters}):
        one, other = (side.parameters.get(name, torch.tensor(torch.nan)) for side in (found, expected))
        if one.shape != other.shape or not torch.allclose(one, other, rtol=2e-3, atol=2e-4):
            yield f"{title}: {name!r} is {one.flatten()[:3]}, of a plain loop {other.flatten()[:3]}"


def asked(style: Style, folder: Path) -> Iterator[str]:
    """Where a figure differs from the one by hand, or a refusal from the one that is declared."""
    made = plain(style, style.steps).made
    hand = ByHand(style, made)
    everything = Asked(style, made, hand, hand.draws(style.draws), folder)
    for name, figure in FIGURES.items():
        yield from held(name, style.refused.get(name, ("",))[0], lambda figure=figure: list(figure(everything)))


def held(name: str, words: str, figure: Callable[[], list[str]]) -> Iterator[str]:
    """What a figure says, or its refusal held against the words that are declared; none are where it is answered."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pv.PyrovaeWarning)
            wrong = figure()
    except pv.PyrovaeError as error:
        if not words or words not in str(error):
            yield f"{name}: refused, {error}"
    except Exception as error:
        yield f"{name}: a foreign error, {type(error).__name__}: {error}"
    else:
        yield from wrong
        if words:
            yield f"{name}: was to be refused ({words}), and is not"
