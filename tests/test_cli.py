"""The command line, end to end on small data: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from children import Child
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

import pyrovae as pv
from pyrovae.cli import advice
from pyrovae.cli.commands import app
from pyrovae.cli.evaluate import lines
from pyrovae.cli.model_config import ModelConfig
from pyrovae.cli.option_names import _EXAMPLES, _OPTIONS, as_option
from pyrovae.cli.request import TrainingOptions, TrainingSettings
from pyrovae.cli.run_folder import RunFolder
from pyrovae.data.origin import Data, split, square_images
from pyrovae.data.read_as import read_as
from pyrovae.errors import spelled
from pyrovae.evaluation.active_units import ActiveUnits
from pyrovae.prediction.store import read_groups
from pyrovae.training.verdict import active_verdict, curve_verdict

OWN = """
import pyro, torch
import pyro.distributions as dist
import pyrovae as pv
from torch import nn

print("imported")

def make():
    encoder, decoder = nn.Linear(5, 4), nn.Linear(2, 5)
    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0, 1).expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1).to_event(1), obs=x)
    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x / 100).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))
    return pv.Pair(model, guide)

def number():
    return 3

def broken():
    return 1 / 0
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYROVAE_DEBUG", raising=False)
    return tmp_path


def run(line: str):
    """A command as a user types it, without a shell."""
    # A command is a process of its own: nothing is in the store, and no module of the user's is imported.
    pyro.clear_param_store()
    sys.modules.pop("own", None)
    return CliRunner().invoke(app, line.split())


def succeeds(line: str) -> str:
    result = run(line)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(line: str) -> str:
    """The sentence of a command that must end with exit code 2 and one line, without a traceback."""
    result = run(line)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def rows(count: int = 60, columns: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, columns)) * [1, 10, 100, 1, 1] + 5


def table(path: str = "table.csv", *, count: int = 60) -> str:
    lines = ["a,b,c,d,e,kind", *(",".join(map(str, row)) + f",k{i % 3}" for i, row in enumerate(rows(count)))]
    Path(path).write_text("\n".join(lines) + "\n")
    return path


def train_table(out: str = "run", *more: str) -> None:
    succeeds(
        f"train {table()} --label kind --likelihood normal --out {out} --epochs 3 --hidden 8 --quiet {' '.join(more)}"
    )


# --- training and what follows ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_table_from_training_to_samples():
    result = run(f"train {table()} --label kind --likelihood normal --epochs 4 --hidden 8 --out run")
    assert result.exit_code == 0, result.output
    assert result.output.count("latent dimensions of 'z'") == 1  # the verdict, said once
    said = result.stdout
    line = next(line for line in said.splitlines() if "likelihood" in line)
    assert all(word in line for word in ("likelihood normal (", "scaling standard (", "nets mlp 8", "latent 2 ("))
    names = {path.name for path in Path("run").iterdir()}
    assert names == {"config.json", "metrics.jsonl", "checkpoints", "model.safetensors", "report.html"}
    epochs = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    assert all(row["validation_elbo"] is not None for row in epochs)

    found = json.loads(succeeds("evaluate run --json"))
    assert found["rows"] == 6
    assert found["elbo"] == pytest.approx(-(found["rate"] + found["distortion"]), abs=1e-4)
    assert found["active_units"]["z"]["total"] == 2
    assert "ELBO" in succeeds("evaluate run")

    succeeds("sample run -n 7 --seed 1")
    assert np.load("run/samples.npy").shape == (7, 5)
    assert Path("run/samples.csv").read_text().splitlines()[0] == "a,b,c,d,e"
    first = np.load("run/samples.npy")
    succeeds("sample run -n 7 --seed 1")
    assert np.array_equal(first, np.load("run/samples.npy"))

    succeeds("reconstruct run -n 3 --out again.npy")
    assert np.load("again.npy").shape == (3, 5)


