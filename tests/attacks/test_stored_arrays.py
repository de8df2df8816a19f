"""Arrays of Zarr and HDF5 from a stranger: no other file is followed, nothing is executed, errors are ours."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from damage import damaged

import pyrovae as pv
from pyrovae.data.blocks.check_stored import check_stored

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")

VALUES = np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture(autouse=True)
def _where_what_is_executed_leaves_its_trace(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        yield


# --- other files -------------------------------------------------------------------------------------------
def external(file):
    Path("secret").write_bytes(VALUES.tobytes())
    return file.create_dataset("x", shape=(40, 3), dtype="f8", external=[("secret", 0, h5py.h5f.UNLIMITED)])


def virtual(file, *, inside: bool = False):
    with h5py.File("other.h5", "w") as other:
        other["x"] = VALUES
    file["inside"] = VALUES
    source = h5py.VirtualSource(file["inside"]) if inside else h5py.VirtualSource("other.h5", "x", shape=(40, 3))
    layout = h5py.VirtualLayout(shape=(40, 3), dtype="f8")
    layout[:] = source
    return file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("make", [external, virtual, lambda file: virtual(file, inside=True)])
def test_data_sets_made_of_other_files_are_not_followed(make, monkeypatch):
    with h5py.File("x.h5", "w") as file:
        make(file)
    with h5py.File("x.h5") as file:
        np.testing.assert_array_equal(file["x"][:], VALUES)  # HDF5 follows them
        monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda *given: pytest.fail("it was read"))
        for use in (pv.on_disk, lambda x: pv.fit(pv.Pair(print, print), x, epochs=1)):
            with pytest.raises(pv.FileError, match=r"other data sets or files, .* which are not followed"):
                use(file["x"])


def test_a_pipe_in_the_place_of_a_chunk_is_not_waited_for():
    zarr.create_array("x.zarr", shape=(40, 3), chunks=(20, 3), dtype="f8")[:] = VALUES
    Path("x.zarr/c/1/0").unlink()
    os.mkfifo("x.zarr/c/1/0")
    with pytest.raises(pv.FileError, match="is a pipe, and no plain file"):
        pv.on_disk(zarr.open_array("x.zarr", mode="r"))


def test_a_pipe_in_a_folder_of_parquet_is_not_waited_for():
    Path("x").mkdir()
    parquet.write_table(pa.table({"a": VALUES[:, 0]}), "x/0.parquet")
    os.mkfifo("x/1.parquet")
    with pytest.raises(pv.FileError, match=r"1\.parquet is a pipe, and no plain file"):
        pv.on_disk("x")
    Path("x/1.parquet").unlink()
    Path("x/1.parquet").symlink_to("/dev/zero")
    with pytest.raises(pv.FileError, match=r"1\.parquet is a device, and no plain file"):
        pv.on_disk("x")


def test_links_in_a_folder_of_parquet_lead_to_files_alone():
    """pyarrow would go round in a circle."""
    Path("x/deep").mkdir(parents=True)
    for number, name in enumerate(("x/0.parquet", "x/deep/1.parquet", "other.parquet", "x/_notes")):
        parquet.write_table(pa.table({"a": [float(number)]}), name)
    Path("x/2.parquet").symlink_to("../other.parquet")
    rows = pv.on_disk("x")
    assert sorted(float(rows[row]) for row in range(len(rows))) == [0, 1, 2]
    Path("x/circle").symlink_to(".")
    with pytest.raises(pv.FileError, match=r"circle is a link to \., and links are not followed here"):
        pv.on_disk("x")


@pytest.mark.parametrize(("name", "words"), [("nothing", "does not exist"), ("empty", "holds no files of Parquet")])
def test_a_folder_of_nothing(name, words):
    Path("empty").mkdir()
    with pytest.raises(pv.FileError, match=words):
        pv.on_disk(name)


# --- pickles -------------------------------------------------------------------------------------------------
class Touch:
    """What its pickle does when it is opened."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    "more",
    [
        {"dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]},
        {"dtype": "|O", "filters": [{"id": "vlen-bytes"}], "compressor": {"id": "pickle"}},
    ],
)
def test_a_chunk_that_is_a_pickle_is_not_opened(more, monkeypatch):
    Path("x.zarr").mkdir()
    plain = {"zarr_format": 2, "shape": [4, 3], "chunks": [4, 3], "compressor": None, "order": "C"}
    Path("x.zarr/.zarray").write_text(json.dumps({**plain, "fill_value": None, "filters": None, **more}))
    Path("x.zarr/0.0").write_bytes(pickle.dumps(Touch()))
    array = zarr.open_array("x.zarr", mode="r")
    with pytest.raises(pv.DataError, match="expected numbers"):
        pv.on_disk(array)
    with monkeypatch.context() as patch:  # as versions of Zarr have it that take numbers packed so
        patch.setattr(type(array), "dtype", np.dtype(float))
        with pytest.raises(pv.FileError, match="a pickle can execute code, so none is ever read"):
            check_stored(array, "x")
    assert not Path("executed").exists()
    pickle.loads(Path("x.zarr/0.0").read_bytes())  # it would be seen
    assert Path("executed").exists()


