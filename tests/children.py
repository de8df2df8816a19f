"""Child processes that begin with torch, Pyro and this package imported, which takes three seconds anew."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

# One process imports them, once; each child is a fork of it that has run nothing else.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["torch", "pyro.infer.autoguide", "pyrovae.models.vaes.vae", "pyrovae.training.fit", "pyrovae.sampling.sampler"]
)


class Child:
    """A Python program in a process of its own.

    Args:
        program: a file, or lines of code.
        words: its arguments.
        folder: where it runs; left out, here.
        environment: variables beside those of this process.
        strict: whether a warning that the program itself is to blame for is an error.
    """

    def __init__(
        self,
        program: Path | str,
        *words: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        strict: bool = False,
    ):
        place = Path(tempfile.mkdtemp())
        if isinstance(program, str):
            (place / "program.py").write_text(program)
            program = place / "program.py"
        self._said = place / "out", place / "err"
        for file in self._said:
            file.touch()
        asked = program, words, folder or Path.cwd(), {**os.environ, **(environment or {})}, strict, self._said
        self._process = _CONTEXT.Process(target=_run, args=asked)
        self._process.start()
        atexit.register(self._process.kill)  # else the end of this process waits for a child that a test left behind

    @property
    def returncode(self) -> int | None:
        """0 where it ended well, minus the signal where one killed it, None where it still runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def communicate(self, timeout: float = 200.0) -> tuple[str, str]:
        """Wait for its end: what it wrote to its output, and to its errors."""
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            raise TimeoutError(f"a child has not ended after {timeout:g} s; it wrote {self._texts()}")
        return self._texts()

    def _texts(self) -> tuple[str, str]:
        out, err = (file.read_text() for file in self._said)
        shutil.rmtree(self._said[0].parent)
        return out, err


def _run(
    program: Path, words: list[str], folder: Path, environment: dict[str, str], strict: bool, said: tuple[Path, Path]
) -> None:
    for number, file in enumerate(said, start=1):
        with file.open("w") as stream:
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs behind a script has inherited deaf ears
    # Other packages warn while they are imported.
    warnings.simplefilter("ignore")
    if strict:
        warnings.filterwarnings("error", category=UserWarning, module="__main__")
    # Without this all children would draw the same.
    torch.seed()
    np.random.seed()  # noqa: NPY002 - the global generator is what a user's model may use
    random.seed()
    sys.argv[:] = [str(program), *words]
    sys.path.insert(0, str(program.parent))
    runpy.run_path(str(program), run_name="__main__")
