"""Tables of columns of all kinds on the command line: from a file full of holes to a model of it, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import fails, folder, run, succeeds  # noqa: F401 - the fixture is taken by every test
from test_schemas import a_frame, with_holes

import pyrovae as pv
from pyrovae.cli.run_config import sealed
from pyrovae.cli.run_folder import RunFolder
from pyrovae.data.datasets.read_frame import read_frame

pd = pytest.importorskip("pandas")

QUICK = "--epochs 2 --hidden 8 --latent 2 --quiet"


def table(name: str = "t.csv") -> pd.DataFrame:
    frame = with_holes(a_frame(80)).reset_index(drop=True).assign(zip=[f"0{100 + row % 4}" for row in range(80)])
    frame.to_parquet(name) if name.endswith(".parquet") else frame.to_csv(name, index=False)
    return frame


def refuses(line: str) -> str:
    """The last line of a command that says something of a table's columns, and then refuses."""
    result = run(line)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    said = result.stderr.splitlines()[-1]
    assert said.startswith("Error: ")
    return said


def trained(*more: str) -> pd.DataFrame:
    frame = table()
    succeeds(f"train t.csv --out run {QUICK} --no-report {' '.join(more)}")
    return frame


# --- reading -------------------------------------------------------------------------------------------
def test_columns_of_a_file_have_the_types_of_all_of_their_cells():
    Path("t.csv").write_text(
        "n,x,flag,day,zip,who,late\n1, 0.5,True,2020-01-31,01234,ann,1\n"
        "2,NA,False,2020-02-01,04321, bob,2\n3,2,,,?,,3.5\n"
    )
    frame = read_frame(Path("t.csv"))
    kinds = {name: kind.kind for name, kind in frame.dtypes.items()}
    assert kinds == {"n": "i", "x": "f", "flag": "O", "day": "M", "zip": "O", "who": "O", "late": "f"}
    assert frame["zip"].tolist()[:2] == ["01234", "04321"]  # a code that begins with 0 is no number
    assert frame["who"].tolist()[:2] == ["ann", "bob"]
    assert frame.isna().sum().tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert list(read_frame(Path("t.csv"), columns=["late", "n"]).columns) == ["late", "n"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,a\n1,2\n", "two columns 'a'"),
        ("a,b\n", "no rows"),
        ("x\n" + "1.5\n" * 20 + "many\n", "numbers but for 1 of 21 cells, the first one 'many' in line 22"),
        ("a,b\n1,2\n3\n", "line 3 has 1 fields"),
    ],
)
def test_files_that_are_no_table_are_refused(text, words):
    Path("t.csv").write_text(text)
    assert words in fails("train t.csv")
    assert not Path("runs").exists()


