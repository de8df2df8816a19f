"""Files of sparse matrices whose parts lie, each part whole by its checksum; and matrices in memory that do."""

from __future__ import annotations

import io
import pickle
import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

import pyrovae as pv
from pyrovae.data.batches import as_batches
from pyrovae.data.datasets import load
from pyrovae.data.sparse_rows import dense_rows

FORMS = ("csr", "csc", "coo", "bsr", "dia")

# What stands in the place of a number of an index, of a shape, of a format.
NUMBERS = (-1, -(2**31), 2**31 - 1, 2**40, -(2**63), 3, 4, 5, 6, 7, 12)
SHAPES = (
    *([6, 5], [5, 4], [7, 4], [6, 3], [-6, 4], [6, -4], [0, 4], [6, 0], [10**12, 10**12], [2**62, 2**62], [4, 6]),
    *([24], [6, 4, 1], [True, True], [6.0, 4.0], [np.nan, 4], [1, 24], [24, 1], [2**63, 4]),
)
FORMATS = ("lil", "dok", "CSR", "csr ", "", "os", "__class__", "csr\nx", "\xe4", 3, ["csr"], "csr" * 100, *FORMS)


class Trace:
    """What its pickle does when it is opened."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def honest(form: str, chance: random.Random) -> dict[str, np.ndarray]:
    """The arrays of a file of 6 rows and 4 columns: unsorted, with a cell twice, of some type."""
    numbers = np.random.default_rng(chance.randrange(2**32))
    kind = chance.choice(("<f8", "<f4", "<i4", "|u1", "|b1", "<u8"))
    cells = numbers.integers(0, 6, 9), numbers.integers(0, 4, 9)
    whole = scipy.sparse.coo_matrix((numbers.integers(0, 40, 9).astype(kind), cells), shape=(6, 4))
    made = whole if form == "coo" else getattr(whole, f"to{form}")(**({"blocksize": (2, 2)} if form == "bsr" else {}))
    stream = io.BytesIO()
    scipy.sparse.save_npz(stream, made, compressed=False)
    stream.seek(0)
    with np.load(stream) as arrays:
        return dict(arrays)


def lying(arrays: dict[str, np.ndarray], chance: random.Random) -> dict[str, np.ndarray]:
    """One or two parts that are something else."""
    arrays = dict(arrays)
    indices = [name for name in arrays if name not in ("format", "shape", "data", "_is_array")]
    for _ in range(chance.randint(1, 2)):
        name = chance.choice([*indices, *indices, "shape", "data", "data", "format"])
        values = arrays.get(name)
        if values is None:
            continue
        match chance.randrange(9) if name not in ("shape", "format") else 9:
            case 0 | 1 | 2 if values.ndim == 1 and len(values) and values.dtype.kind in "iu" and name != "data":
                changed = values.astype(np.int64)
                changed[chance.randrange(len(changed))] = chance.choice(NUMBERS)
                arrays[name] = changed
            case 3:
                arrays[name] = values[: chance.randrange(len(values) + 1)]
            case 4:
                arrays[name] = np.concatenate([values, values[: chance.randint(1, 3)]])
            case 5:
                arrays[name] = np.random.default_rng(0).permutation(values)
            case 6 if values.dtype != object:
                wanted = chance.choice((float, bool, "u8", "i2", complex, "S4", "M8[s]", np.longdouble, object))
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    arrays[name] = values.astype(wanted)
            case 7:
                arrays[name] = np.array([Trace()], dtype=object) if chance.random() < 0.5 else values[..., None]
            case 8:
                arrays.pop(name)
            case _ if name == "shape":
                arrays[name] = np.array(chance.choice((*SHAPES, 5, [])))
            case _ if name == "format":
                arrays[name] = np.array(chance.choice(FORMATS))
            case _:
                arrays[name] = np.full(values.shape, np.nan)
    return arrays


def written(path: Path, arrays: dict[str, np.ndarray], packed: int) -> None:
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, values in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(values), allow_pickle=True)
            archive.writestr(f"{name}.npy", stream.getvalue())


def scipy_says(path: Path) -> np.ndarray:
    """The dense matrix, once SciPy has looked at every index."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scipy.sparse.load_npz(path)
        if hasattr(found, "check_format"):
            found.check_format(full_check=True)
        return found.toarray()


@pytest.mark.parametrize("cases", [60, pytest.param(1_500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_parts_that_lie_are_an_error_of_ours_or_what_scipy_reads(form, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, refused, names = Path("x.npz"), 0, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    for case in range(cases):
        chance = random.Random(case)
        whole = honest(form, chance)
        written(path, whole, chance.choice(names))
        np.testing.assert_array_equal(load(path).values, scipy_says(path), err_msg=str(case))
        written(path, lying(whole, chance), chance.choice(names))
        try:
            found = load(path).values
        except pv.PyrovaeError:
            refused += 1
            continue
        finally:
            assert not Path("executed").exists(), case
        np.testing.assert_array_equal(found, scipy_says(path), err_msg=str(case))
        assert found.dtype.isnative
    assert cases / 3 < refused < cases
    assert pickle.dumps(Trace())  # it would touch


def test_a_sparse_matrix_that_is_too_large_when_dense_is_said_with_another_way(tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.coo_matrix(([1.0], ([3], [5])), shape=(10**7, 10**7)))
    with pytest.raises(pv.FileError, match=r"as a dense array takes 745,058.1 GiB .*scipy.sparse.load_npz"):
        load(tmp_path / "x.npz")


# --- in memory, where SciPy takes any index and reads and writes where it says ----------------------------------
def broken(form: str, chance: random.Random):
    matrix = getattr(scipy.sparse, f"{form}_matrix")(np.arange(24.0).reshape(6, 4))
    name = chance.choice({"coo": ["row", "col"], "dia": ["offsets"]}.get(form, ["indices", "indptr"]))
    values = getattr(matrix, name).copy()
    for _ in range(chance.randint(1, 3)):
        values[chance.randrange(len(values))] = chance.choice((-1, 2**31 - 1, -(2**31), 6, 7, 1000, 3, 0))
    setattr(matrix, name, values)
    return matrix


@pytest.mark.parametrize("form", FORMS)
def test_indices_that_are_none_are_refused_before_anything_is_read_by_them(form):
    refused = 0
    for case in range(100):
        matrix = broken(form, random.Random(case))
        try:
            batches = as_batches(matrix)
        except pv.DataError:
            refused += 1
            with pytest.raises(pv.DataError, match="is damaged"):
                dense_rows(matrix, "x")
            continue
        rows = batches.take(torch.arange(6)).args[0]
        np.testing.assert_array_equal(rows.numpy(), matrix.toarray(), err_msg=str(case))
    assert refused > 30 or form == "dia"  # a diagonal that lies outside holds nothing


def test_a_matrix_is_left_as_it_is():
    matrix = scipy.sparse.csr_matrix(np.eye(4))
    matrix.data, matrix.indices = np.append(matrix.data, 7.0), np.append(matrix.indices, 1)  # room for more
    rows = as_batches(matrix).take(torch.arange(4)).args[0]
    np.testing.assert_array_equal(rows.numpy(), np.eye(4))
    assert len(matrix.data) == len(matrix.indices) == 5


def test_rows_too_long_for_memory_are_said():
    wide = scipy.sparse.csr_matrix(([1.0], ([0], [5])), shape=(2, 2**60))
    with pytest.raises(pv.FileError, match=r"argument 0, 1 rows of 1,152,921,504,606,846,976 columns at once, takes"):
        as_batches(wide).take(torch.tensor([0]))
