"""Schemas of frames, and the way from a frame to rows and back."""

from __future__ import annotations

import datetime
import logging
import re
from decimal import Decimal

import numpy as np
import pytest
import torch

import pyrovae as pv

pd = pytest.importorskip("pandas")


def a_frame(rows=300):
    noise = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "height": noise.normal(170, 9, rows),
            "income": noise.lognormal(8, 1, rows),
            "debt": np.where(noise.random(rows) < 0.4, 0.0, noise.lognormal(5, 2, rows)),
            "visits": noise.poisson(40, rows),
            "share": noise.beta(2, 5, rows),
            "codes": noise.integers(1, 5, rows),
            "job": noise.choice(["cook", "clerk", "nurse"], rows),
            "smokes": noise.random(rows) < 0.3,
            "grade": pd.Categorical(noise.choice(["low", "mid", "high"], rows), ["low", "mid", "high"], ordered=True),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(noise.integers(0, 900, rows), "D"),
            "id": [f"p{number}" for number in range(rows)],
            "country": "CH",
        }
    )
    frame.index = pd.Index(range(1000, 1000 + rows), name="patient")
    return frame


def with_holes(frame, share=0.1):
    noise = np.random.default_rng(1)
    holed = frame.astype({"visits": "Int64", "smokes": "boolean"})
    for name in frame.columns[:10]:
        holed.loc[noise.random(len(frame)) < share, name] = None
    return holed


def test_kinds_are_guessed():
    schema = pv.tables.schema(a_frame())
    assert {one.name: one.column.kind if one.column else one.form for one in schema.table} == {
        "height": "real",
        "income": "positive",
        "debt": "positive_or_zero",
        "visits": "count",
        "share": "proportion",
        "codes": "categorical",
        "job": "categorical",
        "smokes": "binary",
        "grade": "ordinal",
        "seen": "real",
        "id": "identifier",
        "country": "constant",
    }
    shown = str(schema)
    assert "4 values, 1 to 4: codes or counts? Taken for codes" in shown
    assert "all values differ, as in an identifier" in shown


@pytest.mark.parametrize("make", [a_frame, lambda: with_holes(a_frame())], ids=["full", "holes"])
def test_rows_come_back_as_they_were(make):
    frame = make()
    schema = pv.tables.schema(frame)
    rows = schema.encode(frame)
    assert rows.shape == (300, 10)
    assert torch.equal(rows.isnan(), torch.from_numpy(frame[[one.name for one in schema.columns]].isna().to_numpy()))
    back = schema.decode(rows, like=frame)
    assert list(back.columns) == list(frame.columns)
    assert back.index.equals(frame.index)
    for name in frame.columns:
        one, other = frame[name], back[name]
        assert one.isna().equals(other.isna()), name
        if one.dtype.kind == "f":
            assert np.allclose(one, other, equal_nan=True), name
        else:
            assert (one.dropna() == other.dropna()).all(), name
    if not frame.isna().any().any():
        assert {name: str(kind) for name, kind in back.dtypes.items()} == {
            name: str(kind) for name, kind in frame.dtypes.items()
        }


def test_columns_are_taken_by_name():
    frame = a_frame()
    schema = pv.tables.schema(frame)
    assert torch.equal(schema.encode(frame[frame.columns[::-1]]), schema.encode(frame))


def test_what_is_not_there_or_not_known_counts_as_missing_and_is_said(caplog):
    frame = a_frame()
    schema = pv.tables.schema(frame)
    other = frame.drop(columns="height").assign(extra=1.0)
    other.iloc[0, other.columns.get_loc("job")] = "pilot"
    with caplog.at_level(logging.WARNING, "pyrovae"):
        rows = schema.encode(other)
    names = [one.name for one in schema.columns]
    assert bool(rows[:, names.index("height")].isnan().all())
    assert rows[0, names.index("job")].isnan()
    assert not rows[1, names.index("job")].isnan()
    for words in ("'height' are not in this frame", "'extra' are none of the schema's", "does not know.*'pilot'"):
        assert any(re.search(words, record.getMessage()) for record in caplog.records), words


