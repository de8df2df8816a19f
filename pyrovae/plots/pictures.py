"""Arrays as pictures: single ones for a page, grids for files."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

# Pixels on the screen that a small picture of a file is enlarged to.
_VISIBLE = 72

_GAP = 4

_LEVELS = (1, 15, 16, 31, 63, 127, 255)


def is_picture(event: tuple[int, ...]) -> bool:
    """Whether a datum of this shape can be shown: (height, width), or (1 or 3, height, width)."""
    sides = event[-2:]
    return len(event) in (2, 3) and min(sides, default=0) >= 2 and (len(event) == 2 or event[0] in (1, 3))


def value_range(values: np.ndarray) -> tuple[float, float]:
    """What is black and what is white: the range that such data usually have, else their own.

    Examples:
        >>> value_range(np.array([[0, 16]], dtype=np.uint8)), value_range(np.array([[0.0, 0.7]]))
        ((0.0, 16.0), (0.0, 1.0))
    """
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 and values.dtype.kind == "f":
        return 0.0, 1.0
    if low >= 0 and high <= 255 and values.dtype.kind in "biu":
        return 0.0, float(next(level for level in _LEVELS if level >= high))
    return low, high if high > low else low + 1


def picture(values: np.ndarray, limits: tuple[float, float]) -> Image.Image:
    """One datum as a picture of its own size."""
    low, high = limits
    shares = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    bytes_ = (np.nan_to_num(shares) * 255).round().astype(np.uint8)  # what is missing is as dark as the lowest
    if bytes_.ndim == 3:
        bytes_ = bytes_[0] if len(bytes_) == 1 else bytes_.transpose(1, 2, 0)
    return Image.fromarray(bytes_)


def data_url(values: np.ndarray, limits: tuple[float, float]) -> str:
    """One datum as a data: URL, which needs no file."""
    stream = io.BytesIO()
    picture(values, limits).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def grid(values: np.ndarray, limits: tuple[float, float], columns: int | None = None) -> Image.Image:
    """Data `(n, ...)` row after row, in about a square."""
    columns = columns or math.ceil(math.sqrt(len(values)))
    tiles = [_enlarged(picture(value, limits)) for value in values]
    width, height = tiles[0].size
    rows = math.ceil(len(tiles) / columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    sheet = Image.new(tiles[0].mode, size, _background(tiles[0]))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP)))
    return sheet


def paired(above: np.ndarray, below: np.ndarray, limits: tuple[float, float]) -> Image.Image:
    """Each datum above its counterpart, in rows of eight pairs."""
    columns = min(8, len(above))
    rows = [slice(start, start + columns) for start in range(0, len(above), columns)]
    sheets = [
        grid(np.concatenate([_filled(part[row], columns) for part in (above, below)]), limits, columns) for row in rows
    ]
    width, height = sheets[0].size
    sheet = Image.new(sheets[0].mode, (width, len(sheets) * (height + 2 * _GAP)), _background(sheets[0]))
    for number, one in enumerate(sheets):
        sheet.paste(one, (0, number * (height + 2 * _GAP)))
    return sheet


def _filled(values: np.ndarray, count: int) -> np.ndarray:
    """A last row that is too short, filled up with black."""
    missing = np.zeros((count - len(values), *values.shape[1:]), values.dtype)
    return np.concatenate([values, missing])


def _enlarged(tile: Image.Image) -> Image.Image:
    factor = max(1, _VISIBLE // max(tile.size))
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def _background(tile: Image.Image) -> Any:
    return 255 if tile.mode == "L" else (255, 255, 255)
