"""Every option of the command line that is long to say or shared, by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pyrovae.errors import ArgumentError

_DATA = "digits, mnist, fashion-mnist, kmnist, a .npy, .npz, .csv, .parquet or .txt file, or a folder of images."

_LIKELIHOODS = (
    "bernoulli, continuous-bernoulli, discretized-logistic, normal, laplace, student-t, log-normal, beta, poisson, "
    "negative-binomial."
)

_HIDDEN = "Widths of the hidden layers, 256,128 say, or the channels of conv; '' for none."

_PATIENCE = "Stop after so many epochs without a better held-out ELBO, and keep the best weights; 0 never stops."

_LABEL = "Column or array of classes: not trained on, colours the report."

_LABELS = (
    "Column of classes, empty where unknown, that the model learns to tell; of arrays the name of one in the .npz file "
    "(-1 where unknown), a .npy or .csv file, or 'labels' of a data set."
)

_CONDITION = "Columns that the others are modelled under, with commas between; of arrays as for --labels."


def _option(*names: str, help: str, usual: Any = False, panel: str | None = None) -> Any:
    return typer.Option(*names, help=help, show_default=usual, rich_help_panel=panel)


# --- of several commands ------------------------------------------------------------------------------
Run = Annotated[Path, typer.Argument(help="The folder that train made.", show_default=False)]

RunOrModel = Annotated[
    Path, typer.Argument(help="The folder that train made, or a file of weights of your own pair.", show_default=False)
]

OtherData = Annotated[str | None, typer.Argument(help="Other data than the run's held-out rows.", show_default=False)]

PairAgain = Annotated[
    str | None, _option("--pair", help="The run's own pair again, module:function: no file says what code is run.")
]

Number = Annotated[int, typer.Option("--number", "-n", help="How many.")]

TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write figures into the run's folder tensorboard, too, while it trains.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no words.")]

NewFile = Annotated[Path | None, _option("--out", "-o", help="A new .png, .csv or .npy file.", usual="in the run")]

NewPage = Annotated[Path | None, _option("--out", "-o", help="A new .html file.", usual="explorer.html in the run")]

HeldRows = Annotated[
    int, _option("--rows", help="Rows that the page holds, to start from and as neighbours.", usual="none")
]

NewReport = Annotated[Path | None, _option("--out", "-o", help="A new .html file.", usual="in the run")]


Candidates = Annotated[
    int | None, _option(help="Draws of the latent variables that are weighed for it.", usual="5 a draw, 200 at least")
]

Where = Annotated[
    list[str] | None,
    _option(help="column=value: rows of which that is given, or the condition; several times for several columns."),
]

Drop = Annotated[
    float | None,
    _option(help="Leave out rows that are outliers with more probability, as a whole or in one of their cells."),
]

Holes = Annotated[
    float | None,
    _option(help="Empty cells that are outliers with more probability, and leave out rows of which none is to blame."),
]

NewTable = Annotated[Path | None, _option("--out", "-o", help="A new .csv or .parquet file.", usual="in the run")]

NewCodes = Annotated[Path | None, _option("--out", "-o", help="A new .csv, .parquet or .npz file.", usual="in the run")]

Compressed = Annotated[Path, _option("--out", "-o", help="A new file.", usual="compressed.pv")]

Decompressed = Annotated[
    Path, _option("--out", "-o", help="A new .npy file, or .npz where rows have a condition.", usual="decompressed.npy")
]

Served = Annotated[Path, _option("--out", "-o", help="A new folder.", usual="served")]

Card = Annotated[Path, _option("--out", "-o", help="A new folder.", usual="model-card")]

Portable = Annotated[
    bool,
    _option(
        "--portable/--no-portable",
        help="Bits that every machine decodes, or faster ones for this machine.",
        usual="portable",
    ),
]

ArvizFile = Annotated[
    Path, typer.Argument(help="A new file ending in .nc (netCDF), or a new folder ending in .zarr.", show_default=False)
]


# --- of evaluate --------------------------------------------------------------------------------------
EvidenceDraws = Annotated[int, typer.Option(help="Draws for each datum for evidence, weights and intervals.")]

Rows = Annotated[
    int | None, _option(help="Rows for all but the ELBO, chosen at random.", usual="500, fewer of large images")
]

Seeds = Annotated[
    int | None, _option(help="Train from so many seeds; the spread of evidence and of drawn data.", usual="none")
]


# --- of train -----------------------------------------------------------------------------------------
Data = Annotated[str | None, typer.Argument(help=_DATA, show_default=False)]

Out = Annotated[Path | None, _option("--out", "-o", help="Folder of the run; never overwritten.", usual="runs/DATA")]

Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]

OwnPair = Annotated[str | None, _option(help="A pair of your own: module:function, or path/to/file.py:function.")]

Report = Annotated[bool, typer.Option(help="Write report.html at the end.")]


Likelihood = Annotated[str | None, _option(help=_LIKELIHOODS, usual="by the data", panel="Model")]

Scaling = Annotated[
    str | None, _option(help="none, unit, standard, log, binary.", usual="by the likelihood", panel="Model")
]

Net = Annotated[str | None, _option(help="mlp or conv.", usual="by the data", panel="Model")]

Hidden = Annotated[str | None, _option(help=_HIDDEN, usual="by the data", panel="Model")]

Latent = Annotated[int | None, _option(help="Latent dimensions.", usual="by the data", panel="Model")]

Prior = Annotated[
    str | None, _option(help="standard, learned, student, mixture, vamp, flow.", usual="standard", panel="Model")
]

Guide = Annotated[str | None, _option(help="normal, full, mixture, iaf.", usual="normal", panel="Model")]

Components = Annotated[int | None, _option(help="Of the mixture or vamp prior.", usual="50", panel="Model")]


Epochs = Annotated[int | None, _option(help="Passes over the data.", usual="by the data", panel="Training")]

BatchSize = Annotated[int | None, _option(help="Rows in a batch.", usual="128", panel="Training")]

LearningRate = Annotated[float | None, _option(help="Of Adam.", usual="0.001", panel="Training")]

Beta = Annotated[float | None, _option(help="Weight of the rate (KL).", usual="1", panel="Training")]

Anneal = Annotated[
    int | None, _option(help="Epochs in which the weight rises from 0 to beta.", usual="0", panel="Training")
]

ClipNorm = Annotated[float | None, _option(help="Largest norm of a gradient.", usual="none", panel="Training")]

Validation = Annotated[float | None, _option(help="Fraction of rows held out.", usual="0.1", panel="Training")]

Patience = Annotated[int | None, _option(help=_PATIENCE, usual="20, or 500 steps, where beta is 1", panel="Training")]

Seed = Annotated[int | None, _option(help="Of all random numbers.", usual="0", panel="Training")]

Device = Annotated[str, _option(help="auto, cpu, cuda, cuda:1.", usual="auto", panel="Training")]


Staged = Annotated[
    str | None, _option(help="auto, true, false, traced, compiled: see `fit`.", usual="auto", panel="Training")
]

Precision = Annotated[
    str | None, _option(help="bfloat16 for the networks' matrix products.", usual="single", panel="Training")
]


DataRoot = Annotated[str | None, _option(help="Folder that holds MNIST's four IDX files.", panel="Data")]

SchemaFile = Annotated[
    Path | None, _option("--schema", help="What the columns of a table are: an edited schema.toml.", panel="Data")
]

Key = Annotated[str | None, _option(help="Array of an .npz file.", panel="Data")]

Columns = Annotated[str | None, _option(help="Columns to train on, with commas between.", panel="Data")]

Label = Annotated[str | None, _option(help=_LABEL, panel="Data")]

Labels = Annotated[str | None, _option(help=_LABELS, panel="Data")]

Condition = Annotated[str | None, _option(help=_CONDITION, panel="Data")]

Header = Annotated[bool | None, _option(help="Whether a .csv file begins with names.", panel="Data")]

Size = Annotated[str | None, _option(help="Height,width that images are resized to.", panel="Data")]

Mode = Annotated[Literal["L", "RGB"] | None, _option(help="Grey or colour, converted.", panel="Data")]

Shape = Annotated[str | None, _option(help="Shape of images whose pixels stand in rows.", panel="Data")]


# --- texts that mean several things at once -----------------------------------------------------------
def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers with commas or x between them; an empty text means none."""
    if text is None:
        return None
    try:
        found = tuple(int(part) for part in re.split("[,x]", text)) if text.strip() else ()
    except ValueError:
        found = (0,)
    if any(number < 1 for number in found):
        raise ArgumentError(f"{option} {text}: write whole numbers above 0 with commas between them, such as 256,128.")
    return found


def height_and_width(text: str | None) -> tuple[int, ...] | None:
    """Height and width; one number means both."""
    size = numbers("--size", text)
    if size is not None and len(size) == 1:
        size *= 2
    if size is not None and len(size) != 2:
        raise ArgumentError(f"--size {text}: write height,width, or one number for both.")
    return size


def words(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between them."""
    return None if text is None else tuple(name.strip() for name in text.split(","))