BAD = {
    "negative": (lambda frame: frame.assign(visits=-3), "'visits' is count, and holds -3 in row 1000 "),
    "infinite": (lambda frame: frame.assign(height=np.inf), "'height' is real, and holds inf"),
    "text": (lambda frame: frame.assign(height="tall"), "'height' is one of numbers, and holds 'tall'"),
    "no date": (lambda frame: frame.assign(seen="soon"), "'seen' is one of dates"),
    "zero": (lambda frame: frame.assign(income=0.0), "'income' is positive, and holds 0"),
    "twice": (lambda frame: pd.concat([frame, frame[["height"]]], axis=1), "two columns 'height'"),
    "another": (lambda frame: frame[["id"]], "none of the schema's columns"),
    "no frame": (lambda frame: frame.to_numpy(), "give a DataFrame"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_column_cannot_hold_is_refused(name):
    make, words = BAD[name]
    frame = a_frame()
    with pytest.raises(pv.DataError, match=words):
        pv.tables.schema(frame).encode(make(frame))


@pytest.mark.parametrize(
    ("frame", "kinds", "match"),
    [
        (pd.DataFrame(), {}, "0 rows and 0 columns"),
        (pd.DataFrame({"x": []}), {}, "0 rows"),
        (pd.DataFrame({"x": [1.0, 1.0]}), {}, "no column is left"),
        (pd.DataFrame({"x": [1.0, "a", 2.5]}), {}, "several types"),
        (pd.DataFrame({"x": [1.0, np.inf, 2.5]}), {}, "infinity"),
        (pd.DataFrame({"x": [*range(30), np.inf, -np.inf, np.inf]}), {}, "infinity"),  # whose differences are NaN
        (pd.DataFrame({"x": [1.5, 2.0]}), {"y": "real"}, "kinds has 'y'"),
        (pd.DataFrame({"x": [1.5, 2.0]}), {"x": "reel"}, "'x' is 'reel'; give 'real'"),
        (pd.DataFrame({"x": [1.5, 2.0, 3.0]}), {"x": "binary"}, "make it categorical"),
        (pd.DataFrame({"x": [[1], [2]]}), {}, "holds list"),
    ],
)
def test_frames_that_nothing_can_be_learnt_from(frame, kinds, match):
    with pytest.raises(pv.PyrovaeError, match=match):
        pv.tables.schema(frame, kinds=kinds)


def test_a_kind_that_is_given_decides():
    schema = pv.tables.schema(a_frame(), kinds={"codes": "count", "height": "heavy", "job": "left out"})
    kinds = {one.name: one.kind for one in schema.columns}
    assert kinds["codes"] == "count"
    assert kinds["height"] == "heavy"
    assert "job" not in kinds


def test_a_schema_is_written_and_read(tmp_path):
    for frame in (
        a_frame(),
        with_holes(a_frame()),
        pd.DataFrame({'a "quote"\\': ["x\ny", "z", None], "b": [1.5, 2, 9]}),
    ):
        schema = pv.tables.schema(frame)
        schema.save(tmp_path / "schema.toml")
        assert pv.tables.read_schema(tmp_path / "schema.toml") == schema


def of_column(text, name, entry, value):
    """The file with another value for an entry of one column."""
    before, _, behind = text.partition(f'name = "{name}"')
    behind, changes = re.subn(rf"^{entry} = .*$", lambda _: f"{entry} = {value}", behind, count=1, flags=re.MULTILINE)
    assert changes == 1
    return f'{before}name = "{name}"{behind}'


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace('kind = "real"', 'kind = "imaginary"', 1), "kind='imaginary'; give one of"),
        (lambda text: text.replace("[[column]]", "[[column]", 1), "no TOML"),
        (lambda text: "x = 1", "no schema"),
        (lambda text: text.replace("center = ", "centre = ", 1), "has 'centre', which no schema has"),
        (lambda text: text.replace("spread = ", "spread = -", 1), "spread=-"),
        (lambda text: text.replace('name = "income"', 'name = "height"'), "twice"),
        (lambda text: of_column(text, "job", "levels", '["clerk"]'), "'cook' is in one"),
        (lambda text: of_column(text, "job", "levels", '["clerk", "chef", "nurse"]'), "'chef' is in one list"),
        (lambda text: of_column(text, "job", "shares", "[0.2, 0.3, 0.6]"), "'job': the shares sum to 1.1;"),
        (lambda text: of_column(text, "debt", "shares", "[0.3, 0.3]"), "'debt': the shares sum to 0.6;"),
        (lambda text: of_column(text, "job", "shares", "[0.5, 0.5]"), "'job' has 2 shares of 3 classes"),
        (lambda text: of_column(text, "job", "shares", "[0.5, 0.5, -0.0]"), "'job': shares are finite numbers above"),
        (lambda text: of_column(text, "height", "dtype", '"flaot64"'), "'height': dtype = 'flaot64' is no type that"),
        (
            lambda text: of_column(text, "height", "dtype", '"str"'),
            "'height': form = 'number' is one of numbers, which",
        ),
        (lambda text: of_column(text, "height", "form", '"date"'), "'height': form = 'date' is one of dates, which"),
        (lambda text: of_column(text, "seen", "dtype", '"int64"'), "'seen': form = 'day' is one of dates, which"),
        (lambda text: of_column(text, "job", "dtype", '"int64"'), "'job': form = 'classes' is one of these levels"),
        (
            lambda text: of_column(text, "codes", "dtype", '"datetime64[ns]"'),
            "'codes': form = 'classes' is one of these",
        ),
        (
            lambda text: of_column(text, "codes", "note", '""\nends = [[0,1],[1,2],[2,3],[3,4]]'),
            "'codes': ends are those",
        ),
    ],
)
def test_a_schema_that_says_nothing_sensible_is_refused(change, match, tmp_path):
    pv.tables.schema(a_frame()).save(tmp_path / "schema.toml")
    text = (tmp_path / "schema.toml").read_text(encoding="utf-8")
    (tmp_path / "schema.toml").write_text(change(text), encoding="utf-8")
    with pytest.raises(pv.FileError, match=match):
        pv.tables.read_schema(tmp_path / "schema.toml")
    with pytest.raises(pv.FileError, match="cannot be read"):
        pv.tables.read_schema(tmp_path / "nothing.toml")


