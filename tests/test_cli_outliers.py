"""`pyrovae outliers` and `pyrovae sample --where`: what is left out and why, and rows of which something is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_cli import fails, folder, run, succeeds  # noqa: F401 - the fixture is taken by every test

import pyrovae as pv
from pyrovae.cli.read_where import read_where
from pyrovae.data.datasets.read_frame import read_frame

pd = pytest.importorskip("pandas")


def trained(epochs: int = 60) -> pd.DataFrame:
    """A run of a table with one absurd cell, in line 9, and one row of ordinary cells that do not go together."""
    noise = np.random.default_rng(0)
    age = noise.normal(45, 12, 400).round(1)
    frame = pd.DataFrame(
        {
            "age": age,
            "pulse": (190 - age + noise.normal(0, 2, 400)).round(),
            "kind": np.where(age > 60, "old", "young"),
            "day": (pd.Timestamp("2020-01-01") + pd.to_timedelta(age.astype(int), "D")),
            "codes": noise.integers(1, 4, 400),
            "sure": age > 40,
            "id": [f"p{row}" for row in range(400)],
        }
    )
    frame.loc[7, "pulse"] = 1400.0
    frame["pulse"] = frame["pulse"].mask(frame.index % 9 == 0).astype("Int64")
    frame.to_csv("t.csv", index=False)
    options = f"--epochs {epochs} --hidden 32 --latent 2 --learning-rate 0.01 --validation 0"
    succeeds(f"train t.csv --out run --quiet --no-report {options}")
    return frame


def test_a_table_of_which_nothing_would_be_left_is_refused():
    trained(1)
    result = run("outliers run t.csv --drop 1e-12 -o clean.csv")  # its warnings come before
    words = result.stderr.splitlines()[-1]
    assert result.exit_code == 2
    assert "all 400 rows are outliers" in words
    assert "train it for longer" in words
    assert not Path("clean.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [60, 200])  # after the more of them a guide is sure of more that is not so
def test_outliers_are_named_by_line_and_left_out(epochs):
    frame = trained(epochs)
    said = succeeds("outliers run t.csv --drop 0.9 -o clean.csv").splitlines()
    assert said[0].startswith("line 9, 'pulse': 1400, where ")
    assert said[-1] == "clean.csv"
    whole, clean = Path("t.csv").read_text().splitlines(), Path("clean.csv").read_text().splitlines()
    assert set(clean) < set(whole)  # the others as they were written
    assert whole[8] not in clean
    gone = len(whole) - len(clean)
    assert 1 <= gone < 4
    words = f"{gone} of 400 rows are left out: they are outliers with a probability above 0.9, as a whole or in one of"
    assert said[-2].startswith(words)

    said = succeeds("outliers run t.csv --holes 0.9 -o holed.csv").splitlines()[-2]
    holed = read_frame(Path("holed.csv"))
    assert pd.isna(holed["pulse"][9])
    assert holed["age"][9] == frame["age"][7]
    assert int(said.split()[0]) == holed.isna().sum().sum() - frame.loc[holed.index - 2].isna().sum().sum()

    succeeds("outliers run t.csv -o list.csv")
    listed = read_frame(Path("list.csv"))
    assert list(listed.columns) == ["line", "column", "value", "low", "high", "probability"]
    assert listed.set_index("line").loc[9, "value"] == 1400  # no class is among them, so that they are numbers
    before = set(Path("run").iterdir())
    succeeds("outliers run")  # the rows that were held out, or all where none were
    assert set(Path("run").iterdir()) == before
    for options, words in (
        ("--drop 1.5", "--drop 1.5: give a probability"),
        ("--holes 0", "--holes 0: give a probability"),
        ("--drop 0.9 --holes 0.9", "give one of them"),
    ):
        assert words in fails(f"outliers run t.csv {options}")


@pytest.mark.slow
def test_rows_are_drawn_where_something_is_given():
    trained()
    result = run("sample run -n 200 --seed 0 --where kind=old --where sure=true --out old.csv")
    assert result.exit_code == 0
    assert "200 rows where kind=old and sure=true: the effective size is " in result.stderr
    old = read_frame(Path("old.csv"))
    assert set(old["kind"]) == {"old"}
    assert old["sure"].all()
    succeeds("sample run -n 200 --seed 0 --where kind=young --out young.csv")
    assert old["age"].median() > read_frame(Path("young.csv"))["age"].median() + 5
    succeeds("sample run -n 3 --where day=2020-03-01 --where codes=2 --where pulse=140 --out given.csv")
    lines = read_frame(Path("given.csv"))
    assert lines["day"].dt.strftime("%Y-%m-%d").tolist() == ["2020-03-01"] * 3
    assert lines["codes"].tolist() == [2] * 3
    assert lines["pulse"].tolist() == [140] * 3
    refused = {
        "kind": "give a column and its value",
        "kind=": "give a column and its value",
        "=old": "give a column and its value",
        "kind=ancient": "'kind' cannot be 'ancient'; its classes are 'old', 'young'",
        "colour=red": "there is no column 'colour'; the schema's columns are 'age', 'pulse'",
        "id=p1": "'id' is no column of the model (left out: all values differ",
        "age>40": "inequalities are not taken",
        "age>=40": "inequalities are not taken",
        "age=old": "'age' cannot be 'old'; it is real",
        "age=inf": "'age' cannot be inf",
        "age=nan": "'age' cannot be nan",
        "day=soon": "'day' cannot be 'soon'; it is a date, such as 2020-01-31",
    }
    before = set(Path("run").iterdir())
    for where, words in refused.items():
        said = fails(f"sample run --where {where}")
        assert words in said
        assert "--where" in said
    assert "'kind' twice" in fails("sample run --where kind=old --where kind=young")
    assert "--mean and --where" in fails("sample run --mean --where kind=old")
    assert "--candidates is for --where" in fails("sample run --candidates 9")
    assert "--candidates 0; " in fails("sample run --where kind=old --candidates 0")
    assert "give 1 at least" in fails("sample run -n 0 --where kind=old")
    assert set(Path("run").iterdir()) == before


def test_conditions_are_read_by_the_schema():
    frame = pd.DataFrame({"a=b": ["x", "y=z"] * 20, "a": ["b=x", "c"] * 20, "n": [1, 2] * 20, "on": [True, False] * 20})
    schema = pv.tables.schema(frame)
    found = read_where(schema, ["a=b=y=z", "n=1.0", "on=no"])
    assert found == {"a=b": "y=z", "n": 1, "on": False}
    assert read_where(schema, ["a = c"]) == {"a": "c"}
    assert read_where(schema, ["n=1 .. 2"]) == {"n": (1, 2)}
    assert read_where(schema, ["n=1.."]) == {"n": (1, None)}
    with pytest.raises(pv.ArgumentError, match="'a=b' twice"):
        read_where(schema, ["a=b=x", "a=b=y=z"])


def test_runs_of_arrays_are_refused():
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 3)))
    succeeds("train x.npy --out run --epochs 1 --hidden 4 --quiet --no-report")
    for command in ("outliers run", "sample run --where a=1"):
        assert "pyrovae train table.csv" in fails(command)