# --- training and what follows -------------------------------------------------------------------------
@pytest.mark.slow
def test_from_a_file_with_holes_to_one_without():
    frame = table()
    said = succeeds(f"train t.csv --out run {QUICK.removesuffix('--quiet')}")
    assert "height   real " in said
    assert "id       identifier" in said
    assert "--schema FILE" in said
    schema = pv.tables.read_schema("run/schema.toml")
    assert schema == pv.tables.read_schema("run/model.safetensors")
    assert {column.name for column in schema.columns} == set(frame.columns) - {"id", "country"}
    assert Path("run/report.html").read_text().count("NaN") == 0

    assert succeeds("impute run t.csv -o filled.csv").strip() == "filled.csv"
    filled, before = read_frame(Path("filled.csv")), read_frame(Path("t.csv"))
    assert list(filled.columns) == list(before.columns)
    assert not filled.isna().any().any()
    seen = before.notna()
    assert (filled[seen] == before[seen]).sum().sum() == seen.sum().sum()
    assert set(filled["job"]) == set(before["job"].dropna())

    table("t.parquet")
    succeeds("impute run t.parquet -o filled.parquet --draws 3")
    several = pd.read_parquet("filled.parquet")
    assert several["draw"].value_counts().tolist() == [80] * 3
    assert not several.isna().any().any()
    drawn = several["height"].to_numpy().reshape(3, 80)
    assert (np.ptp(drawn, axis=0) > 0).tolist() == before["height"].isna().tolist()

    succeeds("sample run -n 5 --seed 0 -o drawn.csv")
    made = read_frame(Path("drawn.csv"))
    assert len(made) == 5
    assert set(made["zip"]) <= set(before["zip"])
    succeeds("reconstruct run t.csv -n 4 -o again.csv")
    assert len(read_frame(Path("again.csv"))) == 4

    succeeds("encode run t.csv -o codes.csv")
    succeeds("encode run t.csv -o codes.npz")
    codes = read_frame(Path("codes.csv"))
    with np.load("codes.npz") as file:
        arrays = dict(file)
    assert list(codes.columns) == ["z.mean[0]", "z.mean[1]", "z.scale[0]", "z.scale[1]"]
    assert np.allclose(codes["z.scale[1]"], arrays["z.scale"][:, 1])
    assert arrays["z.mean"].shape == (80, 2)

    figures = json.loads(succeeds("evaluate run t.csv --rows 20 --evidence-draws 25 --json"))
    assert figures["rows"] == 80
    assert np.isfinite(figures["elbo"])
    assert "resemblance" in {**figures, **figures["left_out"]}
    succeeds("report run -o again.html")
    succeeds("export run run.nc --draws 2")


@pytest.mark.slow
def test_an_edited_schema_decides():
    trained()
    text = Path("run/schema.toml").read_text()
    assert 'kind = "categorical"' in text
    schema = pv.tables.schema(read_frame(Path("t.csv")), kinds={"codes": "count", "height": "heavy", "job": "left out"})
    schema.save("edited.toml")
    succeeds(f"train t.csv --schema edited.toml --out two {QUICK} --no-report")
    assert pv.tables.read_schema("two/schema.toml") == schema
    assert RunFolder(Path("two")).read_config().columns == [column.name for column in schema.columns]
    Path("run/schema.toml").write_text("edited afterwards")  # the run goes by its configuration
    succeeds("sample run -n 2")
    assert "another one than that of the run" in fails("train --resume --out run --schema edited.toml")
    succeeds("train --resume --out run --epochs 3 --no-report --quiet")
    assert len(RunFolder(Path("run")).read_metrics()) == 3


def test_options_of_one_family_keep_one_for_all_columns():
    table()
    assert "not numbers: column" in fails("train t.csv --likelihood normal")
    schema = pv.tables.schema(read_frame(Path("t.csv")))
    schema.save("s.toml")
    assert "--likelihood all the same one" in fails("train t.csv --likelihood normal --schema s.toml")
    np.save("x.npy", np.ones((3, 3)))
    assert "--schema is for a .csv or .parquet file" in fails("train x.npy --schema s.toml")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 64))
    np.savetxt("pixels.csv", pixels, delimiter=",", fmt="%d")
    assert "images of 8x8" in succeeds("train pixels.csv --epochs 1 --no-report --out images")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[column]]\nname = "height"\nform = "number"\nkind = "imaginary"\n', "kind='imaginary'; give one of"),
        ("height = 3", "no schema"),
        ('[[column]]\nname = "size"\nform = "number"\nkind = "real"\n', "none of the schema's columns"),
        ('[[column]]\nname = "height"\nform = "number"\nkind = "count"\n', "'height' is count, and holds"),
        ('[[column]]\nname = "job"\nform = "number"\nkind = "real"\n', "'job' is one of numbers, and holds"),
    ],
)
def test_a_schema_of_something_else_is_refused(text, words):
    table()
    Path("s.toml").write_text(text)
    assert words in refuses("train t.csv --schema s.toml")
    assert not Path("runs").exists()


def test_labels_are_no_column_of_the_model():
    trained("--label job", "--validation 0")
    config = RunFolder(Path("run")).read_config()
    assert "job" not in config.columns
    assert "no column 'jobs'" in fails(f"train t.csv --label jobs --out other {QUICK}")