@pytest.mark.parametrize("name", ["run.nc", "run.zarr"])
@pytest.mark.slow
def test_export_writes_a_file_for_arviz(name):
    train_table()
    assert succeeds(f"export run {name} --draws 20").strip() == name
    found = read_groups(name)
    predicted = found["posterior_predictive"]["x"]
    assert predicted.sizes == {"chain": 1, "draw": 20, "data": 6, "column": 5}
    assert predicted["column"].values.tolist() == list("abcde")
    assert set(predicted["label"].values) <= {"k0", "k1", "k2"}
    assert found[""].attrs["draws"] == 20
    assert "exists and is left as it is" in fails(f"export run {name}")
    assert "--draws 0; give a whole number" in fails("export run other.nc --draws 0")
    assert "run.txt: its name must end in .nc" in fails("export run run.txt")


@pytest.mark.slow
def test_data_in_other_units_come_back_in_their_own():
    train_table("run", "--validation 0")
    succeeds("sample run -n 500 --seed 0")
    drawn = np.load("run/samples.npy")
    assert np.allclose(drawn.std(0), rows().std(0), rtol=0.6)
    assert np.allclose(drawn.mean(0), rows().mean(0), atol=2 * rows().std(0))


@pytest.mark.slow
def test_other_data_are_read_by_column_name():
    train_table()
    header, *lines = Path("table.csv").read_text().splitlines()
    swapped = [",".join(reversed(line.split(","))) for line in (header, *lines)]
    Path("swapped.csv").write_text("\n".join(swapped) + "\n")
    figures = [json.loads(succeeds(f"evaluate run {name} --json")) for name in ("table.csv", "swapped.csv")]
    assert figures[0]["rows"] == 60
    assert figures[0]["elbo"] == figures[1]["elbo"]


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("", "discretized-logistic"),
        ("--likelihood bernoulli --prior vamp --components 5", "bernoulli"),
        ("--likelihood continuous-bernoulli --prior mixture --components 3", "continuous-bernoulli"),
        ("--net conv --hidden 4 --prior learned --beta 2 --anneal 1", "discretized-logistic"),
        ("--prior flow --guide iaf", "discretized-logistic"),
        ("--prior student --guide mixture --latent 1", "discretized-logistic"),
        ("--prior flow --guide full --latent 1", "discretized-logistic"),
    ],
)
@pytest.mark.slow
def test_images_from_training_to_a_picture(told, kind):
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8))
    latent = "" if "--latent" in told else "--latent 2"
    said = succeeds(f"train images.npy --epochs 2 --out run --no-report {latent} {told}")
    assert f"likelihood {kind} (" in said
    succeeds("sample run -n 5")
    assert np.load("run/samples.npy").shape == (5, 8, 8)
    with Image.open("run/samples.png") as picture:
        assert picture.size[0] > 72
    succeeds("reconstruct run -n 3")
    assert np.load("run/reconstructions.npy").shape == (3, 8, 8)
    high = np.load("run/samples.npy").max()
    assert high <= 1 if kind == "bernoulli" else high > 1


def test_a_folder_of_images_is_converted_as_told():
    Path("photos").mkdir()
    for number, (size, mode) in enumerate([((9, 8), "L"), ((8, 8), "RGB"), ((8, 8), "L")] * 4):
        Image.new(mode, size, number).save(f"photos/{number}.png")
    assert "--size" in fails("train photos")
    assert "--mode" in fails("train photos --size 8")
    assert "12 images of 3x8x6" in succeeds("train photos --size 8,6 --mode RGB --epochs 1 --no-report")
    assert Path("runs/photos/model.safetensors").exists()


@pytest.mark.slow
def test_more_kinds_of_files():
    import pandas

    counts = np.random.default_rng(0).negative_binomial(1, 0.1, (50, 4))
    np.savez("counts.npz", x=counts, y=np.arange(50) % 2)
    said = succeeds("train counts.npz --key x --label y --epochs 1 --out one --no-report")
    assert "likelihood negative-binomial (" in said
    pandas.DataFrame(np.abs(rows()) + 0.1, columns=list("abcde")).to_parquet("t.parquet")
    succeeds("train t.parquet --columns d,a --likelihood log-normal --epochs 1 --out two")
    assert RunFolder(Path("two")).read_config().columns == ["d", "a"]
    flat = np.random.default_rng(0).integers(0, 256, (30, 64), dtype=np.uint8)
    np.save("flat.npy", flat)
    assert "images of 8x8" in succeeds("train flat.npy --epochs 1 --no-report")