def test_from_a_frame_with_holes_to_a_full_one():
    """Draws are what each column can be, and what was there is as it was."""
    frame = with_holes(a_frame())
    schema = pv.tables.schema(frame)
    rows = schema.encode(frame)
    pair = pv.recipes.table_vae(schema, latent=2, hidden=(16,))
    run = pv.fit(pair, rows, epochs=3, seed=0, progress=False)
    assert run.history[-1].elbo > run.history[0].elbo
    found = pv.impute(pair, rows, draws=2, candidates=40)
    filled = schema.decode(found.values["x"][0], like=frame)
    assert not filled[[one.name for one in schema.columns]].isna().any().any()
    there = frame.notna()
    for name in frame.columns:
        if frame[name].dtype.kind == "f":
            assert np.allclose(filled[name][there[name]], frame[name][there[name]])
        else:
            assert (filled[name][there[name]] == frame[name][there[name]]).all()
    made = pv.generate(pair, 50, seed=0)
    assert set(made["job"]) <= {"cook", "clerk", "nurse"}
    assert (made["visits"] >= 0).all()
    assert (made["visits"] % 1 == 0).all()
    assert made["share"].between(0, 1).all()
    assert (made["country"] == "CH").all()
    assert str(made["seen"].dtype).startswith("datetime64")


def kind_of(values):
    return (
        pv.tables.schema(pd.DataFrame({"x": values, "other": np.random.default_rng(0).normal(size=len(values))}))
        .columns[0]
        .kind
    )


