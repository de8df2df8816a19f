"""Cells that were there stay, whatever their column is; what is filled is of the column's type."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import pyrovae as pv

X = np.random.default_rng(0).normal(size=200)


def untrained(frame: pd.DataFrame):
    torch.manual_seed(0)
    return pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[4])


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_a_timezone_is_that_of_what_is_filled(library):
    wall = pd.Timestamp("2024-07-01 12:00") + pd.to_timedelta(np.round(X * 30), unit="m")
    frame = pd.DataFrame({"x": X, "t": wall.tz_localize("America/New_York")})
    holed = frame.copy()
    holed.loc[:99, "t"] = pd.NaT
    pair, given = untrained(frame), holed
    if library == "pyarrow":
        pa = pytest.importorskip("pyarrow")
        given = pa.Table.from_pandas(holed)
    filled = pv.impute(pair, given)
    filled = filled if library == "pandas" else filled.to_pandas()
    assert str(filled["t"].dt.tz) == "America/New_York"
    assert (filled["t"][100:] == frame["t"][100:]).all()
    # The model knows the clock on the wall: hours about noon there, and not about noon in Greenwich.
    assert abs((filled["t"][:100] - frame["t"][:100]).median()) < pd.Timedelta(hours=2)
    if library == "pandas":
        assert pv.impute(pair, filled)["t"].equals(filled["t"])


def test_a_class_that_the_schema_does_not_know_stays_where_it_is(caplog):
    frame = pd.DataFrame({"x": X, "c": np.where(X > 0, "a", "b")})
    strange = frame.copy()
    strange.loc[:4, "c"] = "new"
    strange.loc[5:9, "c"] = None
    filled = pv.impute(untrained(frame), strange)
    assert (filled["c"][:5] == "new").all()
    assert filled["c"][5:10].isin(["a", "b"]).all()
    assert "does not know" in caplog.text


def test_a_column_of_classes_takes_those_that_are_filled_in():
    frame = pd.DataFrame({"x": X, "c": pd.Categorical(np.where(X > 0, "b", "a"))})
    holed = pd.DataFrame({"x": [2.0, -2.0, 2.0], "c": pd.Categorical([None, None, "A"], categories=["A"])})
    filled = pv.impute(untrained(frame), holed)["c"]
    assert isinstance(filled.dtype, pd.CategoricalDtype)
    assert filled[2] == "A"
    assert filled[:2].isin(["a", "b"]).all()


def test_numbers_far_from_0_have_no_logarithm():
    frame = pd.DataFrame({"seconds": 1.7e9 + 3600 * X, "level": 1e7 + X, "height": 170 + 30 * np.abs(X) ** 1.5})
    kinds = {column.name: column.kind for column in pv.tables.schema(frame).columns}
    assert kinds["seconds"] == kinds["level"] == "real"
    assert kinds["height"] == "positive"


def test_outliers_of_rows_that_share_a_name_are_shown():
    frame = pd.DataFrame({"a": X, "b": X + 0.01, "c": -X})
    frame.loc[3, "b"] = 80.0
    frame.index = np.arange(200) % 100
    found = pv.tables.outliers(untrained(frame), frame, draws=50)
    rows = found.rows.copy()
    rows.iloc[:] = 0.9
    assert "do not belong together" in str(
        found._replace(rows=rows, cells=found.cells * 0, expected=found.expected[:0])
    )


def test_what_is_given_is_meant_to_the_last_digit():
    start = pd.Timestamp("2024-05-05 12:00")
    frame = pd.DataFrame({"a": X, "t": start + pd.to_timedelta(np.round(60 * X), unit="s")})
    asked = start + pd.Timedelta(seconds=40)
    made = pv.tables.generate_where(untrained(frame), 5, pd.Series({"t": asked}))
    assert (made["t"] == asked).all()


def test_what_is_given_is_what_the_rows_have_or_it_is_refused():
    days = pd.Timestamp("2024-05-05") + pd.to_timedelta((100 * X).astype(int), "D")
    frame = pd.DataFrame({"n": (20 * X).round().clip(0, 100).astype("uint8"), "day": days, "x": X})
    pair = pv.recipes.table_vae(pv.tables.schema(frame, kinds={"n": "real"}), latent=1, hidden=[4])
    assert (pv.tables.generate_where(pair, 3, {"n": 200, "x": 0.1})["n"] == 200).all()
    for value, instead in ((300, 255), (2.5, 2), (-1, 0)):
        with pytest.raises(pv.ArgumentError, match=f"'n' is of uint8, so that the rows would have {instead} there"):
            pv.tables.generate_where(pair, 3, {"n": value})
    assert (pv.tables.generate_where(pair, 3, {"n": (2.5, 300)})["n"] >= 3).all()
    with pytest.raises(pv.ArgumentError, match="'day' is of days without a time"):
        pv.tables.generate_where(pair, 3, {"day": pd.Timestamp("2024-05-05 12:00")})


def test_two_classes_keep_their_order(tmp_path):
    grade = pd.Categorical(np.where(X > 0, "low", "high"), ["low", "high"], ordered=True)
    schema = pv.tables.schema(pd.DataFrame({"x": X, "grade": grade}))
    schema.save(tmp_path / "schema.toml")
    assert pv.tables.read_schema(tmp_path / "schema.toml") == schema
    assert schema.columns[1].kind == "binary"
    assert schema.decode([[0.0, 1.0]])["grade"].dtype == grade.dtype


def test_one_value_is_given_for_each_column_whatever_its_name():
    pair = untrained(pd.DataFrame({0: X, 1: X}))
    assert len(pv.tables.generate_where(pair, 2, {0: 1.0})) == 2
    with pytest.raises(pv.ArgumentError, match="give one value"):
        pv.tables.generate_where(pair, 2, {0: [1.0, 2.0]})


COLUMNS = {
    "Float64": pd.array(X, dtype="Float64"),
    "float32": X.astype("float32"),
    "Int64": pd.array(np.rint(100 * X), dtype="Int64"),
    "sparse": pd.arrays.SparseArray(np.where(X > 0, X, np.nan)),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_and_what_is_drawn_of_them_are_of_their_type(name):
    frame = pd.DataFrame({"x": X, "v": COLUMNS[name]})
    filled = frame.copy() if name in ("float32", "sparse") else frame.assign(v=frame["v"].mask(X > 1.5))
    schema = pv.tables.schema(filled)
    rows = schema.encode(filled).nan_to_num(nan=7.0)
    for back in (schema.decode(rows), schema.decode(rows, like=filled)):
        assert back["v"].dtype == frame["v"].dtype
        assert not back["v"].isna().any()
        there = filled["v"].notna()
        assert (back["v"][there] == frame["v"][there]).all()


# Of each type what the nearest to 3.4, to 3e30, to -3e30 and to 1e-30 is, of a real column.
NEAREST = {
    "int8": [3, 127, -128, 0],
    "uint8": [3, 255, 0, 0],
    "UInt8": [3, 255, 0, 0],
    "uint8[pyarrow]": [3, 255, 0, 0],
    "Sparse[int8]": [3, 127, -128, 0],
    "int64": [3, 2**63 - 1024, -(2**63), 0],
    "uint64": [3, 2**64 - 2048, 0, 0],
    "float16": [3.4, 65504, -65504, 0],
    "float32": [3.4, 3e30, -3e30, 1e-30],
    "float64": [3.4, 3e30, -3e30, 1e-30],
    "Float32": [3.4, 3e30, -3e30, 1e-30],
}


@pytest.mark.parametrize("dtype", NEAREST)
def test_all_draws_of_a_column_are_of_its_type_and_none_is_wrapped_around(dtype):
    small = pd.Series((20 * X).round().clip(0, 100)).astype(dtype)
    schema = pv.tables.schema(pd.DataFrame({"x": X, "n": small}), kinds={"n": "real"})
    drawn = torch.tensor([3.4, 3e30, -3e30, 1e-30], dtype=torch.float64)
    rows = torch.stack([drawn * 0, drawn], 1)
    back = schema.decode(rows)["n"]
    assert (back.dtype, list(back)) == (small.dtype, pytest.approx(NEAREST[dtype], rel=1e-3, abs=0))
    holed = pd.DataFrame({"x": 0.0, "n": pd.Series([1, 2, 3, 4]).astype(dtype)})
    for shift in (0.0, 300.0):  # some cells as they were, all others drawn; of a mask even in types without holes
        rows[0, 1] = 1 + shift
        filled = schema.decode(rows, like=holed)["n"]
        assert filled.dtype == small.dtype
        assert list(filled)[1:] == pytest.approx(NEAREST[dtype][1:], rel=1e-3, abs=0)


def test_frames_of_one_call_are_of_one_type():
    """Draws of a wide column: some fit into 8 bits and some do not."""
    narrow = pd.Series((60 * X).round().clip(-128, 127))
    pair = untrained(pd.DataFrame({"x": X, "n": narrow.astype("int8")}))
    holed = pd.DataFrame({"x": X, "n": narrow.mask(X > 0)})
    for dtype in ("Int8", "float64"):
        frames = pv.impute(pair, holed.astype({"n": dtype}), draws=30, candidates=30).frames()
        assert {str(frame["n"].dtype) for frame in frames} == {dtype}
        assert max(frame["n"].max() for frame in frames) == 127
        assert all((frame["n"] % 1 == 0).all() for frame in frames)
    masked = pd.DataFrame({"x": X, "n": narrow.astype("int8")})
    mask = masked.notna().assign(n=X < 0)
    frames = pv.impute(pair, masked, mask=mask, draws=30, candidates=30).frames()
    assert {str(frame["n"].dtype) for frame in frames} == {"int8"}
    assert {str(pv.generate(pair, 100, seed=seed)["n"].dtype) for seed in range(5)} == {"int8"}


def test_what_is_rounded_is_still_what_its_column_can_be():
    """A positive number is not rounded to 0, which the schema itself would refuse, nor a proportion to 1."""
    prices = np.exp(3 * X).round() + 1
    share = (1 / (1 + np.exp(X))).astype("float32")
    frame = pd.DataFrame({"price": prices.astype("int64"), "share": share})
    schema = pv.tables.schema(frame, kinds={"price": "positive", "share": "proportion"})
    back = schema.decode(torch.tensor([[0.2, 1 - 1e-9], [1e-30, 1e-30]], dtype=torch.float64))
    assert (back["price"] == 1).all()
    assert (str(back["share"].dtype), back["share"].max() < 1, back["share"].min() > 0) == ("float32", True, True)
    assert not schema.encode(back).isnan().any()


def test_whole_numbers_beside_none_stay_whole():
    """As databases give them: a column of objects."""
    some = np.where(X > 1, None, (100 * X).astype(int)).astype(object)
    few = np.where(X > 1, None, (X > 0) + 3 * (X > 0.5) + 1).astype(object)
    frame = pd.DataFrame({"x": X, "n": some, "code": few})
    pair = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[4])
    filled, made = pv.impute(pair, frame, draws=1, candidates=30).frames()[0], pv.generate(pair, 50)
    assert all(isinstance(one, int) for name in ("n", "code") for one in filled[name].tolist())
    assert made.dtypes[["n", "code"]].astype(str).tolist() == ["Int64", "Int64"]
    large = pd.Series([2**70, None, -(2**70), 2**68] * 20, dtype=object)
    assert pv.tables.schema(pd.DataFrame({"n": large, "x": X[:80]}), kinds={"n": "real"}).table[0].dtype == "object"


def test_classes_that_a_type_cannot_hold_are_not_wrapped_around():
    pair = untrained(pd.DataFrame({"x": X, "code": np.where(X > 0, 300, 5)}))
    narrow = pd.DataFrame({"x": X, "code": np.full(200, 5, dtype="uint8")})
    filled = pv.impute(pair, narrow, mask=narrow.notna().assign(code=X < 0))
    assert set(filled["code"]) == {5, 300}


def test_a_type_that_pandas_does_not_make_of_its_name_is_none():
    schema = pv.tables.schema(pd.DataFrame({"x": X, "y": X}))
    odd = schema._replace(table=(schema.table[0]._replace(dtype="decimal128(5, 2)[pyarrow]"), schema.table[1]))
    assert str(odd.decode([[0.5, 0.5]])["x"].dtype) == "float64"


def test_names_of_columns_are_those_that_went_in():
    frame = pd.DataFrame({("a", "x"): X, ("b", "x"): -(X**2)}).rename_axis(columns=["group", "name"])
    schema = pv.tables.schema(frame)
    back = schema.decode(schema.encode(frame).nan_to_num(), like=frame)
    assert back.equals(frame)
    assert back.columns.equals(frame.columns)
    assert back.columns.names == ["group", "name"]
    assert isinstance(back.columns, pd.MultiIndex)
    assert list(schema.decode(schema.encode(frame), like=frame[[("b", "x")]]).columns) == [("b", "x"), ("a", "x")]


NAMES = {
    "numbers": range(3),
    "numbers and texts": ["a", 7, 2.5],
    "dates": pd.date_range("2024-01-31", periods=3, freq="D"),
    "tuples": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]),
    "texts": ["0", "1", "2"],
}


@pytest.mark.parametrize("name", NAMES)
def test_new_rows_have_the_names_of_the_frame_that_the_schema_was_made_from(name, tmp_path):
    frame = pd.DataFrame(np.stack([X, X**2 + 1, -X], 1), columns=NAMES[name])
    schema = pv.tables.schema(frame)
    schema.save(tmp_path / "schema.toml")
    assert pv.tables.read_schema(tmp_path / "schema.toml") == schema
    pair = pv.recipes.table_vae(pv.tables.read_schema(tmp_path / "schema.toml"), latent=1, hidden=[4])
    second = frame.columns[1]
    for made in (
        pv.generate(pair, 5, seed=0),
        pv.tables.generate_where(pair, 5, {second: (1.0, None)}),
        pv.reconstruct(pair, frame),
        pv.impute(pair, frame.mask(frame < 0)),
    ):
        assert made.columns.equals(frame.columns)
        assert list(made[[second]].columns) == [second]
    texts = frame.set_axis([str(one) for one in frame.columns], axis=1)
    assert pv.impute(pair, texts.mask(texts < 0)).columns.equals(texts.columns)
    assert list(pv.impute(pair, texts.iloc[:, :2].mask(texts.iloc[:, :2] < 0)).columns) == list(texts.columns)


def test_outliers_have_the_names_of_the_frame():
    frame = pd.DataFrame(np.stack([X, X + 0.01, -X], 1))
    frame.loc[3, 1] = 80.0
    found = pv.tables.outliers(untrained(frame), frame, draws=50)
    assert found.cells[1].idxmax() == 3
    assert found.expected["column"].iloc[0] == 1
    assert found.cleaned().columns.equals(frame.columns)
    assert found.cleaned().loc[3].isna().tolist() == [False, True, False]


def test_a_name_that_no_file_holds_becomes_a_text(tmp_path):
    frame = pd.DataFrame({None: X, pd.Period("2024-01", "M"): -X, "a": X**2})
    schema = pv.tables.schema(frame)
    schema.save(tmp_path / "schema.toml")
    assert pv.tables.read_schema(tmp_path / "schema.toml") == schema
    assert list(pv.generate(untrained(frame), 2).columns) == [str(one) for one in frame.columns]
    text = (tmp_path / "schema.toml").read_text(encoding="utf-8")
    (tmp_path / "schema.toml").write_text(text.replace('name = "a"', 'name = "a"\nlabel = {b = 1}'), encoding="utf-8")
    with pytest.raises(pv.FileError, match=r"column 'a': label = .* a label is a number"):
        pv.tables.read_schema(tmp_path / "schema.toml")