@pytest.mark.slow
def test_bits_in_bytes_have_a_report():
    np.save("bits.npy", np.random.default_rng(0).integers(0, 2, (40, 6, 6), dtype=np.uint8))
    succeeds("train bits.npy --epochs 1 --hidden 4 --latent 2 --out run")
    assert Path("run/report.html").exists()
    assert json.loads(succeeds("evaluate run --evidence-draws 30 --json"))["log_evidence"]["value"] < 0


@pytest.mark.slow
def test_mnist_from_a_folder_is_evaluated_on_its_test_part():
    generator = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 12)):
        images = generator.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        head = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
        Path(f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        Path(f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(count))
    succeeds("train mnist --data-root . --epochs 1 --out run --no-report")
    found = json.loads(succeeds("evaluate run --json"))
    assert (found["rows"], "test part" in found["data"]) == (12, True)


@pytest.mark.slow
def test_demo_takes_a_new_folder_each_time():
    assert "pyrovae-demo/report.html" in succeeds("demo --epochs 1")
    assert "pyrovae-demo-2" in succeeds("demo --epochs 1 --quiet")


@pytest.mark.slow
def test_every_figure_is_shown_with_how_to_read_it():
    train_table("run", "--no-report")
    found = json.loads(succeeds("evaluate run table.csv --evidence-draws 100 --json"))
    assert found["left_out"] == {}
    assert found["rows_looked_at_closely"] == found["rows"] == 60
    assert found["log_evidence"]["value"] >= found["elbo"] - 4 * found["error"]
    assert 0 < found["weights"]["median_sample_size"] <= 100
    told = found["mutual_information"]
    assert told["value"] <= told["most"] + 3 * told["error"]
    assert next(iter(found["coverage"].values()))["levels"] == [0.5, 0.8, 0.9, 0.95]
    assert 0 <= found["resemblance"]["classifier"]["accuracy"] <= 1
    said = succeeds("evaluate run table.csv --rows 20")
    for words in ("log evidence", "k-hat", "mutual information", "coverage of x", "told apart", "recall"):
        assert words in said
    assert "20 of them" in " ".join(said.split())


@pytest.mark.slow
def test_annealing_and_the_gap_where_asked(monkeypatch):
    monkeypatch.setattr("pyrovae.cli.measures.STEPS", 10)
    train_table("run", "--no-report")
    found = json.loads(succeeds("evaluate run table.csv --rows 10 --thorough --json"))
    annealed, gap = found["annealed_evidence"], found["gap_of_the_guide"]
    assert annealed["rows"] == 10
    # Two estimates of one figure: a model that has hardly learned has a posterior near its prior, which is easy.
    assert annealed["value"] == pytest.approx(annealed["importance"], abs=0.1)
    assert -0.1 < annealed["bracket"] < 0.5
    assert gap["approximation"]["value"] + gap["amortisation"]["value"] > -0.1
    shown = {line.figure: line.value for line in lines(found)}
    assert shown["annealed"].startswith(f"{annealed['value']:,.3f}")
    assert {"approximation", "amortisation"} <= set(shown)
    usual = json.loads(succeeds("evaluate run table.csv --rows 10 --json"))
    assert {"annealed", "approximation"}.isdisjoint(line.figure for line in lines(usual))


@pytest.mark.slow
def test_what_does_not_apply_is_said():
    train_table("run", "--no-report")
    said = " ".join(succeeds("evaluate run").split())  # six held-out rows
    assert "No resemblance: 6 rows are too few to compare" in said
    assert "told apart" not in said
    assert all(one in fails(f"evaluate run {one}") for one in ("--evidence-draws 3", "--rows 0", "--seeds 1"))
    for options, word in (("--seed -1", "or leave it out"), (f"-n {10**20}", "2**63 - 1"), (f"-n {10**14}", "memory")):
        assert word in fails(f"sample run {options}")


@pytest.mark.slow
def test_seeds_train_the_run_again():
    train_table("run", "--no-report", "--anneal 1")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    found = json.loads(succeeds("evaluate run table.csv --seeds 2 --evidence-draws 50 --json"))
    assert found["seeds"]["seeds"] == [0, 1]
    first = found["seeds"]["figures"]["log evidence of a datum, nats"]
    assert first["spread"] > 0
    # The first seed is the run's own, so the two trainings differ from it by no more than from each other.
    own = found["log_evidence"]["value"]
    assert abs(first["mean"] - own) == pytest.approx(first["spread"] / 2**0.5, abs=0.02)
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    assert "seeds: precision" in succeeds("evaluate run table.csv --seeds 2")


# --- a pair of the user's own -------------------------------------------------------------------------


def test_a_pair_of_ones_own_must_be_named_again():
    Path("own.py").write_text(OWN)
    np.save("x.npy", rows())
    succeeds("train x.npy --pair own.py:make --epochs 2 --out run")
    words = fails("evaluate run")
    assert "--pair own.py:make" in words
    assert "imported" not in words
    assert json.loads(succeeds("evaluate run --pair own:make --json").splitlines()[-1])["rows"] == 6
    succeeds("sample run --pair own.py:make -n 9")
    assert np.load("run/samples.npy").shape == (9, 5)
    assert "report.html" in succeeds("report run --pair own.py:make")


@pytest.mark.parametrize(
    ("pair", "word"),
    [
        ("nosuch:make", "no module"),
        ("nosuch.py:make", "no file"),
        ("own.py", "module:function"),
        ("own.py:nothing", "make"),
        ("own.py:number", ".model and .guide"),
        ("own.py:broken", "ZeroDivisionError"),
    ],
)
def test_a_pair_that_cannot_be_had(pair, word):
    Path("own.py").write_text(OWN)
    np.save("x.npy", rows())
    assert word in fails(f"train x.npy --pair {pair}")
    assert not Path("runs").exists()


# --- stopping and going on ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_goes_on_where_it_ended():
    train_table("one", "--epochs 4 --patience 0")
    train_table("two", "--patience 0 --no-report")
    succeeds("train --resume --out two --epochs 4 --quiet")
    one, two = (Path(f"{name}/metrics.jsonl").read_text().splitlines() for name in ("one", "two"))
    strip = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in one]
    assert strip == [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in two]
    assert "--latent was 2" in fails("train --resume --out two --latent 3")
    assert "has changed" in _after(lambda: table(count=50), "train --resume --out two --epochs 5")