def test_whole_numbers_that_are_no_counts():
    noise = np.random.default_rng(0)
    assert kind_of(noise.integers(1944, 2022, 300)) == "real"  # years
    assert kind_of(noise.normal(170, 8, 300).round()) == "real"
    assert kind_of(noise.lognormal(13, 1, 300).round()) == "positive"  # prices
    assert kind_of(noise.poisson(40, 300)) == "count"
    assert kind_of(np.r_[0.0, 1.0, noise.random(300)]) == "real"
    assert kind_of([*noise.normal(size=50), None]) == "real"
    assert kind_of(np.array([*noise.normal(size=50), None], dtype=object)) == "real"


NEVER_NEGATIVE = {
    "large whole numbers": (lambda noise: noise.integers(1, 2**40, 400, dtype="uint64"), "positive"),
    "the same with a zero": (lambda noise: np.r_[0, noise.integers(1, 2**40, 400)], "positive_or_zero"),
    "a range": (lambda noise: noise.uniform(1, 100, 400), "positive"),
    "half a normal": (lambda noise: abs(noise.normal(0, 50, 400)) + 1e-3, "positive"),
    "two groups": (lambda noise: np.r_[noise.normal(1.4, 0.2, 133), noise.normal(5, 0.6, 267)], "positive"),
    "of 1e300": (lambda noise: noise.uniform(0.01, 1, 400) * 1e300, "positive"),
}


@pytest.mark.parametrize("name", NEVER_NEGATIVE)
def test_numbers_that_are_never_negative_are_not_drawn_so(name):
    """A normal as wide as these has several of a hundred draws below 0."""
    make, kind = NEVER_NEGATIVE[name]
    values = make(np.random.default_rng(0))
    assert kind_of(values) == kind
    schema = pv.tables.schema(pd.DataFrame({"x": values}))
    likelihood = pv.ByColumn(pv.MLP(1, [], pv.ByColumn.outputs(schema.columns)), schema.columns)
    torch.manual_seed(0)
    drawn = schema.decode(likelihood(torch.randn(4000, 1)).sample())["x"].astype(float)
    assert drawn.min() >= 0


def test_near_zero_a_real_column_says_so():
    normal = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(400.0) + 0.5) / 400).numpy()
    notes = {
        far: pv.tables.schema(pd.DataFrame({"x": normal + far, "y": normal**3})).table[0].note for far in (3.6, 4.5, 6)
    }
    assert "never below 0, where a normal as wide has 0.0002 of its draws: positive has none" in notes[3.6]
    assert "has 3e-06 of its draws" in notes[4.5]
    assert notes[6] == ""
    bounded = pd.DataFrame({"x": np.r_[0.0, 1.0, np.random.default_rng(0).random(300)]})
    assert "taken for real, which goes past them" in pv.tables.schema(bounded).table[0].note


@pytest.mark.parametrize("values", [["a", "b", "c", "d"], [True, False, True, True], pd.Categorical([1, 2, 1, 2])])
def test_a_kind_that_cannot_be_is_refused(values):
    frame = pd.DataFrame({"x": values, "y": [1.5, 2.5, 0.5, -1.0]})
    with pytest.raises(pv.ArgumentError, match="'x' is to be real, and holds"):
        pv.tables.schema(frame, kinds={"x": "real"})
    with pytest.raises(pv.ArgumentError, match="kinds is a list"):
        pv.tables.schema(frame, kinds=["real"])


def test_integers_are_not_wrapped_around_and_classes_not_cut_off():
    frame = pd.DataFrame({"n": np.arange(60, dtype="uint8"), "b": [True, False] * 30})
    schema = pv.tables.schema(frame, kinds={"n": "count"})
    assert schema.decode([[300.0, 1.0], [30.0, 1.0]])["n"].tolist() == [255, 30]
    assert schema.decode([[300.0, 1.0]])["n"].dtype == "uint8"
    for wrong in (0.93, 2.0, -1.0):
        with pytest.raises(pv.DataError, match="'b' has classes"):
            schema.decode([[3.0, wrong]])


