"""Any bytes in a frame's file, a schema, a model or a compressed file: our error, or all of what the bytes say."""

from __future__ import annotations

import csv
import io
import random
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from damage import damaged

import pyrovae as pv
from pyrovae.data.datasets.read_frame import read_frame

TEXTS = ["red", "blue, dark", 'a "q"']
FRAME = pd.DataFrame(
    {
        "number": np.random.default_rng(0).normal(size=12).round(3),
        "count": np.random.default_rng(1).integers(0, 99, 12),
        "text": TEXTS * 4,
        "day": pd.date_range("2020-01-01", periods=12),
    }
)
ROWS = (torch.rand(12, 9, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def vae(seed: int) -> pv.VAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [4], 9)), pv.DiagNormal(pv.MLP(9, [4], 4)))


# --- files that are whole --------------------------------------------------------------------------------
def parquet(path: Path, **options) -> None:
    FRAME.to_parquet(path, write_page_checksum=True, **options)


WRITERS = {
    "x.csv": lambda path: FRAME.to_csv(path, index=False),
    "tabs.csv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "x.parquet": parquet,
    "plain.parquet": lambda path: parquet(path, compression=None, use_dictionary=False, index=False),
    "x.toml": lambda path: pv.tables.schema(FRAME).save(path),
    "x.safetensors": lambda path: pv.save(vae(0), path),
    "x.pv": lambda path: pv.compress(vae(0), ROWS, file=path),
}


# --- what is read, against what the bytes say ------------------------------------------------------------
def check_csv(path: Path) -> None:
    """Every cell is a hole or what stands in the file; no row is lost."""
    found, text = read_frame(path), path.read_bytes().decode("utf-8-sig")
    first = next(line for line in text.splitlines() if line.strip())
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=first.count)) if row]
    cells = rows[[*found.columns] == [name.strip() for name in rows[0]] :]
    assert len(found) == len(cells)
    for place, name in enumerate(found.columns):
        for cell, written in zip(found[name], (row[place].strip() for row in cells), strict=True):
            if isinstance(cell, str):
                assert cell == written
            elif isinstance(cell, bool | np.bool_):
                assert str(cell).lower() == written.lower() or written in "01"
            elif isinstance(cell, int | float | np.number) and not np.isnan(cell):
                assert float(cell) == float(written)


def check_parquet(path: Path) -> None:
    pd.testing.assert_frame_equal(read_frame(path), FRAME, check_dtype=False)


def check_schema(path: Path) -> None:
    found, written = pv.tables.read_schema(path), tomllib.loads(path.read_text())["column"]
    for column, entries in zip(found.table, written, strict=True):
        assert (column.name, column.form) == (entries["name"], entries["form"])
        assert [*column.levels] == entries.get("levels", [])
        if column.column is not None:
            assert column.column.center == entries.get("center", 0.0)
            assert column.column.spread == entries.get("spread", 1.0)


def check_model(path: Path) -> None:
    """All weights or none."""
    pair, whole = vae(1), vae(0).state_dict()
    before = {name: tensor.clone() for name, tensor in pair.state_dict().items()}
    try:
        pv.load(pair, path)
    except pv.PyrovaeError:
        whole = before
        raise
    finally:
        assert all(torch.equal(tensor, whole[name]) for name, tensor in pair.state_dict().items())


def check_rows(path: Path) -> None:
    assert torch.equal(torch.as_tensor(pv.decompress(vae(0), path)), ROWS)


CHECKS = {".csv": check_csv, ".parquet": check_parquet, ".toml": check_schema, ".safetensors": check_model}


@pytest.mark.parametrize("cases", [25, pytest.param(1_500, marks=pytest.mark.trial)])
@pytest.mark.parametrize("name", WRITERS)
def test_any_bytes_are_an_error_of_ours_or_all_that_they_say(name, cases, tmp_path):
    if name == "x.pv":
        pytest.importorskip("constriction")
    path = tmp_path / name
    check = CHECKS.get(path.suffix, check_rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        WRITERS[name](path)
        check(path)
        whole, refused = path.read_bytes(), 0
        for case in range(cases):
            path.write_bytes(damaged(whole, random.Random(case)))
            try:
                check(path)
            except pv.PyrovaeError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"case {case}") from error
    assert refused > cases / 3


@pytest.mark.slow
def test_parts_of_a_parquet_file_that_disagree_are_refused(tmp_path):
    """One byte of the footer once lost eight of fifteen rows, one of a page's header its checksum."""
    parquet(tmp_path / "x.parquet", index=False)
    whole, lost, unchecked = (tmp_path / "x.parquet").read_bytes(), 0, 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 4
        (tmp_path / "x.parquet").write_bytes(changed)
        try:
            check_parquet(tmp_path / "x.parquet")
        except pv.FileError as error:
            lost += "says otherwise in another" in str(error)
            unchecked += "of their kind have none" in str(error)
    assert lost
    assert unchecked
