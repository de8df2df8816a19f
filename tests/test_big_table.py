"""Parquet that the command line does not read whole: its columns one by one, its rows in blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from test_cli import fails, folder, run, succeeds  # noqa: F401 - the fixture is taken by every test
from test_schemas import a_frame, with_holes

import pyrovae as pv
from pyrovae.data.blocks import big_table
from pyrovae.data.blocks.big_table import BigTable
from pyrovae.data.blocks.blocks_without import BlocksWithout
from pyrovae.data.origin import DataSource
from pyrovae.tables.schema import schema_by_column

QUICK = "--epochs 1 --hidden 8 --latent 2 --batch-size 32 --staged false --no-report"

OWN = """
import torch, pyrovae as pv

def pair():
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
"""


@pytest.fixture(autouse=True)
def any_size_is_big(monkeypatch):
    monkeypatch.setattr(big_table, "WHOLE", 0)
    monkeypatch.setattr(big_table, "HELD_OUT", 20)


def written(rows: int = 300, name: str = "t.parquet") -> pd.DataFrame:
    frame = with_holes(a_frame(rows)).reset_index(drop=True)
    frame["group"] = np.arange(rows) % 3
    frame.to_parquet(name, row_group_size=70, write_page_checksum=True)
    return frame


def numbers(where: Path, rows: int = 300) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype("float32")
    where.mkdir(exist_ok=True)
    for part, these in enumerate(np.array_split(x, 2)):
        table = pa.table(dict(zip("abc", these.T, strict=True)))
        parquet.write_table(table, where / f"part-{part}.parquet", row_group_size=70, write_page_checksum=True)
    return x


def test_rows_held_out_and_rows_trained_on_are_all_rows_once():
    x = numbers(Path("x"))
    training, held_out = BigTable(DataSource("x")).split(None, 0.05, seed=0)
    both = np.concatenate([training.values.take(slice(0, 285))[0], held_out.values])
    assert len(held_out.values) == 15
    assert np.array_equal(both[np.lexsort(both.T)], x[np.lexsort(x.T)])
    again = BigTable(DataSource("x")).split(None, 0.05, seed=0)[1].values
    other = BigTable(DataSource("x")).split(None, 0.05, seed=1)[1].values
    assert np.array_equal(again, held_out.values)
    assert not np.array_equal(other, held_out.values)
    assert len(BigTable(DataSource("x")).split(None, 0.5, seed=0)[1].values) == 20  # no more than memory is to hold


def test_a_block_that_is_held_out_whole_is_none():
    whole = pv.on_disk(str(numbers_in_one_file())).reader
    reader = BlocksWithout(whole, np.arange(70, 143))
    assert reader.sizes == [70, 67, 70, 20]
    assert torch.equal(reader.read(1)[0], whole.read(2)[0][3:])


def numbers_in_one_file() -> Path:
    x = np.arange(900, dtype="float32").reshape(300, 3)
    parquet.write_table(
        pa.table(dict(zip("abc", x.T, strict=True))), "one.parquet", row_group_size=70, write_page_checksum=True
    )
    return Path("one.parquet")


def test_the_schema_of_columns_one_by_one_is_that_of_the_frame():
    frame, table = written(), BigTable(DataSource("t.parquet"))
    assert schema_by_column(table.columns, table.column) == pv.tables.schema(frame)


@pytest.mark.slow
def test_from_a_file_to_a_report_and_back_without_its_whole(monkeypatch):
    frame = written()
    monkeypatch.setattr("pyrovae.data.origin.read_frame", None)  # nothing reads it whole
    said = succeeds(f"train t.parquet --out run --label group {QUICK}")
    assert "stays on disk and is read in blocks; 20 rows at most are held out" in said
    config = json.loads(Path("run/config.json").read_text())
    assert config["digest"].startswith("300 rows on disk ")
    assert "group" not in config["columns"]
    found = json.loads(succeeds("evaluate run --json"))
    assert found["rows"] == 20
    opened = pv.load_run("run")
    held = opened.data.merge(frame.drop(columns="group"), how="inner")
    assert len(held) >= 20  # each of them stands in the file
    assert set(opened.labels) <= {"0", "1", "2"}
    assert float(pv.elbo(opened.pair, opened.data, draws=10).value.mean()) == pytest.approx(found["elbo"], rel=0.05)


@pytest.mark.slow
def test_a_run_that_goes_on_is_the_run_that_was_not_stopped():
    written()
    succeeds(f"train t.parquet --out whole {QUICK.replace('1', '3', 1)}")
    succeeds(f"train t.parquet --out parts {QUICK}")
    succeeds("train --resume --out parts --epochs 3 --no-report")
    whole, parts = (pv.load_run(name) for name in ("whole", "parts"))
    assert [one.loss for one in whole.history] == [one.loss for one in parts.history]
    frame = pd.read_parquet("t.parquet")
    frame.iloc[::-1].to_parquet("t.parquet", row_group_size=70, write_page_checksum=True)
    assert "has changed since" in fails("evaluate parts")


def test_a_folder_of_files_for_a_pair_of_ones_own():
    x = numbers(Path("x"))
    Path("own.py").write_text(OWN)
    succeeds("train x --out run --pair own.py:pair --epochs 1 --batch-size 32 --validation 0.05 --quiet --no-report")
    made: dict = {}
    exec(OWN, made)
    opened = pv.load_run("run", made["pair"]())
    assert opened.data.shape == (15, 3)
    assert all((x == row).all(1).any() for row in opened.data.numpy())


def test_without_rows_held_out_it_is_refused():
    written()
    assert "stays on disk" in fails(f"train t.parquet --out run {QUICK} --quiet --validation 0")
    assert not Path("run").exists()


@pytest.mark.parametrize("options", ["--labels group", "--likelihood normal", "--shape 1,3"])
def test_what_needs_the_whole_file_reads_it(options):
    frame = written()
    if "group" not in options:
        frame[["height", "income", "share"]].dropna().to_parquet("t.parquet")
    result = run(f"train t.parquet --out run {QUICK} {options}")
    assert "stays on disk" not in result.output


def test_small_files_and_other_data_are_none(monkeypatch):
    written()
    assert BigTable.of(DataSource("digits")) is None
    assert BigTable.of(DataSource("nowhere.parquet")) is None
    assert BigTable.of(DataSource("t.parquet")) is not None
    monkeypatch.setattr(big_table, "WHOLE", 2**28)
    assert BigTable.of(DataSource("t.parquet")) is None
