"""What `pyrovae` runs: a command, its errors in words, and its exit status.

Nothing here imports torch, pyro or numpy before a command needs them, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import sys

from pyrovae.cli.commands import app


def main() -> None:
    """Run the command line with the arguments of the process."""
    for stream in (sys.stdout, sys.stderr):  # names of folders need be no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="pyrovae")
