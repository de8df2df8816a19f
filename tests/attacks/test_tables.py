"""Tables that seem to say more: names that occur twice, rows that look like names, files without checksums."""

from __future__ import annotations

import io
import logging
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest

import pyrovae as pv
from pyrovae.data.datasets import load
from pyrovae.data.datasets.read_frame import read_frame
from pyrovae.data.origin import DataSource


def test_no_column_is_lost_where_names_occur_twice(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b,b,kind\n1,2,3,x\n4,5,6,y\n")
    with pytest.raises(pv.DataError, match="more than one column called 'b'"):
        DataSource(str(path), label="kind").load()
    with pytest.raises(pv.DataError, match="more than one column called 'b'"):
        load(path, columns=["a", "b"])
    assert load(path, columns=["a"]).values.tolist() == [[1], [4]]
    path.write_text("a,b,b\n1,2,3\n")
    assert load(path).values.tolist() == [[1, 2, 3]]  # by their places, where no name is needed


def test_no_column_is_lost_where_names_occur_twice_in_a_parquet_file(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    columns = [pa.array(values) for values in ([1.0], [2.0], [3.0])]
    parquet.write_table(pa.table(columns, names=["a", "b", "b"]), tmp_path / "x.parquet")
    with pytest.raises(pv.DataError, match="more than one column called 'b'"):
        load(tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet", columns=["a"]).values.tolist() == [[1]]


@pytest.mark.parametrize(
    "first", ["-", "--", ".", "*", "n/a", "N.A.", "#N/A", "missing", "?", "", "nan", "1_0", "€", "−1"]
)
def test_a_first_row_with_a_hole_is_no_line_of_names(tmp_path, first):
    path = tmp_path / "x.csv"
    path.write_text(f"{first},2.5,3\n1,2,3\n4,5,6\n")
    with pytest.raises(pv.DataError, match=r"not numbers|missing"):
        load(path)
    assert load(path, header=True).values.tolist() == [[1, 2, 3], [4, 5, 6]]  # who says so is believed


@pytest.mark.parametrize("line", ["12x,2.5,3", "x,2.5,3", "x,-2,3", "x,2e1,3"])
def test_numbers_that_are_no_names_make_a_row(tmp_path, line):
    (tmp_path / "x.csv").write_text(f"{line}\n1,2,3\n4,5,6\n")
    with pytest.raises(pv.DataError, match="not numbers"):
        load(tmp_path / "x.csv")


@pytest.mark.parametrize(("line", "names"), [("a,b,c", "a b c"), ("x1,2001,2002", "x1 2001 2002"), ("id,,-", "id  -")])
def test_names_stay_names(tmp_path, line, names):
    (tmp_path / "x.csv").write_text(f"{line}\n1,2,3\n4,5,6\n")
    loaded = load(tmp_path / "x.csv")
    assert loaded.names == tuple(names.split(" "))
    assert loaded.values.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_blank_line_of_a_single_column_is_a_hole(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n\n3\n")
    with pytest.raises(pv.DataError, match="1 missing values: line 3, column 'a'"):
        load(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("\na\n1\n3\n")
    assert load(tmp_path / "x.csv").values.tolist() == [[1], [3]]
    (tmp_path / "x.csv").write_text("a,b\n1,2\n\n3,4\n\n")
    assert load(tmp_path / "x.csv").values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("names", [("x.npy", "x.npy"), ("x.npy", "x")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_array_is_lost_where_names_occur_twice(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for number, name in enumerate(names):
            stream = io.BytesIO()
            np.save(stream, np.full((2, 2), number))
            archive.writestr(name, stream.getvalue())
    for key in (None, "x"):
        with pytest.raises(pv.DataError, match="more than one array of one name"):
            load(tmp_path / "x.npz", key=key)


@pytest.mark.slow
def test_rows_that_are_longer_than_a_block_are_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 60_000))
    np.savetxt(tmp_path / "x.csv", values, delimiter=",", fmt="%.17g")
    np.testing.assert_array_equal(load(tmp_path / "x.csv").values, values)


@pytest.mark.parametrize(("value", "kept"), [(2**53, True), (2**53 + 1, False), (-(2**63) + 1, False), (2**62, True)])
def test_whole_numbers_that_do_not_stay_what_they_are_are_refused(tmp_path, value, kept):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": [value, 3], "x": [0.5, 1.5]}), tmp_path / "x.parquet")
    if kept:
        assert load(tmp_path / "x.parquet").values[:, 0].tolist() == [float(value), 3.0]
    else:
        with pytest.raises(pv.DataError, match=r"column 'id' holds whole numbers above 2\*\*53"):
            load(tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet", columns=["x"]).values.tolist() == [[0.5], [1.5]]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("9007199254740992", True),
        ("9007199254740993", False),
        (" -9007199254740993", False),
        ("9007199254740993.0", False),
        ("100000000000000000000", True),
        ("100000000000000000001", False),
        ("9007199254740993.5", True),  # as near as floating numbers come, as all fractions are
        ("1e23", True),
    ],
)
def test_whole_numbers_of_a_csv_file_stay_what_they_are_or_are_refused(tmp_path, text, kept):
    path = tmp_path / "x.csv"
    path.write_text(f"id,x\n{text},0.5\n7,1.5\n3.5,2.5\n")
    refused = pytest.raises(pv.DataError, match=r"column 'id' holds whole numbers above 2\*\*53")
    for read in (lambda: load(path).values[:, 0], lambda: read_frame(path)["id"]):
        with nullcontext() if kept else refused:
            assert read().tolist() == [float(text), 7.0, 3.5]
    assert load(path, columns=["x"]).values.tolist() == [[0.5], [1.5], [2.5]]
    path.write_text(f"id\n{text}\n7\n")
    if text.strip("- ").isdigit():
        assert [int(one) for one in read_frame(path)["id"]] == [int(text), 7]  # exact: whole numbers, or texts


@pytest.mark.parametrize("compression", ["snappy", "none"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_a_parquet_file_without_checksums_is_said_to_have_none(tmp_path, caplog, compression, version, dictionary):
    import pyarrow as pa
    from pyarrow import parquet

    caplog.set_level(logging.INFO, logger="pyrovae")
    options = {"compression": compression, "data_page_version": version, "use_dictionary": dictionary}
    for checked in (True, False):
        table = pa.table({"a": np.arange(5_000.0), "b": np.zeros(5_000)})
        parquet.write_table(table, tmp_path / "x.parquet", write_page_checksum=checked, **options)
        load(tmp_path / "x.parquet")
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == (not checked)
    assert "x.parquet has no page checksums" in said[0]


def test_every_damaged_value_is_found_by_checksums(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    values = np.random.default_rng(0).normal(size=200)
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    parquet.write_table(pa.table({"a": values}), tmp_path / "x.parquet", **options)
    whole = (tmp_path / "x.parquet").read_bytes()
    start = whole.index(values.tobytes())
    for place in range(start, start + 1_600, 97):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "x.parquet").write_bytes(damaged)
        with pytest.raises(pv.FileError, match=r"x\.parquet"):
            load(tmp_path / "x.parquet")


def test_a_damaged_page_of_labels_is_refused_as_one_of_numbers_is(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    table = pa.table({"x": np.arange(4.0), "kind": ["alpha", "beta", "alpha", "gamma"]})
    parquet.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    assert DataSource(str(path), label="kind").load()
    content, written = path.read_bytes(), b"\x05\0\0\0gamma"  # with its length, as it stands in the page
    assert content.count(written) == 1
    path.write_bytes(content.replace(written, b"\x05\0\0\0delta"))
    with pytest.raises(pv.PyrovaeError, match=r"x\.parquet"):
        DataSource(str(path), label="kind").load()