def test_cells_that_were_there_stay_as_they_were_written():
    frame = pd.DataFrame(
        {
            "big": [2807638467490070411, 5, 7, 9],
            "when": pd.to_datetime(
                ["2021-03-01 16:04:05", None, "1950-01-01 00:00:00", "2001-01-01 00:00:00"]
            ).tz_localize("Europe/Zurich"),
            "small": pd.array([1.5, None, 0.25, 3.5], dtype="Float32"),
        }
    )
    schema = pv.tables.schema(frame, kinds={"big": "real"})
    rows = schema.encode(frame)
    assert schema.decode(rows, like=frame).equals(frame)
    filled = schema.decode(rows.nan_to_num(2.0), like=frame)
    there = frame.notna()
    assert (filled["big"] == frame["big"]).all()
    assert (filled["small"][there["small"]] == frame["small"].dropna()).all()
    assert not filled.isna().any().any()


def test_a_constant_of_any_kind_is_left_out():
    frame = pd.DataFrame({"x": [1.5, 2.5, -1.0], "day": pd.Timestamp("2020-01-01"), "step": pd.Timedelta("1D")})
    assert [one.name for one in pv.tables.schema(frame).columns] == ["x"]
    odd = frame.assign(step=pd.to_timedelta([1, 2, 3], "D").astype(object))
    with pytest.raises(pv.DataError, match="'step' holds Timedelta"):
        pv.tables.schema(odd)


