"""Lines of text that a run is to be trained on, and what their pair is made of."""

from __future__ import annotations

import typer

from pyrovae.cli.request import TrainRequest, given
from pyrovae.cli.text_config import TextConfig
from pyrovae.data.origin import Data, DataSource
from pyrovae.errors import ArgumentError
from pyrovae.tables.text.vocabulary import vocabulary


def read_text(request: TrainRequest, source: DataSource) -> tuple[TextConfig, Data]:
    """Look at the lines of a file.

    Raises:
        ArgumentError: an option is for other data.
    """
    if (option := request.one_family) or request.schema is not None:
        raise ArgumentError(f"{option or '--schema'} means nothing for lines of text ({source.name}): leave it out.")
    chosen = given(request.model)
    widths = chosen.pop("hidden", None)
    if widths is not None and len(widths) != 1:
        raise ArgumentError(f"--hidden {','.join(map(str, widths))}: networks of text have one width; give one number.")
    if min([*chosen.values(), *(widths or ())], default=1) < 1:
        raise ArgumentError("--latent and --hidden are whole numbers, 1 at least.")
    lines = source.load_lines()
    words = vocabulary(lines)
    if not request.quiet:
        typer.echo(f"{len(lines):,} lines: {words}")
    config = TextConfig(words.toml(), **chosen, **({} if widths is None else {"hidden": widths[0]}))
    return config, source.load_tokens(words, lines)
