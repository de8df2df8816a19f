"""Arrays on disk: whole or not there, in both forms."""

from __future__ import annotations

import builtins
import gc
import time
from pathlib import Path

import numpy as np
import pytest
import xarray
from stored import ENDINGS, largest_file

from pyrovae.errors import ArgumentError, FileError
from pyrovae.prediction.new_array import NewArray
from pyrovae.prediction.store import new_store, read_groups


def fill(store, *, rows=0):
    """An array of (draws, rows), in four parts; with rows=0 it grows."""
    values = np.arange(10 * 6, dtype=np.float32).reshape(10, 6)
    store.create(NewArray("draws", "z", (10, rows), np.float32, ("draw", "row"), {"site": "z"}))
    for draws, part in ((slice(0, 5), slice(0, 4)), (slice(5, 10), slice(0, 4)), (slice(0, 10), slice(4, 6))):
        store.write("draws", "z", (draws, part), values[draws, part])
    return values


@ENDINGS
@pytest.mark.parametrize("rows", [6, 0])
def test_what_is_written_in_parts_is_read_whole(tmp_path, ending, rows):
    path = tmp_path / f"results{ending}"
    with new_store(path) as store:
        values = fill(store, rows=rows)
        assert not path.exists()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    z = read_groups(path)["draws"]["z"]
    assert z.dims == ("draw", "row")
    assert z.attrs == {"site": "z"}
    np.testing.assert_array_equal(z.values, values)


@ENDINGS
def test_groups_stand_in_it_from_the_start(tmp_path, ending):
    days = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]").astype("datetime64[ns]")
    coords = {"draw": days, "row": list("abcdef"), "known": ("row", [True, False] * 3), "chain": 0}
    groups = {"": xarray.Dataset(attrs={"seed": 3}), "draws": xarray.Dataset(coords=coords)}
    with new_store(tmp_path / f"results{ending}", groups) as store:
        fill(store, rows=6)
        store.create(NewArray("draws", "flag", (10, 6), bool, ("draw", "row"), {}))
        store.write("draws", "flag", (slice(0, 10), slice(0, 6)), np.eye(10, 6, dtype=bool))
    found = read_groups(tmp_path / f"results{ending}")
    assert found[""].attrs == {"seed": 3}
    draws = found["draws"].load()
    assert (draws["draw"].values == days).all()
    assert set(draws.coords) == set(coords)
    assert draws["row"].values.tolist() == list("abcdef")
    assert draws["known"].values.tolist() == [True, False] * 3
    assert draws["flag"].dtype == bool
    assert int(draws["flag"].sum()) == 6


@ENDINGS
def test_what_is_there_is_left_as_it_is(tmp_path, ending):
    path = tmp_path / f"results{ending}"
    path.write_text("mine")
    with pytest.raises(FileError, match="exists and is left as it is"), new_store(path):
        raise AssertionError
    assert path.read_text() == "mine"


@ENDINGS
@pytest.mark.parametrize("size", [100, 2_000, 50_000])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, ending, size):
    def fill_disk():
        with new_store(tmp_path / f"results{ending}") as store:
            store.create(NewArray("draws", "z", (100, 10_000), np.float32, ("draw", "row"), {}))
            for draw in range(100):
                noise = np.random.default_rng(draw).normal(size=(1, 10_000))
                store.write("draws", "z", (slice(draw, draw + 1), slice(0, 10_000)), noise)

    with largest_file(size), pytest.raises(FileError, match=r"results\S+ cannot be written: File too large"):
        fill_disk()
    gc.collect()  # HDF5's objects go without a sound
    assert list(tmp_path.iterdir()) == []


@ENDINGS
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_breaks_off_leaves_nothing(tmp_path, ending, error):
    def break_off():
        with new_store(tmp_path / f"results{ending}") as store:
            fill(store)
            raise error

    with pytest.raises(error):
        break_off()
    assert list(tmp_path.iterdir()) == []


@ENDINGS
def test_two_writers_of_one_name_write_beside_each_other(tmp_path, ending):
    """Neither takes away what the other is writing, and who ends last finds the place taken."""
    path = tmp_path / f"results{ending}"

    def write_twice():
        with new_store(path) as one, new_store(path) as other:
            assert len({entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".partial")}) == 2
            fill(one, rows=6)
            written.append(fill(other, rows=6))

    written = []
    with pytest.raises(FileError, match="exists and is left as it is"):
        write_twice()
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(read_groups(path)["draws"]["z"].values, written[0])


def test_writes_that_are_on_their_way_when_one_fails_leave_nothing(tmp_path, monkeypatch):
    """Zarr writes in threads, and gives up at the first error without waiting for the others."""
    usual, calls = Path.replace, []

    def one_fails(self, target):
        calls.append(self)
        if len(calls) == 1:
            raise OSError("full")
        time.sleep(0.2)
        return usual(self, target)

    def write():
        with new_store(tmp_path / "results.zarr") as store:
            store.create(NewArray("", "z", (40, 2), np.float32, ("draw", "row"), {}, chunks=(1, 2)))
            monkeypatch.setattr(Path, "replace", one_fails)
            store.write("", "z", (slice(0, 40), slice(0, 2)), np.ones((40, 2), np.float32))

    with pytest.raises(FileError, match="cannot be written: full"):
        write()
    assert len(calls) > 1
    assert list(tmp_path.iterdir()) == []
    time.sleep(0.5)
    assert list(tmp_path.iterdir()) == []


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end in \.nc .* or \.zarr"), new_store(tmp_path / "results.csv"):
        raise AssertionError


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"), new_store(tmp_path / "file" / "results.nc"):
        raise AssertionError


def test_zarr_that_is_not_installed(tmp_path, monkeypatch):
    usual = builtins.__import__

    def missing(name, *more, **others):
        if name == "zarr":
            raise ImportError(name)
        return usual(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ArgumentError, match=r"pip install 'pyrovae\[zarr\]'"), new_store(tmp_path / "results.zarr"):
        raise AssertionError
