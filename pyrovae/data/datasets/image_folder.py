"""Folders of images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from pyrovae.data.check_memory import check_memory
from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import file_errors
from pyrovae.errors import ArgumentError, DataError, FileError, PyrovaeError, argument, warn_user

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

# Images that are none of these: left out, and said.
_OTHERS = (".gif", ".jfif", ".jpe", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".pgm", ".tga", ".svg", ".eps", ".raw")

# What a file may be, whatever it is called: Pillow knows formats that start another program, PostScript among them.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")

# One byte a channel. Any other mode (palette, transparency, 16 bits, ...) loses something when it becomes one of
# these, so it is converted when asked to and not otherwise.
_MODES = ("L", "RGB")

_MEND = "Scale it down, or load its numbers as .npy."

# Cameras write how they were held beside the pixels; with these values rows and columns change places.
_LYING = (5, 6, 7, 8)

_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257  # tags


class Pictures(NamedTuple):
    """Images (n, height, width) or (n, 3, height, width), uint8, and their paths below the folder."""

    values: np.ndarray
    names: tuple[str, ...]


class _ImageHeader(NamedTuple):
    name: str
    size: tuple[int, int]
    mode: str


def read_folder(folder: Path, *, size: tuple[int, int] | None, mode: str | None) -> Pictures:
    """All images below a folder, in the order of their names."""
    _check_choice(size, mode)
    with file_errors(folder, "cannot be read"):
        inside = sorted(path for path in folder.rglob("*") if _visible(path, folder))
        paths = [path for path in inside if path.suffix.lower() in SUFFIXES and not path.is_dir()]
        _say_what_is_left_out(inside, folder)
    if not paths:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise FileError(f"{folder} holds no images ({', '.join(SUFFIXES)}); it holds {held}.")
    check_plain(*paths, links=True)
    headers = [_read_header(path, folder) for path in paths]
    height, width = size or _one_size(headers, folder)
    mode = mode or _one_mode(headers, folder)
    shape = (len(paths), *(() if mode == "L" else (3,)), height, width)
    mend = f"Convert them to fewer pixels ({argument('size', text='(height, width)')}), or take fewer of them."
    check_memory(math.prod(shape), f"{folder}, {len(paths)} images of {height}x{width} pixels,", mend)
    values = np.empty(shape, np.uint8)
    for number, path in enumerate(paths):
        values[number] = _pixels(path, (height, width), mode)
    return Pictures(values, tuple(entry.name for entry in headers))


def _visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _say_what_is_left_out(others: Sequence[Path], folder: Path) -> None:
    """Images of other kinds, and those behind links to folders, are not read: a part of the data would be gone."""
    out = [path for path in others if path.suffix.lower() in _OTHERS or (path.is_symlink() and path.is_dir())]
    if out:
        few = ", ".join(repr(path.relative_to(folder).as_posix()) for path in out[:3]) + (", ..." if out[3:] else "")
        warn_user(
            f"{folder}: {len(out)} images of other kinds or links to folders are left out ({few}). Save such images as "
            ".png, and put folders themselves there."
        )


def _check_choice(size: tuple[int, int] | None, mode: str | None) -> None:
    if mode not in (None, *_MODES):
        raise ArgumentError(f"{argument('mode', mode)}: expected 'L' (grey) or 'RGB'.")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ArgumentError(f"{argument('size', size)}: expected (height, width), both at least 1.")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        # A stream, not a path: Pillow maps some files into memory, past its own checks of what is damaged.
        with path.open("rb") as stream, Image.open(stream, formats=_FORMATS) as picture:
            yield picture
    except PyrovaeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FileError(f"{path}: {error} {_MEND}") from error
    except Image.UnidentifiedImageError as error:
        raise FileError(f"{path} is none of {', '.join(_FORMATS)}, or its beginning is damaged.") from error
    except Exception as error:  # Pillow raises many kinds, all of them about this file
        words = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FileError(f"{path} is not an image, is damaged or cut short: {words}.") from error


def _read_header(path: Path, folder: Path) -> _ImageHeader:
    """Size and mode from the head of the file; no pixel is decoded."""
    with _opened(path) as picture:
        _check_depth(picture, path)
        width, height = _size_as_stored(picture)
        most = Image.MAX_IMAGE_PIXELS  # Pillow warns, too, and goes on
        if most is not None and width * height > most:
            raise FileError(f"{path} has {width * height:,} pixels, and the limit is {most:,}. {_MEND}")
        lying = picture.getexif().get(ExifTags.Base.Orientation, 1) in _LYING
        frames = getattr(picture, "n_frames", 1)
        if frames != 1:
            raise DataError(f"{path} holds {frames} frames or pages; save those that are meant as files of their own.")
        return _ImageHeader(
            path.relative_to(folder).as_posix(), (width, height) if lying else (height, width), _mode_of(picture)
        )


def _check_depth(picture: Image.Image, path: Path) -> None:
    """Refuse more than 8 bits a channel, which Pillow cuts off where there are several channels."""
    raw = [tile[3] if isinstance(tile[3], str) else str(tile[3]) for tile in getattr(picture, "tile", ())]
    if picture.mode.startswith(("I", "F")) or any(";16" in words for words in raw):
        raise DataError(
            f"{path} has mode {picture.mode!r} with more than 8 bits a channel, which cannot become 8 bits without "
            "a choice of range: rescale it to 0..255 first, or load the numbers as .npy."
        )


def _size_as_stored(picture: Image.Image) -> tuple[int, int]:
    """Width and height of the pixels in the file: of a TIFF Pillow gives those of the picture as it was held."""
    tags = getattr(picture, "tag_v2", {})
    return tags.get(_TIFF_WIDTH, picture.width), tags.get(_TIFF_HEIGHT, picture.height)


def _mode_of(picture: Image.Image) -> str:
    """The mode, and whether one of its colours stands for no colour."""
    return f"{picture.mode} with transparency" if "transparency" in picture.info else picture.mode


def _one_size(headers: Sequence[_ImageHeader], folder: Path) -> tuple[int, int]:
    sizes = Counter(entry.size for entry in headers)
    if len(sizes) > 1:
        raise DataError(
            f"{folder} holds images of {len(sizes)} sizes (height, width): {_examples(headers, sizes, 'size')}. Give "
            f"one to convert all: {argument('size', text='(height, width)')}."
        )
    return headers[0].size


def _one_mode(headers: Sequence[_ImageHeader], folder: Path) -> str:
    modes = Counter(entry.mode for entry in headers)
    if len(modes) > 1 or headers[0].mode not in _MODES:
        raise DataError(
            f"{folder} holds images of the modes {_examples(headers, modes, 'mode')}. Give one to convert all: "
            f"{argument('mode', 'L')} (grey) or {argument('mode', 'RGB')}."
        )
    return headers[0].mode


def _examples(headers: Sequence[_ImageHeader], counts: Counter, field: str) -> str:
    first = {kind: next(entry.name for entry in headers if getattr(entry, field) == kind) for kind in counts}
    return ", ".join(f"{kind} ({count}, such as {first[kind]!r})" for kind, count in counts.most_common(5))


def _pixels(path: Path, size: tuple[int, int], mode: str) -> np.ndarray:
    height, width = size
    with _opened(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert(mode)
        if upright.size != (width, height):
            upright = upright.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(upright) if mode == "L" else np.asarray(upright).transpose(2, 0, 1)
