"""Commands that train, ask and fill, their options and their help; what they do is imported when one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyrovae.cli import options
from pyrovae.cli.app import app, examples


@app.command(epilog=examples("pyrovae demo", "pyrovae demo --out runs/first"))
def demo(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run.", show_default="pyrovae-demo, numbered")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 60,
    quiet: options.Quiet = False,
) -> None:
    """Train on the bundled digits, evaluate, and write a report: under a minute."""
    from pyrovae.cli.demo import demonstrate

    demonstrate(out, epochs=epochs, quiet=quiet)


@app.command(
    epilog=examples(
        "pyrovae train digits",
        "pyrovae train mnist --data-root idx-files --likelihood bernoulli",
        "pyrovae train wine.csv --label class --anneal 20 --out runs/wine",
        "pyrovae train patients.csv --labels diagnosis --out runs/diagnosed",
        "pyrovae train patients.csv --condition age,sex --out runs/under",
        "pyrovae train photos/ --size 64,64 --mode RGB --net conv --precision bfloat16",
        "pyrovae train counts.npz --key x --pair my_models.py:make_pair",
        "pyrovae train --resume --out runs/wine --epochs 400",
    )
)
def train(
    data: options.Data = None,
    out: options.Out = None,
    resume: options.Resume = False,
    pair: options.OwnPair = None,
    likelihood: options.Likelihood = None,
    scaling: options.Scaling = None,
    net: options.Net = None,
    hidden: options.Hidden = None,
    latent: options.Latent = None,
    prior: options.Prior = None,
    guide: options.Guide = None,
    components: options.Components = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    beta: options.Beta = None,
    anneal: options.Anneal = None,
    clip_norm: options.ClipNorm = None,
    validation: options.Validation = None,
    patience: options.Patience = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    staged: options.Staged = None,
    precision: options.Precision = None,
    data_root: options.DataRoot = None,
    key: options.Key = None,
    columns: options.Columns = None,
    label: options.Label = None,
    labels: options.Labels = None,
    condition: options.Condition = None,
    header: options.Header = None,
    size: options.Size = None,
    mode: options.Mode = None,
    shape: options.Shape = None,
    report: options.Report = True,
    schema: options.SchemaFile = None,
    tensorboard: options.TensorBoard = False,
    quiet: options.Quiet = False,
) -> None:
    """Train on DATA: looks at them, says what it chose and why, and writes a folder."""
    from pyrovae.cli import demo
    from pyrovae.cli.request import DataOptions, ModelOptions, TrainingOptions, TrainRequest

    widths = options.numbers("--hidden", hidden)
    event = options.numbers("--shape", shape)
    names, pixels = options.words(columns), options.height_and_width(size)
    beside = options.words(condition)
    source = DataOptions(data_root, key, header, names, label, pixels, mode, event, labels, beside)
    model = ModelOptions(likelihood, scaling, net, widths, latent, prior, components, guide)
    training = TrainingOptions(
        epochs, batch_size, learning_rate, beta, anneal, clip_norm, validation, patience, seed, staged, precision
    )
    asked = TrainRequest(data, out, pair, source, model, training, device, resume, quiet, schema, tensorboard)
    demo.train_and_tell(asked, report=report)


@app.command(
    epilog=examples(
        "pyrovae evaluate runs/wine",
        "pyrovae evaluate runs/wine new-wine.csv --json",
        "pyrovae evaluate runs/wine --seeds 5",
        "pyrovae evaluate runs/wine --thorough",
    )
)
def evaluate(
    run: options.Run,
    data: options.OtherData = None,
    pair: options.PairAgain = None,
    draws: Annotated[int, typer.Option(help="Draws of the latent variables for each datum, for the ELBO.")] = 10,
    evidence_draws: options.EvidenceDraws = 200,
    rows: options.Rows = None,
    seeds: options.Seeds = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Evidence by annealing, and what the guide costs: a minute or more.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON in place of a table.")] = False,
) -> None:
    """Print what the run comes to on held-out data: ELBO, evidence, codes, coverage, and how real drawn data look."""
    from pyrovae.cli import evaluate, measures, trained_run

    effort = measures.Effort(draws, evidence_draws, rows, thorough)
    opened = trained_run.open_run(run, pair=pair, data=data, command="evaluate")
    evaluate.evaluate(opened, effort, seeds=seeds, as_json=as_json)


@app.command(
    epilog=examples(
        "pyrovae sample runs/digits -n 100",
        "pyrovae sample runs/wine -n 1000 --out new.csv",
        "pyrovae sample runs/wine -n 1000 --where class=rare --where year=2001",
        "pyrovae sample runs/under -n 1000 --where age=40 --where sex=f",
    )
)
def sample(
    run: options.Run,
    number: options.Number = 64,
    pair: options.PairAgain = None,
    seed: Annotated[int | None, typer.Option(help="Of the draws.", show_default="another each time")] = None,
    mean: Annotated[
        bool | None,
        typer.Option("--mean/--draw", help="Means or draws of the likelihood.", show_default="means of images"),
    ] = None,
    where: options.Where = None,
    candidates: options.Candidates = None,
    out: options.NewFile = None,
) -> None:
    """Draw new data: images as .png and .npy, rows as .csv and .npy, into the folder of the run."""
    from pyrovae.cli import sample, trained_run

    opened = trained_run.open_run(run, pair=pair, data=None, command="sample")
    drawn = sample.sample(opened, number, where or [], candidates=candidates, seed=seed, mean=mean, out=out)
    for path in drawn:
        typer.echo(path)


@app.command(epilog=examples("pyrovae reconstruct runs/digits -n 16", "pyrovae reconstruct runs/wine new-wine.csv"))
def reconstruct(
    run: options.Run,
    data: options.OtherData = None,
    number: options.Number = 16,
    pair: options.PairAgain = None,
    out: options.NewFile = None,
) -> None:
    """Pass data through the model: images with the originals above, rows as .csv."""
    from pyrovae.cli import outputs, trained_run

    opened = trained_run.open_run(run, pair=pair, data=data, command="reconstruct")
    for path in outputs.reconstruct(opened, number, out=out):
        typer.echo(path)


@app.command(
    epilog=examples(
        "pyrovae impute runs/patients patients.csv", "pyrovae impute runs/patients new.csv -o filled.parquet --draws 20"
    )
)
def impute(
    run: options.Run,
    data: options.OtherData = None,
    draws: Annotated[
        int | None, typer.Option(help="Whole tables below each other, one for each draw.", show_default="one, likely")
    ] = None,
    candidates: options.Candidates = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: options.NewTable = None,
) -> None:
    """Fill the holes of a table, with likely values or with draws."""
    from pyrovae.cli import table_outputs, trained_run

    opened = trained_run.open_run(run, pair=None, data=data, command="impute")
    typer.echo(table_outputs.impute(opened, draws=draws, candidates=candidates, seed=seed, out=out))


@app.command(
    epilog=examples(
        "pyrovae outliers runs/patients patients.csv",
        "pyrovae outliers runs/patients patients.csv --drop 0.9 -o clean.csv",
        "pyrovae outliers runs/patients patients.csv --holes 0.9 -o clean.csv",
    )
)
def outliers(
    run: options.Run,
    data: options.OtherData = None,
    drop: options.Drop = None,
    holes: options.Holes = None,
    draws: Annotated[int, typer.Option(help="Of the latent variables, for the density of each cell.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: options.NewTable = None,
) -> None:
    """Say which cells and rows of a table are outliers, and why; write it without them, or else the list."""
    from pyrovae.cli import table_outputs, trained_run

    opened = trained_run.open_run(run, pair=None, data=data, command="outliers")
    for line in table_outputs.outliers(opened, drop=drop, holes=holes, draws=draws, seed=seed, out=out):
        typer.echo(line)


@app.command(epilog=examples("pyrovae encode runs/digits -o codes.npz", "pyrovae encode runs/wine new-wine.csv"))
def encode(
    run: options.Run,
    data: options.OtherData = None,
    pair: options.PairAgain = None,
    out: options.NewCodes = None,
) -> None:
    """Write mean and scale of the latent variables of each row."""
    from pyrovae.cli import table_outputs, trained_run

    opened = trained_run.open_run(run, pair=pair, data=data, command="encode")
    typer.echo(table_outputs.encode(opened, out=out))


@app.command(
    epilog=examples(
        "pyrovae report runs/digits",
        "pyrovae report runs/mine --pair my_models.py:make_pair",
        "pyrovae report model.safetensors rows.npy --pair my_models.py:make_pair",
    )
)
def report(
    run: options.RunOrModel,
    data: options.OtherData = None,
    pair: options.PairAgain = None,
    out: options.NewReport = None,
) -> None:
    """Write report.html: a verdict, what is certain, what is strange, calibration, curves, reconstructions, samples."""
    if run.is_file():
        from pyrovae.cli.report_of_model import report_of_model

        typer.echo(report_of_model(run, data, pair, out))
        return
    from pyrovae.cli import outputs, trained_run

    typer.echo(outputs.write_report(trained_run.open_run(run, pair=pair, data=data, command="report"), out=out))