def _after(change, line: str) -> str:
    change()
    return fails(line)


@pytest.mark.slow
def test_staged_and_precision_are_those_of_fit(monkeypatch):
    given, original = [], pv.steps
    monkeypatch.setattr(pv, "steps", lambda *data, **options: given.append(options) or original(*data, **options))
    train_table("run", "--staged traced --precision bfloat16 --no-report")
    config = RunFolder(Path("run")).read_config()
    assert config.outcome.route.startswith("traced")
    assert (config.fit.staged, config.fit.precision) == ("traced", "bfloat16")
    succeeds("train --resume --out run --epochs 4 --staged false --no-report --quiet")
    assert RunFolder(Path("run")).read_config().outcome.route.startswith("plain")
    train_table("other", "--no-report")
    told = [(options["staged"], options["precision"]) for options in given]
    assert told == [("traced", "bfloat16"), (False, "bfloat16"), ("auto", None)]
    assert "--staged was auto" not in succeeds(
        "train --resume --out other --epochs 4 --staged true --no-report --quiet"
    )
    assert given[-1]["staged"] is True


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_resume():
    np.save("x.npy", rows(500))
    words = ["train", "x.npy", "--out", "run", "--epochs", "100000", "--patience", "0", "--no-report"]
    process = Child("from pyrovae.cli.main import main\nmain()", *words)
    metrics, deadline = Path("run/metrics.jsonl"), time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pyrovae train --resume --out run" in errors
    assert "Traceback" not in errors
    done = metrics.read_text().count("\n")
    assert json.loads(succeeds("evaluate run --json"))["rows"] == 50
    succeeds(f"train --resume --out run --epochs {done + 1} --no-report --quiet")
    assert metrics.read_text().count("\n") == done + 1


