"""The command line as a whole: its own help, and what every command has."""

from __future__ import annotations

from typing import Annotated

import typer

from pyrovae import __version__
from pyrovae.cli.messages import Commands

app = typer.Typer(
    cls=Commands,
    name="pyrovae",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def examples(*lines: str) -> str:
    """Command lines for the end of a help text, each on a line of its own."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pyrovae {__version__}")
        raise typer.Exit


@app.callback(
    epilog=examples(
        "pyrovae demo",
        "pyrovae train digits --latent 8",
        "pyrovae train wine.csv --out runs/wine",
        "pyrovae evaluate runs/wine",
        "pyrovae report runs/wine",
    )
)
def pyrovae(
    debug: Annotated[bool, typer.Option("--debug", envvar="PYROVAE_DEBUG", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train variational autoencoders, or any Pyro model and guide, and look at what they learned."""
