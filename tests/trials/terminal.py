"""Commands as a user types them, without a shell."""

from __future__ import annotations

from pyrovae.cli.commands import app


def terminal(line: str) -> None:
    """Run a command."""
    app(line.removeprefix("pyrovae ").split(), standalone_mode=False)
