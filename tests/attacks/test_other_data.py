"""Data that a run has never seen: columns in another order, other units, values that its pair has no density for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import train, typed

ORDERS = {"x.csv": "abc", "X.CSV": "cba", "x.parquet": "bca"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_of(data: str, *more: str) -> None:
    result = typed(f"train {data} --out run --hidden 4 --epochs 1 --no-report --quiet {' '.join(more)}")
    assert result.exit_code == 0, result.output


def refused(data: str, *words: str) -> None:
    for command in (f"evaluate run {data}", f"reconstruct run {data} --out out.npy", f"report run {data} --out r.html"):
        result = typed(command)
        assert result.exit_code == 2, (command, result.output)
        assert all(word in result.output for word in ("Error", *words)), (command, result.output)
        assert "Traceback" not in result.output
        assert not Path("out.npy").exists()


def table(name: str, columns: str) -> None:
    """The same numbers in columns of another order, in a file of another kind."""
    import pyarrow as pa
    from pyarrow import parquet

    values = np.random.default_rng(0).normal(size=(60, 3)) * [1, 5, 9] + [0, 50, -900]
    held = {column: values[:, "abc".index(column)] for column in columns}
    if name.endswith(".parquet"):
        parquet.write_table(pa.table(held), name)
    else:
        np.savetxt(name, np.stack(list(held.values()), 1), delimiter=",", header=",".join(columns), comments="")


def test_columns_are_told_by_their_names_in_every_kind_of_table():
    for name, columns in ORDERS.items():
        table(name, columns)
    run_of("x.csv", "--likelihood normal")
    made = []
    for name in ORDERS:
        assert typed(f"reconstruct run {name} -n 60 --out {name}.npy").exit_code == 0
        made.append(np.load(f"{name}.npy"))
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    table("other.parquet", "ab")
    refused("other.parquet", "no column 'c'")


def test_data_without_names_are_said_to_be_taken_in_order():
    table("x.csv", "abc")
    np.save("x.npy", np.ones((5, 3)))
    run_of("x.csv", "--likelihood normal")
    assert "taken to be a, b, c, in this order" in typed("reconstruct run x.npy --out out.npy").output


def test_names_of_columns_that_have_changed_are_changed_data():
    table("x.csv", "abc")
    run_of("x.csv", "--likelihood normal")
    Path("x.csv").write_text(Path("x.csv").read_text().replace("a,b,c", "b,a,c"))
    for command in ("evaluate run", "sample run -n 2", "train --resume --out run --epochs 2"):
        result = typed(command)
        assert result.exit_code == 2, result.output
        assert "has changed since" in result.output


@pytest.mark.parametrize(
    ("trained", "options", "other"),
    [
        (16, "", 255),
        (255, "", 1),
        (1, "--likelihood bernoulli", 16),
        (2, "--likelihood bernoulli --scaling none", 16),
        (2, "--likelihood continuous-bernoulli", 255),
    ],
)
def test_images_of_another_unit_are_refused(trained, options, other):
    for top in (trained, other):
        whole = np.random.default_rng(0).integers(0, max(top, 255) + 1 if top == 1 else top + (top != 2), (30, 4, 4))
        np.save(f"{top}.npy", (whole / 255).astype(np.float32) if top == 1 else whole.astype(np.uint8))
    run_of(f"{trained}.npy", options)
    refused(f"{other}.npy", "of this run takes", "units")


@pytest.mark.filterwarnings("default::pyrovae.PyrovaeWarning")
def test_images_far_below_the_highest_level_are_said_to_be_dark_or_of_another_unit():
    rng = np.random.default_rng(0)
    np.save("bytes.npy", rng.integers(0, 256, (30, 4, 4)).astype(np.uint8))
    np.save("dark.npy", rng.integers(0, 17, (30, 4, 4)).astype(np.uint8))
    run_of("bytes.npy")
    result = typed("reconstruct run dark.npy --out out.npy")
    assert "go up to 255, and these up to 16" in result.output
    assert Path("out.npy").exists()


@pytest.mark.parametrize(
    ("likelihood", "values"), [("poisson", [0.5, 3]), ("beta", [0.5, 1]), ("log-normal", [-1, 2]), ("poisson", [-1, 2])]
)
def test_values_without_a_density_are_refused_and_no_foreign_error(likelihood, values):
    np.save("x.npy", {"beta": np.linspace(0.1, 0.9, 40)}.get(likelihood, np.arange(1.0, 41)).reshape(20, 2))
    np.save("other.npy", np.array([[1.0, 1.0], values]) * (0.5 if likelihood == "beta" else 1) + (likelihood == "beta"))
    run_of("x.npy", f"--likelihood {likelihood}")
    refused("other.npy", f"the {likelihood} of this run takes")


def test_a_pair_of_ones_own_refuses_what_it_has_no_density_for():
    train("run")
    Path("own.py").write_text(
        Path("own.py").read_text().replace("pv.Normal(", "pv.Beta(").replace("3), scale=1.0", "6)")
    )
    np.save("x.npy", np.random.default_rng(0).uniform(0.1, 0.9, (20, 3)))
    assert typed("train x.npy --out own --pair own.py:make --epochs 1 --no-report --quiet").exit_code == 0
    np.save("other.npy", np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 2.0]]))
    result = typed("evaluate own other.npy --pair own.py:make")
    assert result.exit_code == 2
    assert "in row 1, column 2, with the value 2" in result.output


def test_weights_of_a_training_that_has_not_ended_are_said_to_be_that():
    table("x.csv", "abc")
    run_of("x.csv", "--likelihood normal")
    Path("run/model.safetensors").unlink()
    result = typed("sample run -n 2")
    assert result.exit_code == 0
    assert "model.safetensors is not there: the weights are those of" in result.output


def test_draws_of_whole_numbers_do_not_wrap_around():
    values = np.random.default_rng(0).integers(0, 256, (60, 2)).astype(np.uint8)
    np.save("x.npy", values)
    run_of("x.npy", "--likelihood normal")
    assert typed("sample run -n 300 --seed 0 --out drawn.npy").exit_code == 0
    drawn = np.load("drawn.npy")
    assert drawn.dtype == np.int64
    assert drawn.min() < 0
    assert drawn.max() > 255
    np.save("x.npy", values // 128 + 100)
    assert (
        typed("train x.npy --likelihood normal --hidden 4 --out narrow --epochs 1 --no-report --quiet").exit_code == 0
    )
    assert typed("sample narrow -n 9 --seed 0 --out narrow.npy").exit_code == 0
    assert np.load("narrow.npy").dtype == np.uint8
