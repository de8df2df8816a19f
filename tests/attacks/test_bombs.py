"""Files that promise more than memory holds, in few bytes: refused with the size and the limit, unpacked by nobody."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pyrovae as pv
from pyrovae.data import check_memory as memory
from pyrovae.data.datasets import load
from pyrovae.data.datasets.read_frame import read_frame

MIB = 2**20


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """A machine that has 64 MiB free; what takes much more would be noticed."""
    import pyarrow.parquet  # noqa: F401 - its own memory is not the file's

    monkeypatch.setattr(memory, "free_memory", lambda: 64 * MIB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert grown < 200, f"{grown} MiB were taken"


def npy_header(shape, descr: str = "<f8", version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + (len(text) if length is None else length).to_bytes(width, "little") + text


def npz_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        stream.write(npy_header((80 * MIB // 80, 10)))
        for _ in range(80):
            stream.write(bytes(MIB))


def npz_header_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        stream.write(npy_header((2, 2), version=(2, 0), length=90 * MIB))
        for _ in range(90):
            stream.write(bytes(MIB))


def idx_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", 200, 1024, 1024))
        for _ in range(200):
            stream.write(bytes(MIB))


def parquet_bomb(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    part = pa.table({"a": pa.DictionaryArray.from_arrays(pa.array(np.zeros(MIB, np.int32)), pa.array([1.0]))})
    part = part.cast(pa.schema({"a": pa.float64()}))
    with parquet.ParquetWriter(path, part.schema) as writer:
        for _ in range(20):
            writer.write_table(part)


def csv_bomb(path: Path) -> None:
    with path.open("wb") as stream:
        for _ in range(70):
            stream.write(b"1" * MIB)


def csv_second_line_bomb(path: Path) -> None:
    path.write_text("a,b\n")
    with path.open("ab") as stream:
        for _ in range(70):
            stream.write(b"1" * MIB)


def png_bomb(path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = struct.pack(">2I5B", 50_000, 50_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(MIB))
    path.mkdir()
    (path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def many_images(path: Path) -> None:
    """Each is small enough, and all together are not."""
    path.mkdir()
    for number in range(3):
        Image.new("RGB", (3_000, 2_000)).save(path / f"{number}.png")


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("x.npz", npz_bomb, "takes 0.1 GiB of memory, and the limit is 0.0 GiB.*Save it as .npy"),
        ("x.npz", npz_header_bomb, "has a header of 94,371,840 bytes, and the limit is 10,000"),
        ("x-ubyte.gz", idx_bomb, "takes 0.4 GiB of memory, and the limit is 0.0 GiB.*Save it as .npy"),
        ("x.parquet", parquet_bomb, "takes 0.3 GiB of memory, and the limit is 0.0 GiB.*Save it as .npy"),
        ("x.csv", csv_bomb, "a line of more than 67,108,864 characters|takes 0.1 GiB of memory"),
        ("x.csv", csv_second_line_bomb, "a line of more than 67,108,864 characters|takes 0.1 GiB of memory"),
        ("x", png_bomb, r"2500000000 pixels.* exceeds limit of \d+ pixels.*Scale it down"),
        ("x", many_images, "3 images of 2000x3000 pixels, takes 0.1 GiB of memory, and the limit is 0.0 GiB.*fewer"),
    ],
)
def test_a_bomb_is_refused_in_words(tmp_path, name, make, words):
    make(tmp_path / name)
    with pytest.raises(pv.FileError, match=words):
        load(tmp_path / name)


@pytest.mark.parametrize(
    "shape", ["(0, 10**22)", "(True, 4)", "(0, 18446744073709551616)", "(-1, 4)", "(2**70, 2**70)", "(2.0, 2)", "4"]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_shape_that_no_array_has_is_refused(tmp_path, shape, suffix):
    content = npy_header(shape.replace("10**22", str(10**22))) + bytes(32)
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    with pytest.raises(pv.FileError, match="header"):
        load(path)


def test_an_array_of_another_length_than_its_header_says_is_refused(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.ones((3, 2)))
    (tmp_path / "x.npy").write_bytes(stream.getvalue() + bytes(8))
    with pytest.raises(pv.FileError, match=r"is too long: shape \(3, 2\) needs 48 bytes, 56 are there"):
        load(tmp_path / "x.npy")


def test_more_memory_than_there_is_said_where_nobody_could_foresee_it(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", x=np.ones((3, 2)))

    def full(*words, **more):
        raise MemoryError("Unable to allocate 9.31 TiB")

    monkeypatch.setattr(np.lib.format, "read_array", full)
    with pytest.raises(pv.FileError, match=r"more memory than there is: Unable to allocate 9.31 TiB. Save it as .npy"):
        load(tmp_path / "x.npz")


def test_a_table_that_says_one_number_a_million_times_is_refused_in_words(tmp_path):
    parquet_bomb(tmp_path / "x.parquet")
    with pytest.raises(pv.FileError, match=r"x\.parquet takes 0\.3 GiB of memory.*Take fewer columns"):
        read_frame(tmp_path / "x.parquet")


def test_what_fits_is_read(tmp_path):
    values = np.arange(2 * MIB, dtype=np.uint8).reshape(-1, 64)
    np.savez_compressed(tmp_path / "x.npz", x=values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load(tmp_path / "x.npz").values, values)
