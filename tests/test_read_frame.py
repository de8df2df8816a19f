"""Tables from files: what each column is read as, what a fault is called, and the form in which cells are written."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from test_cli import fails, folder, succeeds  # noqa: F401 - the fixture is taken by every test

import pyrovae as pv
from pyrovae.data.datasets.read_frame import read_frame

pd = pytest.importorskip("pandas")

QUICK = "--epochs 1 --hidden 4 --latent 1 --quiet --no-report"


def written(text: str, name: str = "t.csv") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def test_times_with_an_offset_are_those_of_utc():
    frame = read_frame(written("t,x\n2020-01-31T12:30+02:00,1\n,2\n2020-02-03 01:00:00Z,3\n"))
    assert str(frame["t"].dtype) == "datetime64[us, UTC]"
    assert frame["t"].dt.hour.tolist()[::2] == [10, 1]
    schema = pv.tables.schema(frame)
    assert schema.table[0].form == "date"
    again = schema.decode(schema.encode(frame))
    assert again["t"].dtype == frame["t"].dtype  # drawn rows are of the timezone, too
    assert again["t"].reset_index(drop=True).equals(frame["t"].reset_index(drop=True))


def test_whole_numbers_with_holes_are_whole_and_those_too_long_are_texts():
    long = [f"123456789012345678{row:02d}" for row in range(30)]
    rows = "".join(f"{row if row % 5 else ''},{long[row]},{row / 4}\n" for row in range(30))
    frame = read_frame(written(f"n,id,x\n{rows}"))
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "str", "float64"]
    assert frame["id"].tolist() == long
    assert pv.tables.schema(frame, kinds={"n": "real"}).table[1].form == "identifier"
    frame.drop(columns="id").to_parquet("t.parquet")
    assert str(read_frame(Path("t.parquet"))["n"].dtype) == "Int64"
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"n": pyarrow.array([1, None], pyarrow.int16())}), "bare.parquet")
    assert str(read_frame(Path("bare.parquet"))["n"].dtype) == "Int16"


@pytest.mark.slow
def test_a_table_keeps_its_form_where_it_is_filled_and_drawn():
    noise = np.random.default_rng(0)
    n, x = noise.integers(100, 999, 60), noise.normal(size=60).round(2)
    rows = "".join(f"{n[row] if row % 7 else ''},{x[row]},2020-01-{row % 28 + 1:02d}\n" for row in range(60))
    written(f"n,x,day\n{rows}")
    succeeds(f"train t.csv --out run {QUICK}")
    succeeds("impute run t.csv -o filled.csv")
    before, after = (Path(name).read_text().splitlines() for name in ("t.csv", "filled.csv"))
    assert len(after) == 61
    for old, new in zip(before, after, strict=True):
        assert new == old or (old.startswith(",") and new.endswith(old) and new.split(",")[0].isdecimal())
    succeeds("sample run -n 5 --seed 0 -o drawn.csv")
    drawn = Path("drawn.csv").read_text().splitlines()[1:]
    assert all(line.split(",")[0].lstrip("-").isdecimal() and len(line.split(",")[2]) == 10 for line in drawn)
    for command in ("impute", "reconstruct", "encode"):
        succeeds(f"{command} run -o {command}.csv")
        assert "line" not in Path(f"{command}.csv").read_text().splitlines()[0]
    succeeds("impute run t.csv -o filled.parquet")
    assert list(pd.read_parquet("filled.parquet").columns) == ["n", "x", "day"]


@pytest.mark.parametrize("blank", ["", "\n\n"])
def test_a_fault_is_called_by_the_line_of_the_file(blank):
    rows = "".join(f"{row},{1.5 ** (row % 9)}\n" for row in range(30))
    written(f"n,x\n{blank}{rows}")
    succeeds(f"train t.csv --out run {QUICK}")
    line = 12 + len(blank)
    written(f"n,x\n{blank}{rows}".replace("\n10,1.5", "\n10,-3"), "bad.csv")
    said = fails("evaluate run bad.csv")
    assert f"column 'x' is positive, and holds -3 in line {line} (1 such cells)" in said
    assert "(kind in schema.toml, and train --schema FILE)" in said
    written(f"n,x\n{blank}{rows}".replace("\n10,1.5", "\n10,"), "hole.csv")
    assert f"line {line}, column 'x'. Drop" in fails("train hole.csv --likelihood normal")


def test_faults_in_parquet_and_in_frames_say_what_counts():
    frame = pd.DataFrame({"x": 1.5 ** (np.arange(40) % 9), "y": np.random.default_rng(0).normal(size=40)})
    schema = pv.tables.schema(frame)
    bad = frame.assign(x=-1.0)
    for index, words in (
        (pd.RangeIndex(40), r"row 0 \(counted from 0\)"),
        (pd.Index([f"p{row}" for row in range(40)], name="patient"), "row 'p0'"),
        (pd.Index(range(17, 57)), "row 17 "),
    ):
        with pytest.raises(pv.DataError, match=f"holds -1 in {words}.*kinds={{'x': 'real'}}"):
            schema.encode(bad.set_axis(index))
    with pytest.raises(pv.DataError, match="holds 'many' in row 'b'"):
        schema.encode(pd.DataFrame({"x": [None, "many"], "y": [1.0, 2.0]}, index=["a", "b"]))


BAD = {
    "decimal commas": "x;n\n" + "".join(f'"{row},5";{row}\n' for row in range(30)),
    "texts of numbers": "x,n\n" + "".join(f"0{row % 6},{row}\n" for row in range(30)),
    "dates of our own": "x,n\n" + "".join(f"{row % 28 + 1}.1.2020,{row / 2}\n" for row in range(60)),
    "constant": "x,n\n" + "1,1\n" * 10,
    "no cells": "x,n\n" + ",\n" * 10,
    "one row": "x,n\n1.5,2.5\n",
    "infinite": "x,n\n" + "".join(f"{row / 4},{row / 2}\n" for row in range(30)) + "inf,2\n",
}


@pytest.mark.parametrize("name", BAD)
def test_no_sentence_of_the_command_line_advises_python(name, caplog):
    from test_cli import run

    written(BAD[name])
    with caplog.at_level(logging.INFO):
        said = run("train t.csv --out run --epochs 1 --hidden 4 --latent 1 --no-report")
    assert said.exit_code in (0, 2)
    for words in (said.output, caplog.text):
        assert not any(code in words for code in ("pv.", "pd.", "kinds=", "schema(", "frame."))


def test_what_python_alone_takes_for_a_number_is_named_in_a_column_of_numbers():
    with pytest.raises(pv.DataError, match=r"numbers but for 1 of 20 cells, the first one '1_000' in line 21"):
        read_frame(written("x,y\n" + "1.5,a\n" * 19 + "1_000,a\n"))
