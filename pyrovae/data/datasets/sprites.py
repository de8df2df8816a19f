"""Small shapes on a dark ground, drawn here: images whose factors are known."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pyrovae.errors import ArgumentError
from pyrovae.pairs.numbers import check_count

FACTORS = {"shape": 3, "scale": 6, "angle": 20, "x": 16, "y": 16}
_PIXELS = 32
_SAMPLES = 4  # points tested along each side of a pixel: of fewer, small turns show nothing
_AREA = (
    2.0 * 7.0**2
)  # of the largest shape, in square pixels: all shapes have the same, so that size does not tell them


class Sprites(NamedTuple):
    """Images (n, 32, 32), bytes of 0 to 255, and their factors (n, 5), whole numbers from 0, by `names`."""

    images: np.ndarray
    factors: np.ndarray
    names: tuple[str, ...] = tuple(FACTORS)


def sprites(rows: int | None = None, *, seed: int | None = 0) -> Sprites:
    """Draws squares, ellipses and hearts in 6 scales, 20 angles, 16 x 16 positions: 92,160 images of 32 x 32 pixels.

    After dSprites (Matthey et al., 2017), drawn here. The angles are twentieths of the turn after which a shape comes
    back to itself: a quarter of a circle for the square, half for the ellipse, all of it for the heart; so each
    image has one set of factors alone.

    Args:
        rows: that many different images, drawn at random; left out, all of them in order (94 MB, some seconds).
        seed: of the choice.

    Returns:
        `Sprites(images, factors, names)`: uint8 images, and the factors shape, scale, angle, x and y in columns.

    Examples:
        >>> import pyrovae as pv
        >>> images, factors, names = pv.datasets.sprites(1_000)
        >>> images.shape, factors.max(0).tolist(), names
        ((1000, 32, 32), [2, 5, 19, 15, 15], ('shape', 'scale', 'angle', 'x', 'y'))
    """
    sizes = tuple(FACTORS.values())
    total = math.prod(sizes)
    if rows is None:
        chosen = np.arange(total)
    else:
        if check_count("rows", rows, where="sprites: ") > total:
            raise ArgumentError(
                f"sprites: rows={rows:,}, and there are {total:,} images; leave it out for all of them."
            )
        from pyrovae.pairs.seeds import check_seed  # which imports torch

        chosen = np.random.default_rng(check_seed(seed)).choice(total, rows, replace=False)
    factors = np.stack(np.unravel_index(chosen, sizes), 1)
    return Sprites(_drawn(factors), factors)


def _drawn(factors: np.ndarray) -> np.ndarray:
    """Each shape once for every scale, angle, and place, as all are of whole pixels and a window moves over it."""
    images = np.zeros((len(factors), _PIXELS, _PIXELS), np.uint8)
    kinds, which = np.unique(factors[:, :3], axis=0, return_inverse=True)
    order = np.argsort(which.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(which.reshape(-1)))
    for kind, rows in zip(kinds, np.split(order, ends[:-1]), strict=True):
        large = _at_the_centre(*kind)
        windows = np.lib.stride_tricks.sliding_window_view(large, (_PIXELS, _PIXELS))
        x, y = factors[rows, 3], factors[rows, 4]
        images[rows] = windows[15 - y, 15 - x]
    return images


def _at_the_centre(shape: int, scale: int, angle: int) -> np.ndarray:
    """One shape in the middle of 47 x 47 pixels, of which windows show it at each place."""
    size = _PIXELS + 15
    points = (np.arange(size * _SAMPLES) + 0.5) / _SAMPLES - size / 2
    turn = angle / 20 * (math.pi / 2, math.pi, 2 * math.pi)[shape]
    across, down = np.meshgrid(points, points)
    u = math.cos(turn) * across + math.sin(turn) * down
    v = -math.sin(turn) * across + math.cos(turn) * down
    radius = math.sqrt(_AREA) / 2 * (0.5 + 0.1 * scale)
    inside = (_square, _ellipse, _heart)[shape](u / radius, v / radius)
    shares = inside.reshape(size, _SAMPLES, size, _SAMPLES).mean((1, 3))
    return np.round(255 * shares).astype(np.uint8)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (np.abs(u) <= 1) & (np.abs(v) <= 1)


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    ratio = 2**0.5
    return (u / ratio) ** 2 + (v * ratio) ** 2 <= 4 / math.pi


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A square on its corner and a half disc on each of its upper sides, 2 in width of a side: its area 4 + pi."""
    shrink = math.sqrt((4 + math.pi) / 4)
    u, v = u * shrink, v * shrink
    a, b = (u - v) / math.sqrt(2), (u + v) / math.sqrt(2)
    body = (np.abs(a) <= 1) & (np.abs(b) <= 1)
    discs = ((a - 1) ** 2 + b**2 <= 1) | (a**2 + (b + 1) ** 2 <= 1)
    return body | discs