def test_numbers_are_no_dates_and_names_may_be_numbers():
    frame = pd.DataFrame({0: [1.5, 2.5, -1.0], "when": pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"])})
    schema = pv.tables.schema(frame, kinds={0: "heavy"})
    assert schema.columns[0].kind == "heavy"
    assert schema.decode(schema.encode(frame), like=frame).equals(frame)
    with pytest.raises(pv.DataError, match="one of dates, and holds numbers"):
        schema.encode(frame.assign(when=[2020, 2021, 2022]))
    with pytest.raises(pv.ArgumentError, match="table_vae takes"):
        pv.recipes.table_vae(frame)


def test_dates_come_back_as_days_or_with_their_time_and_from_one_form_of_text():
    days = pd.date_range("2020-01-01", periods=30, freq="17D")
    frame = pd.DataFrame(
        {"day": days, "time": days + pd.Timedelta("5h"), "x": np.random.default_rng(0).normal(size=30)}
    )
    schema = pv.tables.schema(frame)
    assert [one.form for one in schema.table] == ["day", "date", "number"]
    assert schema.decode(schema.encode(frame)).equals(frame)
    between = schema.decode(schema.encode(frame) + 0.4)
    assert between["day"].equals(frame["day"])
    assert not between["time"].equals(frame["time"])
    texts = frame.assign(day=frame["day"].dt.strftime("%Y-%m-%d"))
    assert torch.equal(schema.encode(texts), schema.encode(frame))
    with pytest.raises(pv.DataError, match=r"'day' is one of dates, and holds something else.*Make dates"):
        schema.encode(frame.assign(day="01/02/2020"))


def test_what_is_written_as_something_else_is_asked_about():
    rows = 30
    frame = pd.DataFrame(
        {
            "born": [f"0{1 + row % 3}/02/2020" for row in range(rows)],
            "size": [str(row % 4) for row in range(rows)],
            "number": np.random.default_rng(0).permutation(rows) + 7,
            "large": [2**60 + 7 * row for row in range(rows)],
            "x": np.random.default_rng(0).normal(size=rows),
        }
    )
    found = {one.name: one for one in pv.tables.schema(frame).table}
    assert "dates as texts? Dates are" in found["born"].note
    assert "numbers as texts? These are classes" in found["size"].note
    assert [found[name].form for name in ("number", "large", "x")] == ["identifier", "identifier", "number"]
    assert pv.tables.schema(frame, kinds={"number": "real"}).columns[2].name == "number"


def edited(path, frame, **kinds):
    """The file of a frame's schema, with other kinds in it."""
    schema = pv.tables.schema(frame)
    schema.save(path)
    text = path.read_text(encoding="utf-8")
    for name, kind in kinds.items():
        before, _, behind = text.partition(f'name = "{name}"')
        behind = re.sub(r'^kind = ".*"$', f'kind = "{kind}"', behind, count=1, flags=re.MULTILINE)
        text = f'{before}name = "{name}"{behind}'
    path.write_text(text, encoding="utf-8")
    return path


def test_a_kind_that_was_changed_in_the_file_is_measured_anew(tmp_path):
    """What was measured as another kind is in its units: the level of a logarithm is none of incomes."""
    frame = a_frame()
    kinds = {"income": "real", "height": "positive", "codes": "count", "share": "positive", "job": "left out"}
    path = edited(tmp_path / "schema.toml", frame, **kinds)
    found, expected = pv.tables.read_schema(path, frame), pv.tables.schema(frame, kinds=kinds)
    assert found == expected
    assert found.columns[1].center == pytest.approx(frame["income"].mean(), rel=0.2)
    with pytest.raises(pv.FileError, match=r"'height'.*'positive' was changed from 'real'.*read_schema\(path, frame\)"):
        pv.tables.read_schema(path)
    with pytest.raises(pv.FileError, match="the frame has no such column"):
        pv.tables.read_schema(path, frame.drop(columns="income"))
    with pytest.raises(pv.FileError, match="'height' is positive, and holds"):
        pv.tables.read_schema(path, frame.assign(height=-frame["height"]))
    odd = edited(tmp_path / "odd.toml", frame, income="imaginary")
    with pytest.raises(pv.FileError, match="kind='imaginary'; give one of"):
        pv.tables.read_schema(odd, frame)


def test_what_was_left_out_is_taken_back_in_the_file(tmp_path):
    frame = a_frame().assign(number=np.arange(300))
    path = tmp_path / "schema.toml"
    pv.tables.schema(frame).save(path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('name = "number"', 'name = "number"\nkind = "real"'), encoding="utf-8")
    assert pv.tables.read_schema(path, frame) == pv.tables.schema(frame, kinds={"number": "real"})


def test_the_order_of_texts_is_said_where_nobody_gave_one(tmp_path, caplog):
    size = np.random.default_rng(0).choice(["low", "mid", "high"], 300, p=[0.6, 0.3, 0.1])
    frame = pd.DataFrame({"size": size, "x": np.random.default_rng(1).normal(size=300)})
    schema = pv.tables.schema(frame, kinds={"size": "ordinal"})
    assert "in the order of the alphabet, high < low < mid" in str(schema)
    assert "high < low < mid; for another order make it pd.Categorical" in caplog.text
    path = edited(tmp_path / "schema.toml", frame, size="ordinal")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('["high", "low", "mid"]', '["low", "mid", "high"]'), encoding="utf-8")
    caplog.clear()
    found = pv.tables.read_schema(path, frame)
    assert (found.table[0].levels, caplog.text) == (("low", "mid", "high"), "")
    assert found.columns[0].shares == pytest.approx([0.6, 0.3, 0.1], abs=0.06)
    assert found.decode(found.encode(frame)).equals(frame)
    path.write_text(of_column(path.read_text(encoding="utf-8"), "size", "dtype", '"texts"'), encoding="utf-8")
    with pytest.raises(pv.FileError, match="'size': dtype = 'texts' is no type that pandas knows"):
        pv.tables.read_schema(path, frame)


def test_shares_follow_the_levels_whatever_order_is_made_of_these(tmp_path, caplog):
    size = np.repeat(["high", "low", "mid"], [30, 180, 90])
    frame = pd.DataFrame({"size": size, "x": np.random.default_rng(1).normal(size=300)})
    schema, path = pv.tables.schema(frame, kinds={"size": "ordinal"}), tmp_path / "schema.toml"
    schema.save(path)
    text = path.read_text(encoding="utf-8").replace(
        '\nlevels = ["high", "low", "mid"]', '\nlevels = ["low", "mid", "high"]'
    )
    path.write_text(text, encoding="utf-8")
    meant = frame.assign(size=pd.Categorical(size, ["low", "mid", "high"], ordered=True))
    for found in (pv.tables.read_schema(path), pv.tables.read_schema(path, frame)):
        assert found.columns == pv.tables.schema(meant).columns
        assert found.columns[0].shares == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
        assert "alphabet" not in str(found)
        found.save(tmp_path / "again.toml")
        assert pv.tables.read_schema(tmp_path / "again.toml") == found
    path.write_text(text.replace("measured_levels", "# measured_levels"), encoding="utf-8")  # a file of before
    assert pv.tables.read_schema(path).columns[0].shares == schema.columns[0].shares


def test_intervals_keep_their_order(tmp_path):
    frame = pd.DataFrame({"age": ["0-9", "10-19", "20-29", "30-39"] * 20, "x": np.arange(80) / 7})
    pv.tables.schema(frame).save(tmp_path / "schema.toml")
    text = (
        (tmp_path / "schema.toml")
        .read_text(encoding="utf-8")
        .replace('levels = ["0-9", "10-19"', 'levels = ["10-19", "0-9"', 1)
    )
    (tmp_path / "schema.toml").write_text(text, encoding="utf-8")
    with pytest.raises(pv.FileError, match="'age': intervals have the order of their numbers"):
        pv.tables.read_schema(tmp_path / "schema.toml")


TYPES = {
    "sparse": pd.arrays.SparseArray([0.0, 1.5, -2.0, 0.0] * 20, fill_value=0.0),
    "sparse whole": pd.arrays.SparseArray([0, 1, -2, 30] * 20, fill_value=0),
    "nullable": pd.array([1.5, None, -2.0, 0.5] * 20, dtype="Float32"),
    "objects": pd.Series([1.5, None, -2.0, 0.5] * 20, dtype=object),
    "booleans": pd.array([True, None, False, False] * 20, dtype="boolean"),
    "codes": pd.Series([1, 2, 3, 300] * 20, dtype="int16"),
    "categories": pd.Series(["a", "b", "c", None] * 20, dtype="category"),
    "intervals": pd.Series(pd.cut([1, 3, 5, 7] * 20, [0, 2, 4, 6, 8])),
    "texts": pd.Series(["a", "b", "c", None] * 20, dtype="string"),
    "zoned": pd.Series(pd.to_datetime(["2020-01-31", None, "2021-05-05", "2022-01-01"] * 20)).dt.tz_localize("UTC"),
}


@pytest.mark.parametrize("name", TYPES)
def test_the_type_of_every_column_is_one_that_a_file_may_say(name, tmp_path):
    frame = pd.DataFrame({"v": TYPES[name], "x": np.random.default_rng(0).normal(size=80)})
    kinds = {"v": "real"} if name.startswith(("sparse", "obj")) else {}
    schema = pv.tables.schema(frame, kinds=kinds)
    schema.save(tmp_path / "schema.toml")
    assert pv.tables.read_schema(tmp_path / "schema.toml") == schema
    full = frame.dropna()
    assert str(schema.decode(schema.encode(full))["v"].dtype) == (
        "float64" if name == "objects" else str(full["v"].dtype)
    )


def test_complex_numbers_are_refused_and_not_cut():
    frame = pd.DataFrame({"x": np.arange(30.0) / 7, "wave": np.arange(30) + 1j})
    with pytest.raises(pv.DataError, match=r"'wave' holds complex numbers.*make two columns"):
        pv.tables.schema(frame)
    schema = pv.tables.schema(frame, kinds={"wave": "left out"})
    with pytest.raises(pv.DataError, match="'x' holds complex numbers"):
        schema.encode(frame.assign(x=frame["wave"]))


def test_what_is_no_number_or_date_is_refused_with_the_line_that_makes_it_one():
    start = datetime.datetime(2021, 3, 1, 12)
    frame = pd.DataFrame(
        {
            "cost": [Decimal(7 * row) / 3 for row in range(40)],
            "took": pd.to_timedelta(np.arange(40) ** 2, unit="min"),
            "month": pd.period_range("2020-01", periods=40, freq="M"),
            "born": [(start + datetime.timedelta(days=row)).date() for row in range(40)],
            "hour": [(start + datetime.timedelta(minutes=row**2 % 700)).time() for row in range(40)],
        }
    )
    for name in frame:
        with pytest.raises(pv.DataError, match=r"make (numbers|dates) of it") as refused:
            pv.tables.schema(frame[[name]])
        line = re.search(r"of it, (.*), or leave", str(refused.value))
        assert line is not None
        made = frame.assign(**{str(name): eval(line[1])})
        form = pv.tables.schema(made[[name]]).table[0].form
        assert form == ("day" if "dates" in str(refused.value) else "number")


def test_missing_cells_of_any_sort_are_holes():
    numbers = pd.Series([1.5, pd.NA, np.int64(2), None, np.float64(7.5), float("nan")] * 10, dtype=object)
    schema = pv.tables.schema(pd.DataFrame({"x": numbers, "y": np.arange(60) % 7 / 3}))
    assert [column.kind for column in schema.columns] == ["positive", "positive_or_zero"]
    rows = schema.encode(pd.DataFrame({"x": numbers, "y": 0.5}))
    assert rows[:6, 0].nan_to_num(-1).tolist() == [1.5, -1, 2, -1, 7.5, -1]


@pytest.mark.parametrize(("different", "kept"), [(260, False), (136, False), (134, True), (12, True)])
def test_texts_that_hardly_occur_twice_are_no_classes(different, kept):
    frame = pd.DataFrame({"who": [f"n{row % different}" for row in range(270)], "x": np.arange(270) / 7})
    found = pv.tables.schema(frame).table[0]
    assert (found.column is not None) == kept
    assert kept or f"left out: {different} texts in 270 cells, as in an identifier" in found.note
    assert pv.tables.schema(frame, kinds={"who": "categorical"}).columns[0].classes == different


def test_a_second_schema_takes_the_place_of_the_first():
    """A pair with both gave a frame to the inner one's report, and a foreign error."""
    first, second = (pv.tables.schema(pd.DataFrame({"x": [0.0, step]})) for step in (1.0, 5.0))
    pair = pv.Pair(print, print)
    both = pv.tables.with_schema(pv.tables.with_schema(pair, first), second)
    assert both.pair is pair
    assert both.schema is second


def test_columns_that_follow_from_another_are_said():
    noise = np.random.default_rng(0)
    code, x = noise.integers(0, 6, 500), noise.normal(size=500)
    frame = pd.DataFrame(
        {
            "school": np.array(list("abcdef"))[code],
            "years": code + 7,
            "level": np.array(["low", "low", "mid", "mid", "high", "high"])[code],
            "other": noise.integers(0, 4, 500),
            "meters": x,
            "feet": 3.28 * x + 1,
            "near": x + 1e-3 * noise.normal(size=500),
        }
    ).mask(noise.random((500, 7)) < 0.1)
    notes = {one.name: one.note for one in pv.tables.schema(frame).table}
    assert "one to one with 'school'" in notes["years"]
    assert notes["level"] == "follows from 'school'"
    assert "straight line of 'meters'" in notes["feet"]
    assert not any(
        word in notes[name] for name in ("other", "near", "school", "meters") for word in ("follows", "line")
    )
    assert (
        "'x' follows from it"
        in pv.tables.schema(frame[["level", "school"]].rename(columns={"level": "x"})).table[1].note
    )
