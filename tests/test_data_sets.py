"""Reading data: what is sound comes back as it was, what is not is named, and no file is changed."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import pyrovae as pv
from pyrovae.data import datasets
from pyrovae.data.datasets import downloads, labelled
from pyrovae.data.datasets.array_files import check_values, parse_idx

REAL = Path(os.environ.get("PYROVAE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "mnist"


def idx_bytes(values: np.ndarray) -> bytes:
    kinds = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    big = values.astype(values.dtype.newbyteorder(">"))
    head = bytes([0, 0, kinds[values.dtype.str[1:]], values.ndim])
    return head + struct.pack(f">{values.ndim}I", *values.shape) + big.tobytes()


def write_mnist(folder: Path, *, part: str = "train", suffix: str = "", rows: int = 3, labels: int = 3) -> None:
    images = np.arange(rows * 28 * 28, dtype=np.int64).reshape(rows, 28, 28).astype(np.uint8)
    pack = gzip.compress if suffix == ".gz" else bytes
    (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(images)))
    (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(np.arange(labels, dtype=np.uint8))))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def picture(path: Path, *, size: tuple[int, int] = (5, 4), mode: str = "L", color=7) -> None:
    Image.new(mode, (size[1], size[0]), color).save(path)


def refused(error: type[Exception], path: Path, *words: str, **options) -> None:
    """`load` refuses the path with all these words in one message, and leaves the file as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught:
        datasets.load(path, **options)
    for word in words:
        assert word in str(caught.value)
    assert before is None or path.read_bytes() == before


def sound_or_named(path: Path) -> bool:
    """Either numbers come back, or an error of ours that names the file; anything else is raised."""
    try:
        values = datasets.load(path).values
    except pv.PyrovaeError as error:
        return path.name in str(error)
    return bool(values.size and np.isfinite(values).all())


# The bundled digits


def test_digits_are_the_known_ones():
    images, labels = datasets.digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images.sum() == 561718
    assert (images.min(), images.max()) == (0, 16)


def test_reading_data_imports_neither_torch_nor_pyro():
    code = (
        "import sys; from pyrovae import datasets; datasets.digits();"
        "print([name for name in ('torch', 'pyro', 'PIL', 'pyarrow') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# IDX


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_comes_back_as_written(tmp_path, dtype, pack):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    read = datasets.idx(write(tmp_path / "numbers", pack(idx_bytes(values))))
    assert read.dtype == values.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, values)
    read[0] = 0  # its own memory, not a view of the file's bytes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx_bytes(np.zeros((3, 4), np.uint8))[:-1], ["cut short", "(3, 4)", "12 bytes", "11 are there"]),
        (idx_bytes(np.zeros((3, 4), np.uint8)) + b"x", ["too long"]),
        (idx_bytes(np.zeros((3, 4), np.uint8))[:7], ["cut short inside its header of 12 bytes"]),
        (b"\x00\x00", ["not an IDX file"]),
        (b"PK\x03\x04 something else", ["not an IDX file", "50 4b 03 04"]),
        (b"\x00\x00\x07\x01\x00\x00\x00\x00", ["not an IDX file"]),
        (b"\x00\x00\x08\x00", ["not an IDX file"]),
        (gzip.compress(idx_bytes(np.zeros(9, np.uint8)), mtime=0)[:-9], ["damaged or cut short"]),
        (gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)), mtime=0)[:40] + b"\xff" * 60, ["damaged or cut"]),
    ],
)
def test_idx_that_is_not_sound_is_named(tmp_path, content, words):
    refused(pv.FileError, write(tmp_path / "bad-idx3-ubyte", content), "bad-idx3-ubyte", *words)


@given(st.binary(max_size=80), st.booleans())
def test_idx_of_any_bytes_is_an_array_or_a_file_error(content, plausible):
    if plausible:
        content = b"\x00\x00\x08\x02" + content
    try:
        values = parse_idx(io.BytesIO(content), "noise", len(content))
    except pv.FileError:
        return
    assert idx_bytes(values) == content


# MNIST


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("train", "part"), [(True, "train"), (False, "t10k")])
def test_mnist_from_a_folder(tmp_path, suffix, train, part):
    write_mnist(tmp_path, part=part, suffix=suffix)
    images, labels = datasets.mnist(tmp_path, train=train)
    assert images.shape == (3, 28, 28)
    assert labels.tolist() == [0, 1, 2]