@pytest.mark.slow
def test_other_tables_are_taken_by_name():
    frame = trained()
    seed = "--rows 20 --evidence-draws 25 --json"
    frame[frame.columns[::-1]].to_csv("swapped.csv", index=False)
    found = [json.loads(succeeds(f"evaluate run {name} {seed}"))["elbo"] for name in ("t.csv", "swapped.csv")]
    assert found[0] == found[1]
    frame.drop(columns="job").to_csv("less.csv", index=False)
    succeeds("impute run less.csv -o whole.csv")
    assert not pd.read_csv("whole.csv")["job"].isna().any()
    frame.assign(visits=-1).to_csv("bad.csv", index=False)
    assert "'visits' is count, and holds -1 in line 2 " in fails("impute run bad.csv")
    frame[["id"]].to_csv("none.csv", index=False)
    assert "none of the schema's columns" in fails("encode run none.csv")
    frame.assign(draw=1).to_csv("draw.csv", index=False)
    assert "column 'draw'" in refuses("impute run draw.csv --draws 2")
    Path("mine.csv").write_text("mine")
    for command in ("impute", "outliers", "encode", "sample", "sample --where job=cook"):
        command, *more = command.split(" ", 1)
        assert "left as it is" in fails(f"{command} run --out mine.csv {' '.join(more)}")
        assert "must end in .csv or .parquet" in fails(f"{command} run --out mine.txt {' '.join(more)}")
    assert Path("mine.csv").read_text() == "mine"
    np.save("x.npy", np.ones((40, 3)))
    assert "give it a .csv or .parquet file" in fails("impute run x.npy")


def test_a_run_of_numbers_says_what_imputes():
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 3)))
    succeeds("train x.npy --out run --epochs 1 --hidden 4 --quiet --no-report")
    assert "pyrovae train table.csv" in fails("impute run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.update(schema="x = 1"), "the schema of the run"),
        (lambda table: table.update(latent=0), "table is damaged"),
        (lambda table: table.update(hidden=["x"]), "damaged"),
        (lambda table: table.update(code="evil"), "means nothing there"),
        (lambda table: table.pop("schema"), "schema missing"),
    ],
)
def test_a_configuration_of_no_table_is_refused(change, words):
    trained()
    config = json.loads(Path("run/config.json").read_text())
    change(config["table"])
    Path("run/config.json").write_text(json.dumps(sealed(config)))
    assert words in fails("impute run")


def test_a_folder_that_names_code_is_not_followed():
    trained()
    Path("evil.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    config = json.loads(Path("run/config.json").read_text())
    for other in ({"pair": "evil.py:make"}, {"pair": "evil.py:make", "table": None}):
        Path("run/config.json").write_text(json.dumps(sealed({**config, **other})))
        for command in ("impute", "outliers", "encode", "sample", "report"):
            assert fails(f"{command} run")
            assert not Path("executed").exists()


@pytest.mark.slow
def test_intervals_in_a_file(folder):  # noqa: F811
    frame, labels = table(), ["<160", "160-170", "170-180", ">180"]
    ages = pd.cut(frame["height"], [0, 160, 170, 180, 300], labels=labels).astype(str)
    frame["age"] = ages.mask(frame.index % 7 == 0)
    frame.to_csv("t.csv", index=False)
    succeeds(f"train t.csv --out run {QUICK} --columns height,age,income")
    assert pv.tables.read_schema("run/schema.toml").columns[1].ends[1] == (160.0, 170.0)
    succeeds("impute run t.csv -o filled.csv")
    assert set(pd.read_csv("filled.csv")["age"]) == set(labels)
    succeeds("sample run -n 20 --where age=160-170 -o made.csv")
    assert set(pd.read_csv("made.csv")["age"]) == {"160-170"}
    assert "160-170" in Path("run/report.html").read_text()