@pytest.mark.slow
def test_a_killed_run_is_read_from_its_checkpoint():
    train_table()
    before = json.loads(succeeds("evaluate run --json"))
    Path("run/model.safetensors").unlink()
    with Path("run/metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 4, "st')
    assert json.loads(succeeds("evaluate run --json"))["elbo"] == pytest.approx(before["elbo"], abs=0.5)
    assert len(RunFolder(Path("run")).read_metrics()) == 3


def test_a_run_that_diverges_is_kept_and_said():
    np.save("x.npy", rows())
    Path("own.py").write_text(OWN)
    words = fails("train x.npy --pair own.py:make --epochs 3 --batch-size 8 --learning-rate 1e4 --out run")
    assert "Lower the learning rate" in words
    assert RunFolder(Path("run")).read_config().outcome.reason == "diverged"
    succeeds("report run --pair own.py:make")
    assert "Diverged" in Path("run/report.html").read_text()


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ("--batch-size 0", "batch"),
        ("--epochs -1", "--epochs -1"),
        ("--epochs 0", "--epochs 0"),
        ("--beta -1", "--beta -1"),
        ("--anneal -1", "--anneal"),
        ("--learning-rate -1", "--learning-rate"),
        ("--seed -1", "--seed -1; give"),
        ("--latent 0", "--latent 0"),
        ("--hidden 3,x", "--hidden 3,x"),
        ("--likelihood bernuli", "Did you mean bernoulli?"),
        ("--likelihood bernoulli", "zeros and ones"),
        ("--likelihood poisson", "whole numbers"),
        ("--likelihood log-normal", "above 0"),
        ("--scaling log", "standard or none"),
        ("--net conv", "--net mlp"),
        ("--prior gauss", "mixture"),
        ("--guide fulll", "Did you mean full?"),
        ("--guide iaf --latent 1", "--guide mixture"),
        ("--components 3", "--prior"),
        ("--prior vamp --components 1000", "--components 1000"),
        ("--validation 1.5", "--validation 1.5"),
        ("--validation 0.001", "60 rows"),
        ("--patience 3 --validation 0", "--validation"),
        ("--device nowhere", "nowhere"),
        ("--shape 3,3", "5 numbers"),
        ("--key x", "--key"),
        ("--columns a,b", "--columns"),
        ("--pair own:make --latent 3", "--latent"),
        ("--data-root .", "--data-root"),
        ("--staged fast", "--staged 'fast' is not known; there are auto, true, false, traced, compiled"),
        ("--precision float16", "--precision 'float16' is not known; there are bfloat16. Did you mean bfloat16?"),
    ],
)
def test_options_that_cannot_work_write_nothing(options, word):
    np.save("x.npy", rows() - 5)
    assert word in fails(f"train x.npy {options}")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda x: np.where(x == x[7, 2], np.nan, x), "row 7, column 2"),
        (lambda x: x[:0], "empty"),
        (lambda x: x[:, 0], "(60,)"),
        (lambda x: x.astype(str), "strings"),
    ],
)
def test_data_that_cannot_be_used_write_nothing(make, word):
    np.save("x.npy", make(rows()))
    assert word in fails("train x.npy")
    assert not Path("runs").exists()


def test_text_columns_are_named_and_can_be_left_out():
    table()
    assert "--columns" in fails("train table.csv --likelihood normal")
    assert "'zz'" in fails("train table.csv --columns a,zz")
    succeeds("train table.csv --columns a,b --epochs 1 --no-report")