def test_mnist_takes_the_other_spelling(tmp_path):
    write_mnist(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(datasets.mnist(tmp_path).images) == 3


def test_mnist_without_its_files_names_what_is_missing(tmp_path):
    with pytest.raises(pv.FileError, match=r"train-images-idx3-ubyte\.gz does not exist"):
        datasets.mnist(tmp_path)
    with pytest.raises(pv.FileError, match="does not exist"):
        datasets.mnist(tmp_path / "nowhere")


def test_mnist_images_and_labels_must_fit(tmp_path):
    write_mnist(tmp_path, labels=2)
    with pytest.raises(pv.DataError, match="and n labels"):
        datasets.mnist(tmp_path)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Two mirrors on the disk, of which the first is not there, and the hashes of small files."""
    there = tmp_path / "mirror"
    there.mkdir()
    write_mnist(there, suffix=".gz")
    hashes = {
        path.name.removesuffix(".gz"): hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
        for path in there.iterdir()
    }
    mirrors = (f"{(tmp_path / 'gone').as_uri()}/", f"{there.as_uri()}/")
    monkeypatch.setattr(labelled, "_MNIST", downloads.Download(mirrors, hashes))
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "cache"))
    return there


def test_download_fills_the_cache_once(mirror, tmp_path):
    first = datasets.mnist()
    for path in mirror.iterdir():
        path.unlink()
    np.testing.assert_array_equal(datasets.mnist(download=False).images, first.images)
    kept = sorted(path.name for path in (tmp_path / "cache" / "mnist").iterdir())
    assert kept == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


def test_download_of_something_else_is_not_kept(mirror, tmp_path):
    write_mnist(mirror, suffix=".gz", rows=4, labels=4)
    with pytest.raises(pv.FileError, match="SHA-256 is not the known one") as caught:
        datasets.mnist()
    assert "gone" in str(caught.value)  # the mirror that did not answer is told too
    assert not (tmp_path / "cache").exists()


def test_damaged_cache_is_fetched_again(mirror, tmp_path):
    expected = datasets.mnist().images
    path = tmp_path / "cache" / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(pv.FileError, match="not sound"):
        datasets.mnist(download=False)
    np.testing.assert_array_equal(datasets.mnist().images, expected)


def test_published_hashes_are_of_unpacked_or_packed_bytes():
    packed = gzip.compress(b"content", mtime=0)
    assert downloads.is_sound(packed, hashlib.sha256(packed).hexdigest())
    assert downloads.is_sound(packed, hashlib.sha256(b"content").hexdigest())
    assert not downloads.is_sound(packed, hashlib.sha256(b"other").hexdigest())


def test_a_cache_that_cannot_be_written_is_named(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("PYROVAE_CACHE", str(write(tmp_path / "taken", "a file")))
    with pytest.raises(pv.FileError, match="cannot be written"):
        datasets.mnist()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real MNIST files are not at {REAL}; set PYROVAE_DATA")
def test_real_mnist_has_the_hashes_written_here():
    for file, expected in labelled._MNIST.hashes.items():
        assert downloads.is_sound((REAL / f"{file}.gz").read_bytes(), expected)
    assert datasets.mnist(REAL, train=False).images.shape == (10000, 28, 28)
    assert datasets.mnist(REAL).labels[:5].tolist() == [5, 0, 4, 1, 9]


# .npy and .npz


def test_npy_is_mapped_not_read(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    np.save(tmp_path / "x.npy", values)
    loaded = datasets.load(tmp_path / "x.npy")
    assert isinstance(loaded.values, np.memmap)
    assert (loaded.kind, loaded.names) == ("images", ())
    np.testing.assert_array_equal(loaded.values, values)


def test_arrays_come_in_native_order_with_channels_first(tmp_path):
    values = np.arange(2 * 5 * 4 * 3, dtype=">f4").reshape(2, 5, 4, 3)
    np.save(tmp_path / "x.npy", values)
    loaded = datasets.load(tmp_path / "x.npy").values
    assert loaded.dtype.isnative
    np.testing.assert_array_equal(loaded, values.transpose(0, 3, 1, 2))
    np.save(tmp_path / "y.npy", values.transpose(0, 3, 1, 2))
    assert datasets.load(tmp_path / "y.npy").values.shape == (2, 3, 5, 4)


def test_npz_takes_the_named_array_or_the_only_table(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.ones((2, 3, 3)), labels=np.arange(2))
    assert datasets.load(path).values.shape == (2, 3, 3)
    np.savez(path, a=np.zeros((2, 2)), b=np.ones((3, 2)))
    np.testing.assert_array_equal(datasets.load(path, key="b").values, np.ones((3, 2)))
    refused(pv.ArgumentError, path, "a (2, 2), b (3, 2)", "key=")
    refused(pv.ArgumentError, path, "no array 'c'", "a, b", key="c")


def npz_with(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def npy_bytes(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


class Canary:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_is_named_and_never_run(tmp_path):
    mark = tmp_path / "executed"
    objects = np.array([[Canary(mark)]], dtype=object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", fine=np.ones((2, 2)), bad=objects)
    raw = pickle.dumps(Canary(mark))
    npz_with(tmp_path / "raw.npz", data__pkl=raw)
    refused(pv.DataError, tmp_path / "o.npy", "o.npy", "pickle")
    refused(pv.DataError, tmp_path / "o.npz", "'bad.npy'", "o.npz", "pickle")
    refused(pv.DataError, tmp_path / "raw.npz", "'data.pkl'", "pickle")
    refused(pv.DataError, write(tmp_path / "p.npy", raw), "p.npy", "pickle")
    refused(pv.FileError, write(tmp_path / "p.pkl", raw), "never read")
    assert not mark.exists()
    np.testing.assert_array_equal(datasets.load(tmp_path / "o.npz", key="fine").values, np.ones((2, 2)))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.array([["a", "b"]]), "strings"),
        (np.array([[b"a"]]), "strings"),
        (np.array([[1j]]), "complex"),
        (np.array([["2020-01-01"]], dtype="datetime64[D]"), "dates"),
        (np.zeros((2, 2), dtype=[("a", "f4")]), "structured"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros(3), "(3,)"),
        (np.zeros((1, 1, 1, 1, 1)), "(1, 1, 1, 1, 1)"),
        (np.float64(3), "()"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_cannot_be_data_are_refused(tmp_path, values, word, suffix):
    path = tmp_path / f"x{suffix}"
    np.save(path, values) if suffix == ".npy" else np.savez(path, values)
    refused(pv.DataError, path, f"x{suffix}", word)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_holes_in_arrays_are_told_by_row_and_column(tmp_path, hole):
    values = np.zeros((6, 3), np.float32)
    values[4, 1] = values[5, 0] = hole
    np.save(tmp_path / "x.npy", values)
    refused(pv.DataError, tmp_path / "x.npy", str(hole), "row 4, column 1", "1 more")
    np.save(tmp_path / "x.npy", values.reshape(2, 3, 3, 1))
    refused(pv.DataError, tmp_path / "x.npy", "row 1, column 1, 1, 0")


def test_holes_are_found_beyond_the_first_block(monkeypatch):
    monkeypatch.setattr("pyrovae.data.datasets.array_files._BLOCK", 4)
    values = np.zeros((7, 2))
    check_values(values, "array")
    values[5, 1] = np.nan
    with pytest.raises(pv.DataError, match=r"row 5, column 'b'"):
        check_values(values, "array", ("a", "b"))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.97])
def test_cut_arrays_are_named(tmp_path, suffix, kept):
    path = tmp_path / f"x{suffix}"
    values = np.random.default_rng(0).normal(size=(40, 5))
    np.save(path, values) if suffix == ".npy" else np.savez_compressed(path, values)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused((pv.FileError, pv.DataError), path, f"x{suffix}")


def test_a_flipped_bit_in_an_npz_is_noticed(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", np.random.default_rng(0).normal(size=(40, 5)))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[len(content) // 2] ^= 1
    refused(pv.FileError, write(tmp_path / "x.npz", bytes(content)), "x.npz")


def test_a_header_that_promises_more_than_is_there_allocates_nothing(tmp_path):
    head = npy_bytes(np.zeros((2, 2)))
    lie = head.replace(b"(2, 2), }              ", b"(2, 99999999999999), } ")
    assert lie != head
    refused(pv.FileError, write(tmp_path / "x.npy", lie), "cut short")
    refused(pv.FileError, npz_with(tmp_path / "x.npz", x__npy=lie), "cut short", "'x.npy'")


@given(noise=st.binary(max_size=60), cut=st.integers(0, 200), place=st.integers(0, 200))
def test_any_bytes_in_an_npy_file_are_an_array_or_an_error_of_ours(tmp_path_factory, noise, cut, place):
    content = npy_bytes(np.arange(12.0).reshape(4, 3))[:cut]
    path = write(tmp_path_factory.mktemp("fuzz") / "x.npy", content[:place] + noise + content[place:])
    assert sound_or_named(path)


# .csv and .parquet


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n3,4\n", ("a", "b")),
        ("1,2\n3,4\n", ()),
        ("1,2\n3,4", ()),
        ("\n\na,b\n\n1,2\n3,4\n\n", ("a", "b")),
        ("a;b\r\n1;2\r\n3;4\r\n", ("a", "b")),
        ("a\tb\n1\t2\n3\t4\n", ("a", "b")),
        ('"a, or so","b"\n"1","2"\n3,4\n', ("a, or so", "b")),
        ("\ufeffa,b\n1,2\n3,4\n", ("a", "b")),
        (" a , b\n 1, 2\n+3,4e0\n", ("a", "b")),
        ("a,2019\n1,2\n3,4\n", ("a", "2019")),
        ("a,a\n1,2\n3,4\n", ("a", "a")),
    ],
)
def test_csv_is_read_with_and_without_names(tmp_path, text, names):
    loaded = datasets.load(write(tmp_path / "x.csv", text))
    assert (loaded.kind, loaded.names) == ("table", names)
    assert loaded.values.dtype == np.float64
    assert loaded.values.tolist() == [[1, 2], [3, 4]]


def test_csv_header_can_be_told(tmp_path):
    path = write(tmp_path / "x.csv", "1,2\n3,4\n")
    assert datasets.load(path, header=True).names == ("1", "2")
    refused(pv.DataError, write(tmp_path / "x.csv", "a,b\n3,4\n"), "'0' (line 1: 'a')", header=False)


def test_csv_with_a_fraction_after_a_megabyte_of_integers(tmp_path):
    text = "1,2\n" * 400_000 + "1,2.5\n"
    assert datasets.load(write(tmp_path / "x.csv", text)).values[-1].tolist() == [1, 2.5]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("a,b\n1,2\n3\n", pv.FileError, ["line 3 has 1 fields", "first line has 2", "cut short"]),
        ("a,b\n1,2\n\n3,4,5\n", pv.FileError, ["line 4 has 3 fields"]),
        ("a,b\n1,x\n2,y\n", pv.DataError, ["'b' (line 2: 'x')"]),
        ("name,age,city\nann,3,rome\n", pv.DataError, ["'name' (line 2: 'ann')", "'city' (line 2: 'rome')"]),
        ("1,2\n3,x\n", pv.DataError, ["'1' (line 2: 'x')"]),
        ("a,b\n1,2\n,4\n5,NA\n", pv.DataError, ["2 missing", "line 3, column 'a'", "line 4, column 'b'"]),
        ("?,1\n2,3\n", pv.DataError, ["1 missing", "line 1, column '0'"]),
        ("a\n" + "1\nNA\n" * 9, pv.DataError, ["9 missing", "line 11, column 'a'; ..."]),
        ("a,b\n1,inf\n", pv.DataError, ["inf in row 0, column 'b'"]),
        ("a,b\n", pv.DataError, ["no rows"]),
        ("\n \n", pv.FileError, ["blank lines only"]),
        ("", pv.FileError, ["empty (0 bytes)"]),
        (b"a,b\n1,\xff\xfe\n", pv.FileError, ["x.csv"]),
        (b"\x89PNG\r\n\x1a\n\x00\x00", pv.FileError, ["x.csv"]),
    ],
)
def test_csv_that_is_not_a_table_of_numbers_is_refused(tmp_path, text, error, words):
    refused(error, write(tmp_path / "x.csv", text), "x.csv", *words)


@given(st.text(alphabet='01.,;\n"ax?\r\t ', max_size=60))
def test_any_text_in_a_csv_file_is_a_table_or_an_error_of_ours(tmp_path_factory, text):
    path = write(tmp_path_factory.mktemp("fuzz") / "x.csv", text)
    assert sound_or_named(path)


@pytest.fixture
def parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def write(**columns) -> Path:
        parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
        return tmp_path / "x.parquet"

    return write


def test_parquet_is_read(parquet):
    loaded = datasets.load(parquet(age=[31, 45], tall=[True, False], height=[1.75, 1.62], __index_level_0__=[7, 9]))
    assert loaded.names == ("age", "tall", "height")
    assert loaded.values.tolist() == [[31, 1, 1.75], [45, 0, 1.62]]


def test_parquet_that_is_not_a_table_of_numbers_is_refused(parquet):
    refused(pv.DataError, parquet(a=[1, 2], b=["x", "y"]), "'b' (string)")
    refused(pv.DataError, parquet(a=[1.0, None]), "1 missing", "row 1, column 'a'")
    refused(pv.DataError, parquet(a=[1.0, float("nan")]), "nan in row 1, column 'a'")
    refused(pv.DataError, parquet(a=np.zeros(0)), "empty")
    path = parquet(a=np.arange(100.0))
    refused(pv.FileError, write(path, path.read_bytes()[:200]), "x.parquet")


# Folders of images


def test_a_folder_of_grey_images(tmp_path):
    (tmp_path / "more").mkdir()
    picture(tmp_path / "b.png", color=2)
    picture(tmp_path / "more" / "a.PNG", color=1)
    write(tmp_path / "notes.txt", "not an image")
    (tmp_path / ".hidden").mkdir()
    write(tmp_path / ".hidden" / "c.png", "not an image")
    values, kind, names = datasets.load(tmp_path)
    assert (kind, names) == ("images", ("b.png", "more/a.PNG"))
    assert (values.shape, values.dtype) == ((2, 5, 4), np.uint8)
    assert values[:, 0, 0].tolist() == [2, 1]


def test_a_folder_of_coloured_images_has_channels_first(tmp_path):
    picture(tmp_path / "a.png", mode="RGB", color=(1, 2, 3))
    values = datasets.load(tmp_path).values
    assert values.shape == (1, 3, 5, 4)
    assert values[0, :, 0, 0].tolist() == [1, 2, 3]


def test_mixed_sizes_are_refused_or_converted_as_told(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    picture(tmp_path / "c.png", size=(6, 8), color=9)
    refused(pv.DataError, tmp_path, "(5, 4) (2, such as 'a.png')", "(6, 8) (1, such as 'c.png')", "size=")
    values = datasets.load(tmp_path, size=(3, 2)).values
    assert values.shape == (3, 3, 2)
    assert values[:, 0, 0].tolist() == [7, 7, 9]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "LA", "CMYK"])
def test_other_modes_are_refused_or_converted_as_told(tmp_path, mode):
    picture(tmp_path / "a.png")
    color = 1 if len(Image.new(mode, (1, 1)).getbands()) == 1 else (9,) * len(mode)
    picture(tmp_path / f"b.{'tif' if mode == 'CMYK' else 'png'}", mode=mode, color=color)
    refused(pv.DataError, tmp_path, "'a.png'", f"{mode} (1", "mode=")
    assert datasets.load(tmp_path, mode="L").values.shape == (2, 5, 4)
    assert datasets.load(tmp_path, mode="RGB").values.shape == (2, 3, 5, 4)


def test_one_mode_that_loses_something_is_refused_unless_told(tmp_path):
    picture(tmp_path / "a.png", mode="RGBA", color=(1, 2, 3, 4))
    refused(pv.DataError, tmp_path, "RGBA", "mode=")


def test_sixteen_bit_images_are_refused_even_when_told(tmp_path):
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "deep.png")
    refused(pv.DataError, tmp_path, "deep.png", "more than 8 bits")
    refused(pv.DataError, tmp_path, "deep.png", "more than 8 bits", mode="L")


def test_images_taken_sideways_stand_upright(tmp_path):
    sideways = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 8, axis=0).repeat(8, axis=1))
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "a.png", exif=exif)
    values = datasets.load(tmp_path).values
    assert values.shape == (1, 8, 16)
    assert (values[0, :, :8] == 255).all()


def test_damaged_images_are_named(tmp_path):
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (64, 64), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    write(tmp_path / "a.png", whole[: len(whole) // 2])
    refused(pv.FileError, tmp_path, "a.png", "cut short")
    write(tmp_path / "a.png", b"no image at all")
    refused(pv.FileError, tmp_path, "a.png")


def test_wishes_that_cannot_be(tmp_path):
    picture(tmp_path / "a.png")
    refused(pv.ArgumentError, tmp_path, "mode='grey'", mode="grey")
    refused(pv.ArgumentError, tmp_path, "(0, 4)", size=(0, 4))
    refused(pv.ArgumentError, tmp_path, "means nothing", key="x")
    refused(pv.ArgumentError, write(tmp_path / "x.csv", "1,2\n"), "means nothing", size=(2, 2))


# Whatever it is


def test_a_missing_file_is_told_with_its_neighbours(tmp_path):
    write(tmp_path / "measures.csv", "1,2\n")
    refused(pv.FileError, tmp_path / "mesures.csv", "does not exist", "'measures.csv'")
    refused(pv.FileError, tmp_path / "nowhere" / "x.csv", "there is no folder")
    refused(pv.FileError, tmp_path / "unlike", "does not exist.")


def test_an_unknown_kind_or_a_folder_without_images_is_refused(tmp_path):
    write(tmp_path / "x.xlsx", "1")
    refused(pv.FileError, tmp_path / "x.xlsx", "Known: .npy")
    refused(pv.FileError, tmp_path, "holds no images", "x.xlsx")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def forbidden(path, *mode, **more):
        raise PermissionError(13, "Permission denied", str(path))

    path = write(tmp_path / "x-idx1-ubyte", "1")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", forbidden)
        with pytest.raises(pv.FileError, match="x-idx1-ubyte cannot be read: Permission denied"):
            datasets.load(path)


@pytest.mark.slow
def test_sprites_are_whole_and_each_has_its_own_factors():
    images, factors, names = datasets.sprites()
    assert images.shape == (92_160, 32, 32)
    assert images.dtype == np.uint8
    assert names == ("shape", "scale", "angle", "x", "y")
    assert len(np.unique(factors, axis=0)) == len(factors)
    assert len(np.unique(images.reshape(len(images), -1).view("V1024"))) == len(images)
    area = images.astype(float).sum((1, 2)) / 255
    kinds = [[(factors[:, 0] == shape) & (factors[:, 1] == scale) for scale in range(6)] for shape in range(3)]
    by_scale = [[area[kind].mean() for kind in row] for row in kinds]
    expected = [98 * (0.5 + 0.1 * scale) ** 2 for scale in range(6)]
    np.testing.assert_allclose(by_scale, [expected] * 3, rtol=0.02)
    rows = np.arange(32)
    centre = [(images @ rows).sum(1), (images.transpose(0, 2, 1) @ rows).sum(1)]
    for column, total in zip((3, 4), centre, strict=True):
        squares = factors[:, 0] == 0
        place = (total / images.sum((1, 2)))[squares]
        np.testing.assert_allclose(place, factors[squares, column] + 8.0, atol=0.01)


def test_some_sprites_are_those_of_all():
    images, factors, _ = datasets.sprites(200, seed=3)
    again = datasets.sprites(200, seed=3)
    assert np.array_equal(images, again.images)
    assert not np.array_equal(factors, datasets.sprites(200, seed=4).factors)
    everything = datasets.sprites()
    places = np.ravel_multi_index(tuple(factors.T), (3, 6, 20, 16, 16))
    assert np.array_equal(everything.images[places], images)
    with pytest.raises(pv.ArgumentError, match="92,160"):
        datasets.sprites(100_000)


def test_a_table_of_another_encoding_is_told_from_a_damaged_one(tmp_path):
    from pyrovae.data.datasets.array_files import reading

    path = tmp_path / "latin.csv"
    path.write_bytes("âge\n1\n".encode("latin-1"))
    with (
        pytest.raises(pv.errors.FileError, match=r"latin.csv is no text in UTF-8.*Write it again as UTF-8"),
        reading(path),
    ):
        path.read_text("utf-8")
