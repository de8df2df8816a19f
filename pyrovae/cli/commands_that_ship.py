"""Commands that write files for others, and their help; what they do is imported when one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyrovae.cli import options
from pyrovae.cli.app import app, examples


@app.command(epilog=examples("pyrovae export runs/wine wine.nc", "pyrovae export runs/wine new.zarr new-wine.csv"))
def export(
    run: options.Run,
    out: options.ArvizFile,
    data: options.OtherData = None,
    draws: Annotated[int, typer.Option(help="Draws of everything.")] = 500,
    pair: options.PairAgain = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
) -> None:
    """Write posterior, predictions, prior, likelihood and data as a file for ArviZ, in the units of the model."""
    from pyrovae.prediction import store

    store.checked_path(out)
    from pyrovae.cli import outputs, trained_run

    opened = trained_run.open_run(run, pair=pair, data=data, command="export")
    outputs.export(opened, out, draws=draws, seed=seed)
    typer.echo(out)


@app.command(
    epilog=examples(
        "pyrovae to-onnx runs/digits -o served", "pyrovae to-onnx runs/digits -o served --format torch --parts encode"
    )
)
def to_onnx(
    run: options.Run,
    data: options.OtherData = None,
    out: options.Served = Path("served"),
    format: Annotated[str, typer.Option("--format", help="onnx, or torch for torch.export.")] = "onnx",
    parts: Annotated[str, typer.Option(help="Of encode, decode and elbo, with commas between.")] = "encode,decode,elbo",
    pair: options.PairAgain = None,
) -> None:
    """Write parts of a run's model as graphs, for programs that have neither Pyro nor this package."""
    from pyrovae.cli import deployed, trained_run

    opened = trained_run.open_run(run, pair=pair, data=data, command="to-onnx")
    for line in deployed.write_parts(opened, out, format=format, parts=parts):
        typer.echo(line)


@app.command(epilog=examples("pyrovae model-card runs/digits -o digits-vae --license apache-2.0"))
def model_card(
    run: options.Run,
    data: options.OtherData = None,
    out: options.Card = Path("model-card"),
    license: Annotated[str | None, typer.Option(help="As the Hub writes it, apache-2.0 say.")] = None,
    rows: Annotated[int, typer.Option(help="How many rows to look at.")] = 500,
    pair: options.PairAgain = None,
) -> None:
    """Write a run as a folder in the Hub's layout: README.md, config.json, model.safetensors."""
    from pyrovae.cli import deployed, trained_run

    opened = trained_run.open_run(run, pair=pair, data=data, command="model-card")
    typer.echo(deployed.write_card(opened, out, license=license, rows=rows))


@app.command(
    epilog=examples("pyrovae compress runs/photos -o photos.pv", "pyrovae compress runs/photos new.npy -o new.pv")
)
def compress(
    run: options.Run,
    data: options.OtherData = None,
    out: options.Compressed = Path("compressed.pv"),
    portable: options.Portable = True,
    pair: options.PairAgain = None,
) -> None:
    """Write data as a file whose length is the model's bound; the run's folder reads it again."""
    from pyrovae.cli import compressed_data, trained_run

    opened = trained_run.open_run(run, pair=pair, data=data, command="compress")
    typer.echo(compressed_data.compress_data(opened, out, portable=portable))


@app.command(epilog=examples("pyrovae decompress runs/photos photos.pv -o photos.npy"))
def decompress(
    run: options.Run,
    file: Annotated[Path, typer.Argument(help="What `pyrovae compress` wrote.")],
    out: options.Decompressed = Path("decompressed.npy"),
    pair: options.PairAgain = None,
) -> None:
    """Read a compressed file with the run that wrote it."""
    from pyrovae.cli import compressed_data

    typer.echo(compressed_data.decompress_data(run, file, out, pair=pair))


@app.command(epilog=examples("pyrovae explore runs/digits", "pyrovae explore runs/digits --rows 100 -o digits.html"))
def explore(
    run: options.Run,
    data: options.OtherData = None,
    rows: options.HeldRows = 0,
    pair: options.PairAgain = None,
    out: options.NewPage = None,
) -> None:
    """Write explorer.html: a page in which one moves latent numbers, and the decoder answers. It needs no network."""
    from pyrovae.cli import explorer_of_run, trained_run

    opened = trained_run.open_run(run, pair=pair, data=data, command="explore")
    typer.echo(explorer_of_run.explore_run(opened, rows=rows, out=out))