@pytest.mark.slow
def test_nothing_is_overwritten():
    train_table()
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    words = fails("train table.csv --label kind --out run")
    assert "--resume --out run" in words
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("mine")
    assert "left as it is" in fails("train table.csv --label kind --out notes")
    Path("mine.csv").write_text("mine")
    assert "left as it is" in fails("sample run --out mine.csv")
    assert Path("mine.csv").read_text() == "mine"
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}


@pytest.mark.slow
def test_folders_that_are_no_runs():
    train_table()
    Path("empty").mkdir()
    Path("other").mkdir()
    Path("other/config.json").write_text('{"kind": "something"}')
    Path("broken").mkdir()
    Path("broken/config.json").write_text("{")
    assert "no run" in fails("evaluate nowhere")
    assert "is a file" in fails("evaluate table.csv")
    assert "no config.json" in fails("evaluate empty")
    assert "something else" in fails("report other")
    assert "damaged" in fails("sample broken")
    assert "--out" in fails("train --resume")
    assert "without --pair" in fails("evaluate run --pair own:make")
    np.save("x.npy", rows()[:, :3])
    assert "(3,)" in fails("evaluate run x.npy")
    table(count=50)
    assert "changed" in fails("evaluate run")


def test_a_traceback_is_shown_when_asked_for():
    result = run("--debug evaluate nowhere")
    assert isinstance(result.exception, pv.FileError)


# --- the process --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["--help", "train --help", "--version"])
def test_help_answers_without_the_heavy_imports(words):
    closing = (
        "\nheavy = [name for name in ('torch', 'pyro', 'numpy', 'matplotlib', 'PIL') if name in sys.modules]"
        "\nprint(heavy, file=sys.stderr)"
    )
    code = f"import sys; sys.argv = ['pyrovae', *{words.split()!r}]\nfrom pyrovae.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code" + closing
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert pv.__version__ in done.stdout if words == "--version" else "Examples" in done.stdout


@pytest.mark.slow
def test_python_m_pyrovae_ends_with_2_and_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "pyrovae", "train", "missing.npy"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().splitlines() == ["Error: missing.npy does not exist."]


@pytest.mark.slow
def test_what_compress_wrote_decompress_reads():
    levels = pv.datasets.digits().images.astype(np.uint8)[:200]
    np.save("grey.npy", levels)
    succeeds("train grey.npy --likelihood discretized-logistic --epochs 2 --hidden 16 --out run --quiet --no-report")
    assert "200 rows in" in succeeds("compress run grey.npy -o grey.pv")
    assert succeeds("decompress run grey.pv -o back.npy").strip() == "back.npy"
    back = np.load("back.npy")
    assert back.dtype == np.uint8
    assert np.array_equal(back.reshape(levels.shape), levels)
    assert "grey.pv exists and is left as it is" in fails("compress run grey.npy -o grey.pv")
    assert "must end in .npy or .npz" in fails("decompress run grey.pv -o back.txt")
    succeeds("train grey.npy --likelihood bernoulli --epochs 1 --hidden 16 --out other --quiet --no-report")
    assert "takes grey values as draws of black and white" in fails("compress other grey.npy -o other.pv")
    assert "was made with another pair" in fails("decompress other grey.pv -o other.npy")


