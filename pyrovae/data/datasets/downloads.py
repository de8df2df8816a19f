"""Downloads into a cache folder: nothing is kept whose hash is not the known one."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import sys
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from pyrovae.data.whole_file import whole_file
from pyrovae.errors import FileError, argument

_log = logging.getLogger("pyrovae")

_TIMEOUT = 30  # seconds without an answer before the next mirror is tried

_LARGEST = 2**26  # bytes; the largest known file has 26 MB, so whatever is longer is something else


class Download(NamedTuple):
    """Where a data set can be downloaded, and the SHA-256 of each file as published or as unpacked."""

    mirrors: tuple[str, ...]
    hashes: dict[str, str]


def _cache() -> Path:
    chosen = os.environ.get("PYROVAE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    usual = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(usual or Path.home() / ".cache") / "pyrovae"


def cached(name: str, source: Download, file: str, *, download: bool) -> Path:
    """The place of a file in the cache, once a sound one is there."""
    path = _cache() / name / f"{file}.gz"
    if path.is_file() and path.stat().st_size < _LARGEST and is_sound(path.read_bytes(), source.hashes[file]):
        return path
    if not download:
        raise FileError(
            f"{path} is not there, or not sound, and download=False. Allow the download, or give {argument('root')}."
        )
    content = _fetch(source, file, path)
    with whole_file(path, make_folder=True, mend="Set PYROVAE_CACHE.") as stream:
        stream.write(content)
    return path


def is_sound(content: bytes, expected: str) -> bool:
    """Whether a gzipped file, or what is in it, has this SHA-256."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(_LARGEST)
        return expected in (hashlib.sha256(part).hexdigest() for part in (content, unpacked))
    except (OSError, EOFError, zlib.error):  # not gzip, cut short, damaged
        return False


def _fetch(source: Download, file: str, path: Path) -> bytes:
    troubles = []
    for mirror in source.mirrors:
        address = f"{mirror}{file}.gz"
        _log.info("downloading %s to %s", address, path)
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
                content = answer.read(_LARGEST)
        except (OSError, HTTPException) as error:
            troubles.append(f"{address}: {error}")
            continue
        if is_sound(content, source.hashes[file]):
            return content
        troubles.append(f"{address}: its SHA-256 is not the known one, so it was not kept")
    raise FileError(
        f"{file}.gz could not be downloaded. {'; '.join(troubles)}. Put the files in a folder yourself "
        f"and give {argument('root')}."
    )