# --- sizes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "chunks", "shards", "words"),
    [
        ((10**18, 3), (10, 3), None, "the list of the blocks of the arrays on disk"),
        ((3, 10**14), (3, 10), None, "a row of argument 0"),
        ((3, 10), (3, 10**14), None, "a chunk of argument 0"),
        ((10**10, 10), (10**12, 1), None, "a chunk of argument 0"),
        ((10**12, 4), (10**8, 1), None, "a block of the arrays on disk|a chunk of argument 0"),
        ((10**12, 1), (1, 1), (10**12, 1), "the list of the chunks in a shard of argument 0"),
    ],
)
def test_what_takes_more_memory_than_there_is_is_said_before_it_is_read(shape, chunks, shards, words, monkeypatch):
    from pyrovae.data import check_memory

    monkeypatch.setattr(check_memory, "free_memory", lambda: 2**32)
    array = zarr.create_array("x.zarr", shape=shape, chunks=chunks, shards=shards, dtype="f8")
    with pytest.raises(pv.FileError, match=f"({words}) takes .* GiB of memory, and the limit is"):
        pv.on_disk(array)


def test_what_are_no_numbers_is_said():
    with h5py.File("x.h5", "w") as file:
        file["text"], file["scalar"], file["none"], file["empty"] = ["a"], 3.0, h5py.Empty("f8"), np.zeros((0, 3))
        file["record"], file["complex"] = np.zeros(3, dtype=[("a", "f4")]), np.zeros((3, 2), complex)
        file["reference"] = np.array([file["text"].ref], dtype=h5py.ref_dtype)
        for name in file:
            with pytest.raises(pv.DataError, match=r"expected numbers|no dimension|is empty"):
                pv.on_disk(file[name])


# --- any bytes -------------------------------------------------------------------------------------------------
def hdf5(place: Path, **options) -> None:
    with h5py.File(place / "x.h5", "w") as file:
        file.create_dataset("x", data=VALUES, **options)


def zarr_folder(place: Path, **options) -> None:
    zarr.create_array(str(place / "x.zarr"), shape=VALUES.shape, dtype="f8", **options)[:] = VALUES


def parquet_folder(place: Path) -> None:
    for number in range(2):
        rows = VALUES[20 * number : 20 * (number + 1)]
        table = pa.table({name: rows[:, place] for place, name in enumerate("abc")})
        parquet.write_table(table, place / f"{number}.parquet", row_group_size=8, write_page_checksum=True)


STORED = {
    "hdf5": hdf5,
    "hdf5 in chunks": lambda place: hdf5(place, chunks=(7, 3)),
    "zarr": lambda place: zarr_folder(place, chunks=(7, 3)),
    "zarr 2": lambda place: zarr_folder(place, chunks=(7, 3), zarr_format=2),
    "zarr in shards": lambda place: zarr_folder(place, chunks=(5, 3), shards=(10, 3)),
    "parquet": parquet_folder,
}


def flipped(content: bytes, chance: random.Random) -> bytes:
    """As long as before: HDF5 refuses by itself what has another length."""
    held = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place, length = chance.randrange(len(held)), chance.choice((1, 1, 2, 4))
        held[place : place + length] = chance.randbytes(length)[: len(held) - place]
    return bytes(held)


def opened(kind: str, place: Path):
    """What the user hands over; None where the library that opens it, and not this one, refuses."""
    if kind == "parquet":
        return place
    try:
        array = h5py.File(place / "x.h5", "r")["x"] if "hdf5" in kind else zarr.open(str(place / "x.zarr"), mode="r")
    except Exception:
        return None
    return array if isinstance(array, h5py.Dataset | zarr.Array) else None


@pytest.mark.parametrize("cases", [30, pytest.param(1_000, marks=pytest.mark.trial)])
@pytest.mark.parametrize("kind", STORED)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_an_error_of_ours_or_numbers(kind, cases):
    """Of Parquet with checksums the right ones; where there are none, a changed number is one."""
    Path("whole").mkdir()
    STORED[kind](Path("whole"))
    names = sorted(path.relative_to("whole") for path in Path("whole").rglob("*") if path.is_file())
    refused = handed = 0
    for case in range(cases):
        chance, place = random.Random(case), Path(f"{case}")  # HDF5 remembers files by their names
        shutil.copytree("whole", place)
        path = place / chance.choice(names)
        path.write_bytes(chance.choice((damaged, flipped, flipped))(path.read_bytes(), chance))
        array = opened(kind, place)
        try:
            if array is not None:
                handed += 1
                rows = pv.on_disk(array)
                found = np.stack([rows[row].numpy() for row in range(min(len(rows), 99))])
                assert found.dtype.kind in "fiub"
                assert kind != "parquet" or np.array_equal(found, VALUES), case
        except pv.PyrovaeError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"case {case}") from error
        finally:
            if isinstance(array, h5py.Dataset):
                array.file.close()
            shutil.rmtree(place)
    assert handed > cases / 4
    assert refused or (kind == "hdf5" and cases < 100)  # where nothing is packed, a changed number is a number
