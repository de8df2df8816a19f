"""How the commands end when something is wrong: one line in red, exit code 2, no traceback unless asked for."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from pyrovae.cli.option_names import as_option
from pyrovae.errors import PyrovaeError, PyrovaeWarning, spelled

WRONG = 2

# What shells expect of a program that Ctrl-C ended: 128 + the signal's number.
INTERRUPTED = 130


class Commands(TyperGroup):
    """A group of commands whose errors are sentences."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with spelled(as_option), shown_warnings(), shown_log():
            try:
                return super().invoke(ctx)
            except PyrovaeError as error:
                if ctx.params.get("debug"):
                    raise
                complain("Error", str(error), color=typer.colors.RED)
                raise typer.Exit(WRONG) from None
            except KeyboardInterrupt:
                if ctx.params.get("debug"):
                    raise
                complain("Stopped", "nothing was under way that could be saved.", color=typer.colors.YELLOW)
                raise typer.Exit(INTERRUPTED) from None
            except BrokenPipeError:
                # The reader of our output went away, `pyrovae ... | head` say; so do we.
                sys.stderr.close()
                raise typer.Exit(1) from None


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Show the package's own warnings as a sentence, without the line of code that raised them."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Any, category: Any, *rest: Any, **more: Any) -> None:
            if issubclass(category, PyrovaeWarning):
                complain("Warning", str(message), color=typer.colors.YELLOW)
            else:
                usual(message, category, *rest, **more)

        warnings.showwarning = show
        yield


class _LogHandler(logging.Handler):
    """The package's log on standard error; the verdict on a run is left to the command that made it."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "pyrovae.verdicts":
            typer.echo(record.getMessage(), err=True)


@contextmanager
def shown_log() -> Iterator[None]:
    """Show what the package logs, such as where a data set is downloaded from."""
    logger, handler = logging.getLogger("pyrovae"), _LogHandler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def complain(kind: str, words: str, *, color: str) -> None:
    """A sentence on standard error, in color where that is a terminal."""
    typer.secho(f"{kind}: {words}", fg=color, err=True)
