"""The command line: `pyrovae demo | train | evaluate | sample | reconstruct | export | report`.

Nothing here imports torch, pyro or numpy before a command needs them, so that `--help` answers at once.
"""

from __future__ import annotations

from pyrovae.cli.commands import app


def main() -> None:
    """Run the command line with the arguments of the process."""
    app(prog_name="pyrovae")
