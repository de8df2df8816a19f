"""All commands. The help lists them in the order in which these two modules define them, and are imported here."""

from __future__ import annotations

from pyrovae.cli import commands_on_data, commands_that_ship
from pyrovae.cli.app import app

__all__ = ["app", "commands_on_data", "commands_that_ship"]
