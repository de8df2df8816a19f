"""What of a user's code one pass runs, seen by Python's own profiler."""

from __future__ import annotations

import gc
import inspect
import random
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# Code that keeps nothing of its own from pass to pass, or whose state is looked after elsewhere.
LIBRARIES = frozenset({"torch", "pyro", "pyrovae", "numpy", "opt_einsum"})


def is_of_library(name: str | None) -> bool:
    """Whether a module of this name is no user's."""
    root = (name or "").partition(".")[0]
    if root.startswith("namedtuple_"):
        return True
    return root != "__main__" and (root in LIBRARIES or root in sys.stdlib_module_names)


class UserCode:
    """The functions of users that ran, what they were given, and the words that their code says.

    Attributes:
        names: of attributes, of variables from outside, and every text in the code: what it can have asked for.
        codes: the code of each function that ran.
        outside: the globals of each module whose functions ran, and the names that they say.
        given: arguments and variables from around the functions, by name.
        clock: where the time was asked for; None where nobody did.
        draws: where random numbers were drawn that are not torch's; None where nobody did.
    """

    def __init__(self):
        self.names: set[str] = set()
        self.codes: set[types.CodeType] = set()
        self.outside: dict[str, tuple[dict[str, Any], set[str]]] = {}
        self.given: list[tuple[str, Any]] = []
        self.clock: str | None = None
        self.draws: str | None = None
        self._drawn: Any = None  # the generators as they were last seen

    def begin(self) -> None:
        """Note the random generators as a pass begins."""
        self._drawn = _generators()

    def __call__(self, frame: types.FrameType, event: str, argument: Any) -> None:
        """Called by Python at each call and return."""
        if is_of_library(frame.f_globals.get("__name__")):
            return
        if event == "return":
            self._note_draws(frame)
        elif event == "c_call":
            if _tells_time(argument):
                self.clock = f"{frame.f_code.co_filename}, line {frame.f_lineno}"
        elif event == "call":
            self._enter(frame)

    def know(self, code: types.CodeType | None) -> set[str]:
        """Note what a code says: attributes, variables from outside, texts."""
        said = set() if code is None else set(code.co_names) | set(_texts(code.co_consts))
        self.names |= said | set(() if code is None else code.co_freevars)
        return said

    def _note_draws(self, frame: types.FrameType) -> None:
        """The innermost function in which a generator has moved on; nothing else shows that numpy has drawn."""
        before, self._drawn = self._drawn, _generators()
        if self.draws is None and before not in (None, self._drawn):
            self.draws = f"{frame.f_code.co_filename}, line {frame.f_lineno}"

    def _enter(self, frame: types.FrameType) -> None:
        code = frame.f_code
        self.codes.add(code)
        said = self.know(code)
        module = frame.f_globals.get("__name__", "")
        self.outside.setdefault(module, (frame.f_globals, set()))[1].update(said)
        self.given += [(name, value) for name, value in frame.f_locals.items() if not isinstance(value, torch.Tensor)]


@contextmanager
def profiled(code: UserCode) -> Iterator[None]:
    """Note what of the user's code runs inside, in this thread; a profiler of the user's own pauses.

    So does the garbage collector: what others have hooked to it (hypothesis asks for the time there) would run in the
    midst of the pair's code.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with _paused_profiler():
            code.begin()
            sys.setprofile(code)
            yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _paused_profiler() -> Iterator[None]:
    before: Any = sys.getprofile()
    if before is None or callable(before):
        try:
            yield
        finally:
            sys.setprofile(before)
        return
    before.disable()  # cProfile, which only its own methods take out and put back
    try:
        yield
    finally:
        sys.setprofile(None)
        before.enable()


def _generators() -> Any:
    state: Any = np.random.get_state()  # noqa: NPY002 - what a user's model may draw from
    return random.getstate(), state[1].tobytes(), state[2:]


def _texts(constants: tuple) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from _texts(constant)


def _tells_time(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    if inspect.ismodule(owner):
        return owner.__name__ == "time" and function.__name__ not in ("sleep", "strftime")
    return getattr(owner, "__module__", "") == "datetime" and function.__name__ in ("now", "utcnow", "today")