@pytest.mark.slow
def test_a_run_becomes_graphs_and_a_card():
    np.save("x.npy", rows())
    succeeds("train x.npy --likelihood normal --epochs 1 --hidden 4 --out run --quiet --no-report")
    assert "served/decode.onnx: z -> " in succeeds("to-onnx run x.npy -o served --parts decode")
    assert "served exists and is left as it is" in fails("to-onnx run x.npy -o served")
    assert "--format keras; give onnx or torch" in fails("to-onnx run x.npy -o other --format keras")
    assert succeeds("model-card run x.npy -o card --license mit --rows 60").strip() == "card"
    assert sorted(path.name for path in Path("card").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "license: mit" in Path("card/README.md").read_text()


@pytest.mark.parametrize(
    "command",
    ["demo", "train", "evaluate", "sample", "reconstruct", "export", "report", "compress", "to-onnx", "model-card"],
)
def test_every_command_has_examples(command):
    assert f"pyrovae {command}" in succeeds(f"{command} --help")


# --- the choice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "likelihood", "net"),
    [
        (np.eye(4), "table", "bernoulli", "mlp"),
        (np.arange(12.0).reshape(4, 3) - 3, "table", "normal", "mlp"),
        (np.array([[0, 9], [3, 0], [40, 1]]), "table", "negative-binomial", "mlp"),
        (np.array([[30, 31], [32, 31], [33, 32]]), "table", "normal", "mlp"),
        (np.linspace(0, 255, 256).round().reshape(4, 8, 8), "images", "discretized-logistic", "mlp"),
        (np.linspace(0, 255, 256).round().reshape(4, 8, 8) / 255, "images", "discretized-logistic", "mlp"),
        (np.random.default_rng(0).random((4, 8, 8)), "images", "continuous-bernoulli", "mlp"),
        (np.random.default_rng(0).normal(size=(4, 8, 8)), "images", "normal", "mlp"),
        (np.full((4, 3, 64, 64), 200, np.uint8), "images", "discretized-logistic", "conv"),
    ],
)
def test_the_choice_follows_the_data(values, kind, likelihood, net):
    chosen = advice.advise(advice.look(values, kind))
    assert (chosen.likelihood.value, chosen.net.value) == (likelihood, net)
    assert all(choice.reason and choice.reason != "as given" for choice in chosen)


@pytest.mark.parametrize("likelihood", advice.LIKELIHOODS)
def test_every_likelihood_makes_a_pair_that_fits_its_data(likelihood):
    values = {"bernoulli": (rows() > 5), "poisson": np.abs(rows()).round(), "negative-binomial": np.abs(rows()).round()}
    inside = 0.1 + 0.8 * np.random.default_rng(0).random((60, 5))
    x = np.asarray(values.get(likelihood, inside), dtype=np.float64)
    kind = "table"
    if likelihood == "discretized-logistic":
        x, kind = np.random.default_rng(0).integers(0, 17, (60, 4, 4)), "images"
    facts = advice.look(x, kind)
    plan = ModelConfig.of(facts, advice.advise(facts, {"likelihood": likelihood, "hidden": (4,)}))
    ready = plan.prepare(x)
    pair = plan.build(ready)
    run_ = pv.fit(pair, ready, epochs=1, seed=0, progress=False)
    assert np.isfinite(run_.history[-1].elbo)
    pv.save(pair, "model.safetensors")
    again = pv.load(read_as(ModelConfig, json.loads(json.dumps(asdict(plan))), "plan").build(), "model.safetensors")
    figures = [pv.rate_distortion(one, ready, seed=0).elbo for one in (pair, again)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)


