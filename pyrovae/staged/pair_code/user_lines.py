"""The line of a user's own code at which something happens or went wrong."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

_OURS = ("torch.", "pyro.", "pyrovae.", "unittest.", "contextlib.", "functools.")

_MACHINERY = ("torch.", "unittest.", "contextlib.", "functools.", "pyrovae.staged.", "pyrovae.export.deployment.")

_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")})

# Further out stands who called `fit`, or asked for a graph, and not the pair.
_ENDS = ("pyrovae.staged.tracing.capture", "pyrovae.export.deployment.row_graph")


_DENSITIES = ("log_prob_sum", "compute_log_prob", "compute_score_parts")  # of Pyro's traces


def place() -> str:
    """The innermost line of the pair's author that runs now; where there is none, that of a library."""
    site = _site(sys._getframe(1))
    found = _chosen(_frames(sys._getframe(1)))
    return f"{found}, for the density of site {site!r}" if site else found


def place_of(error: BaseException) -> str:
    """The innermost line of the pair's author that an error came through."""
    found = [
        (frame.f_globals.get("__name__", ""), frame.f_code, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    last = max((number for number, (name, *_) in enumerate(found) if name in _ENDS), default=-1)
    return _chosen(reversed(found[last + 1 :]))


def _frames(frame: Any) -> Iterator[tuple[str, CodeType, int]]:
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name in _ENDS:
            return
        yield name, frame.f_code, frame.f_lineno
        frame = frame.f_back


def _site(frame: Any) -> str | None:
    """The site whose density Pyro computes now, which is no line of the author's."""
    while frame is not None and frame.f_globals.get("__name__", "") not in _ENDS:
        if frame.f_code.co_name in _DENSITIES and isinstance(frame.f_locals.get("name"), str):
            return frame.f_locals["name"]
        frame = frame.f_back
    return None


def _chosen(frames: Iterable[tuple[str, CodeType, int]]) -> str:
    known = [(name, code.co_filename, line) for name, code, line in frames if not _is_generated(code.co_filename)]
    others = [one for one in known if not f"{one[0]}.".startswith(_OURS)]
    own = [one for one in others if not one[1].startswith(_LIBRARIES)]
    for name, path, line in own or others or [one for one in known if not _is_of_machinery(one[0])]:
        return f"{path}, line {line}" if own or others else f"{name}, line {line}"
    return "a library"


def _is_generated(path: str) -> bool:
    """Whether a file's name says that a library wrote the code; a cell of a notebook or a prompt is a user's."""
    return path.startswith("<") and not path.startswith(("<ipython", "<stdin"))


def _is_of_machinery(name: str) -> bool:
    return f"{name}.".startswith(_MACHINERY)