def test_the_split_is_the_same_for_the_same_seed_and_loses_no_row():
    data = Data(np.arange(20).reshape(10, 2), "table", labels=np.arange(10))
    training, held_out = split(data, 0.3, 1)
    again, _ = split(data, 0.3, 1)
    assert np.array_equal(training.values, again.values)
    assert held_out is not None
    assert (len(training.values), len(held_out.values)) == (7, 3)
    assert sorted([*training.labels, *held_out.labels]) == list(range(10))
    assert np.array_equal(held_out.values[:, 0] // 2, held_out.labels)


def test_only_grey_levels_in_a_square_number_of_columns_are_images():
    grey = np.random.default_rng(0).integers(0, 256, (9, 64), dtype=np.uint8)
    assert square_images(Data(grey, "table")) == (8, 8)
    assert square_images(Data(grey / 255, "table")) == (8, 8)
    assert square_images(Data(grey[:, :63], "table")) is None
    assert square_images(Data(grey, "table", tuple(map(str, range(64))))) is None
    assert square_images(Data(np.random.default_rng(0).normal(size=(9, 64)), "table")) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train x.npy --batch-size 0", "--batch-size 0; give a whole number"),
        ("train x.npy --epochs -1", "--epochs -1; give a whole number, 1 at least"),
        ("train x.npy --clip-norm 0", "--clip-norm 0.0; give a number above 0"),
        ("train x.npy --device nowhere", "--device 'nowhere' is not a device"),
        ("train x.npy --key x", "--key 'x' means nothing for x.npy"),
        ("train x.npy --header", "--header True means nothing for x.npy"),
        ("train two.npz", "say which array is meant, --key NAME."),
        (
            "train mixed.csv --scaling none",
            "column 'b' (line 2: 'red'). Name those to keep (--columns), or encode these.",
        ),
        ("train photos", "Give one to convert all: --size height,width."),
        ("train photos --size 0", "--size"),
        ("train photos --size 8", "Give one to convert all: --mode L (grey) or --mode RGB."),
        ("train seed=3.npy", "seed=3.npy"),  # the name of a file is no option
    ],
)
def test_the_librarys_errors_call_arguments_by_their_options(line, words):
    np.save("x.npy", rows())
    np.savez("two.npz", a=rows(), b=rows())
    Path("mixed.csv").write_text("a,b\n1,red\n2,blue\n")
    Path("photos").mkdir()
    for number, mode in enumerate(("L", "P")):
        Image.new(mode, (9 + number, 9)).save(f"photos/{number}.png")
    assert words in fails(line)


def test_verdicts_call_arguments_by_their_options():
    train_table("run", "--no-report")
    row = RunFolder(Path("run")).read_metrics()[0]
    rising, falling = (
        [row._replace(loss=-elbo, elbo=elbo, validation_elbo=None) for elbo in (-9, -7, -5, at)] for at in (-1, -99)
    )
    bad = [row._replace(elbo=math.nan, validation_elbo=None)] * 4
    best = [one._replace(validation_elbo=elbo) for one, elbo in zip(rising, (-9, -4, -6, -8), strict=True)]
    unused = ActiveUnits(0, 2, torch.zeros(2))
    with spelled(as_option):
        said = [curve_verdict(tuple(history)).words for history in (rising, falling, bad, best)]
        said.append(active_verdict("z", unused).words)
    endings = ("Train longer (--resume --epochs).", "rate.", "(--clip-norm).", "network.", "or use free bits.")
    assert all(words.endswith(ending) for words, ending in zip(said, endings, strict=True))
    assert "Stop early (--patience)" in said[3]
    assert "Anneal the KL (--anneal EPOCHS)" in said[4]
    assert "Train longer (epochs=...)." in curve_verdict(tuple(rising)).words  # and in Python again afterwards


def test_every_option_that_sentences_name_is_one():
    known = {
        option
        for command in get_command(app).commands.values()
        for each in command.params
        for option in (*each.opts, *each.secondary_opts)
    }
    named = {word for words in (*_OPTIONS.values(), *_EXAMPLES.values()) for word in words.split() if word[:2] == "--"}
    assert named <= known


def test_a_trained_model_without_checkpoints_is_not_overwritten():
    np.save("x.npy", rows(100))
    succeeds("train x.npy --out run --epochs 1 --no-report --quiet")
    for path in Path("run/checkpoints").iterdir():
        path.unlink()
    before = Path("run/model.safetensors").read_bytes()
    result = run("train --resume --out run --epochs 2 --no-report --quiet")
    assert isinstance(result.exception, pv.FileError) or result.exit_code == 2
    assert Path("run/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(("rows", "epochs", "patience"), [(300, 1000, 167), (2_000, 250, 32), (60_000, 10, 20)])
def test_trainings_of_few_rows_have_steps_enough(rows, epochs, patience):
    """Patience of 20 epochs of three steps each ended before there was anything to see."""
    settings = TrainingSettings.of(TrainingOptions(), rows)
    assert (settings.epochs, settings.patience) == (epochs, patience)
