"""Data that stay on disk: the same rows as in memory, in an order that the seed and the epoch decide alone."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as parquet
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae.data.batches import as_batches
from pyrovae.data.blocks.window_order import windows_of

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")

ROWS, WIDTH = 1000, 3


@pytest.fixture(scope="module")
def matrix():
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype("float32")


def parquet_folder(folder, matrix, *, files=3, group=90):
    names = [f"c{n}" for n in range(matrix.shape[1])]
    for number, part in enumerate(np.array_split(matrix, files)):
        table = pa.table(dict(zip(names, part.T, strict=True)))
        parquet.write_table(table, folder / f"part-{number}.parquet", row_group_size=group, write_page_checksum=True)
    return folder


def codes(matrix):
    return (matrix * 10 + 100).astype("uint16")


def hdf5(folder, matrix):
    return h5py.File(folder / "x.h5", "w").create_dataset("x", data=matrix, chunks=(64, WIDTH))


def zarr_array(folder, matrix):
    found = zarr.create_array(str(folder / "x.zarr"), shape=matrix.shape, chunks=(70, WIDTH), dtype=matrix.dtype)
    found[:] = matrix
    return found


SOURCES = {
    "parquet folder": lambda folder, x: pv.on_disk(parquet_folder(folder, x)),
    "arrow dataset": lambda folder, x: pyarrow.dataset.dataset(str(parquet_folder(folder, x))),
    "hdf5": hdf5,
    "hdf5 without chunks": lambda folder, x: h5py.File(folder / "y.h5", "w").create_dataset("x", data=x),
    "zarr": zarr_array,
    "hdf5 of unsigned numbers": lambda folder, x: h5py.File(folder / "z.h5", "w").create_dataset("x", data=codes(x)),
}


@pytest.fixture(params=SOURCES)
def source(request, tmp_path, matrix):
    return SOURCES[request.param](tmp_path, matrix)


@pytest.fixture
def memory(request, source, matrix):
    """The same rows in memory."""
    return torch.from_numpy(codes(matrix) if getattr(source, "dtype", None) == np.uint16 else matrix)


def small_vae():
    torch.manual_seed(0)
    likelihood = pv.Normal(pv.MLP(2, [8], WIDTH), scale=1.0)
    return pv.VAE(pv.StandardNormal(2), likelihood, pv.DiagNormal(pv.MLP(WIDTH, [8], 4)))


def test_in_order_the_rows_are_those_of_memory(source, memory):
    batches = as_batches(source, batch_size=64)
    assert batches.rows == ROWS
    assert batches.batches_per_epoch == 16
    assert torch.cat([batch.args[0] for batch in batches.in_order()]).equal(memory)
    wanted = [999, 0, 500, 500, 91]
    assert batches.take(torch.tensor(wanted)).args[0].tolist() == memory.numpy()[wanted].tolist()


def test_an_epoch_meets_each_row_once_and_says_which(source, memory):
    found = list(as_batches(source, batch_size=64, seed=1).epoch(0))
    positions = torch.cat([batch.positions for batch in found])
    assert [batch.rows for batch in found] == [64] * 15 + [40]
    assert sorted(positions.tolist()) == list(range(ROWS))
    assert positions.tolist() != list(range(ROWS))
    assert np.array_equal(torch.cat([batch.args[0] for batch in found]), memory.numpy()[positions])


@pytest.mark.parametrize("memory", [2 * 100 * 4 * WIDTH, 2 * 250 * 4 * WIDTH, 2**28])
def test_the_order_is_that_of_seed_and_epoch_wherever_it_begins(tmp_path, matrix, memory):
    rows = pv.on_disk(parquet_folder(tmp_path, matrix), memory=memory)
    batches = as_batches(rows, batch_size=64, seed=5)
    whole = [batch.positions.tolist() for batch in batches.epoch(3)]
    for skip in (0, 1, 7, 15):
        assert [batch.positions.tolist() for batch in batches.epoch(3, skip=skip)] == whole[skip:]
    assert whole != [batch.positions.tolist() for batch in batches.epoch(4)]


def test_rows_mix_within_a_window_and_blocks_over_all(tmp_path, matrix):
    rows = pv.on_disk(parquet_folder(tmp_path, matrix, files=1, group=50), memory=2 * 200 * 4 * WIDTH)
    order = torch.cat([batch.positions for batch in as_batches(rows, batch_size=50).epoch(0)])
    for start in range(0, ROWS, 200):
        assert len({int(row) // 50 for row in order[start : start + 200]}) == 4  # a window is four blocks
    assert all(len({int(row) // 50 for row in order[start : start + 20]}) > 1 for start in range(0, ROWS, 200))


def test_no_window_is_above_the_memory_and_none_is_empty():
    found = windows_of([5, 3, 9, 1, 2], 8, seed=0, epoch=0)
    assert sorted(block for window in found for block in window.blocks) == [0, 1, 2, 3, 4]
    assert all(window.rows <= 8 or len(window.blocks) == 1 for window in found)
    assert [window.first for window in found] == [0, *np.cumsum([window.rows for window in found])[:-1].tolist()]


def test_blocks_above_the_memory_are_told_of(tmp_path, matrix):
    rows = pv.on_disk(parquet_folder(tmp_path, matrix), memory=1000)
    with pytest.warns(pv.PyrovaeWarning, match="blocks of 90 rows"):
        list(as_batches(rows, batch_size=64).epoch(0))


def test_training_is_resumed_bit_for_bit(tmp_path, matrix):
    rows = pv.on_disk(parquet_folder(tmp_path, matrix), memory=2 * 300 * 4 * WIDTH)
    options = {"batch_size": 64, "seed": 3, "progress": False, "staged": False}
    whole = small_vae()
    pv.fit(whole, rows, epochs=2, **options)
    part = small_vae()
    folder = tmp_path / "run"
    for step in pv.steps(part, rows, epochs=2, checkpoint=folder, checkpoint_every=1e-9, **options):
        if step.index == 20:  # in the middle of the second epoch
            break
    again = small_vae()
    pv.fit(again, rows, epochs=2, checkpoint=folder, resume=True, **options)
    assert all(a.equal(b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_run_does_not_go_on_with_other_values_or_in_other_windows(tmp_path, matrix):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    options = {"batch_size": 64, "seed": 3, "progress": False, "checkpoint": tmp_path / "run", "staged": False}
    rows = pv.on_disk(parquet_folder(tmp_path / "a", matrix))
    pv.fit(small_vae(), rows, epochs=1, **options)
    other = matrix.copy()
    other[700, 1] += 1
    with pytest.raises(pv.PyrovaeError, match="as a digest of all"):
        pv.fit(small_vae(), pv.on_disk(parquet_folder(tmp_path / "b", other)), epochs=2, resume=True, **options)
    smaller = pv.on_disk(tmp_path / "a", memory=2 * 300 * 4 * WIDTH)
    with pytest.raises(pv.PyrovaeError, match="windows of"):
        pv.fit(small_vae(), smaller, epochs=2, resume=True, **options)


def test_questions_answer_as_they_do_in_memory(source, memory):
    vae = small_vae()
    one, other = (torch.as_tensor(pv.encode(vae, data)["z"].mean) for data in (source, memory))
    assert one.allclose(other)
    one, other = (pv.elbo(vae, data, seed=0).value for data in (source, memory))
    assert one.allclose(other)


@pytest.mark.parametrize("shuffle", [False, True])
def test_questions_take_a_loader_in_the_order_of_its_rows(matrix, shuffle):
    vae, x = small_vae(), torch.from_numpy(matrix)
    loader = DataLoader(TensorDataset(x), batch_size=30, shuffle=shuffle)
    assert torch.as_tensor(pv.encode(vae, loader)["z"].mean).allclose(torch.as_tensor(pv.encode(vae, x)["z"].mean))
    one, other = (pv.rate_distortion(vae, data, seed=0, draws=10).elbo for data in (loader, x))
    assert one == pytest.approx(other, abs=0.1)
    assert pv.check_pair(vae, loader) == () == pv.check_pair(vae, TensorDataset(x))


def test_arguments_by_name_of_a_table(tmp_path):
    table = pa.table(
        {
            "a": np.arange(10.0),
            "b": np.arange(10, 20),
            "image": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(40, dtype="uint8")), 4),
            "list": [[float(n), 1.0] for n in range(10)],
            "text": ["x"] * 10,
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    rows = pv.on_disk(tmp_path / "t.parquet", columns={"x": ["b", "a"], "y": "image", "z": "list"})
    batch = as_batches(rows).first(6).kwargs
    assert batch["x"].tolist() == [[10 + n, n] for n in range(6)]
    assert batch["x"].dtype == torch.float64
    assert batch["y"].dtype == torch.uint8
    assert batch["y"][5].tolist() == [20, 21, 22, 23]
    assert batch["z"].tolist() == [[n, 1] for n in range(6)]
    assert pv.on_disk(tmp_path / "t.parquet", columns="b")[7].tolist() == [17]
    with pytest.raises(pv.DataError, match=r"'text' \(string\)"):
        pv.on_disk(tmp_path / "t.parquet")[0]
    with pytest.raises(pv.DataError, match="'image' holds lists"):
        pv.on_disk(tmp_path / "t.parquet", columns=["a", "image"])
    with pytest.raises(pv.ArgumentError, match="no column 'c'"):
        pv.on_disk(tmp_path / "t.parquet", columns=["c"])


def test_holes_of_whole_numbers_and_ragged_lists_are_refused_and_others_are_nan(tmp_path):
    def read(values, **options):
        parquet.write_table(pa.table({"a": values}), tmp_path / "t.parquet")
        return pv.on_disk(tmp_path / "t.parquet", **options)[0]

    assert read(pa.array([None, 2.0])).isnan().all()
    for values, words in (
        (pa.array([None, 2]), "whole numbers with holes"),
        (pa.array([[1.0], [1.0, 2.0]]), "lists of 1 to 2 numbers"),
        (pa.array([None, [1.0]]), "rows without a list"),
    ):
        with pytest.raises(pv.DataError, match=words):
            read(values)
    parquet.write_table(pa.table({"a": [2**53 + 1, 0], "b": [0.5, 1.0]}), tmp_path / "t.parquet")
    with pytest.raises(pv.DataError, match=r"above 2\*\*53"):
        pv.on_disk(tmp_path / "t.parquet")[0]


def test_a_table_with_texts_is_read_by_the_schema_of_the_pair(tmp_path):
    frame = pd.DataFrame({"size": np.linspace(0, 1, 300), "kind": ["a", "b", "c"] * 100})
    frame.loc[5, "size"] = np.nan
    schema = pv.tables.schema(frame)
    pair = pv.recipes.table_vae(schema, latent=2)
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=64, index=False)
    found = torch.cat([batch.args[0] for batch in as_batches(pv.on_disk(tmp_path).encoded(schema.encode)).in_order()])
    assert found.allclose(schema.encode(frame), equal_nan=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pv.PyrovaeWarning)
        pv.fit(pair, pyarrow.dataset.dataset(str(tmp_path)), epochs=1, seed=0, progress=False)
        one, other = (pv.encode(pair, data)["z"].mean for data in (pv.on_disk(tmp_path), frame))
    assert torch.as_tensor(one).allclose(torch.as_tensor(other), atol=1e-5)


def test_arrays_beside_one_another_must_have_the_same_rows(tmp_path, matrix):
    x = hdf5(tmp_path, matrix)
    labels = np.arange(ROWS)
    batch = as_batches((x, labels), batch_size=100).take(torch.tensor([3, 800]))
    assert batch.args[1].tolist() == [3, 800]
    assert batch.args[0][1].equal(torch.from_numpy(matrix[800]))
    with pytest.raises(pv.DataError, match="different numbers of rows"):
        as_batches({"x": x, "y": labels[:-1]})


def test_what_changes_or_is_damaged_while_it_is_read_is_said(tmp_path, matrix):
    folder = parquet_folder(tmp_path, matrix)
    rows = pv.on_disk(folder)
    path = folder / "part-2.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(pv.FileError):
        torch.cat([batch.args[0] for batch in as_batches(rows).in_order()])
    path.unlink()
    with pytest.raises(pv.FileError):
        list(as_batches(pv.on_disk(folder, memory=4000), batch_size=100).epoch(0)) and pv.on_disk(path)


@pytest.mark.parametrize("given", [3, "nowhere", np.ones((3, 2)), [1, 2]])
def test_what_is_not_on_disk_is_refused_in_words(given):
    with pytest.raises((pv.ArgumentError, pv.FileError)):
        pv.on_disk(given)


def test_row_weights_are_refused(tmp_path, matrix):
    with pytest.raises(pv.ArgumentError, match="row_weights"):
        pv.fit(small_vae(), pv.on_disk(parquet_folder(tmp_path, matrix)), epochs=1, row_weights=np.ones(ROWS))


def test_a_dataset_of_hugging_face(matrix):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"x": matrix.tolist(), "y": list(range(ROWS))})
    rows = pv.on_disk(data, columns={"x": "x", "y": "y"})
    batch = as_batches(rows).take(torch.tensor([9, 600]))
    assert batch.kwargs["y"].flatten().tolist() == [9, 600]
    assert batch.kwargs["x"].allclose(torch.from_numpy(matrix)[[9, 600]].double())
    vae = small_vae()
    pv.fit(
        vae,
        data.select_columns("x").cast_column("x", datasets.Sequence(datasets.Value("float32"))),
        epochs=1,
        progress=False,
    )
    streamed = data.select_columns("x").to_iterable_dataset().with_format("torch")
    assert pv.fit(vae, streamed, steps=3, progress=False).history


def test_a_file_without_a_column_of_the_others_is_named(tmp_path, matrix):
    folder = parquet_folder(tmp_path, matrix)
    table = parquet.read_table(folder / "part-2.parquet")
    parquet.write_table(table.drop_columns(table.column_names[-1:]), folder / "part-2.parquet")
    with pytest.raises(pv.DataError, match=rf"part-2.parquet has no column '{table.column_names[-1]}'"):
        pv.fit(small_vae(), pv.on_disk(folder), epochs=1, seed=0, progress=False)


def test_columns_that_folders_are_named_after_are_there(tmp_path, matrix):
    for year in (1, 2):
        (tmp_path / f"year={year}").mkdir()
        parquet.write_table(
            pyarrow.table({"a": matrix[:5, 0], "b": matrix[:5, 1]}), tmp_path / f"year={year}" / "x.parquet"
        )
    rows = pyarrow.dataset.dataset(str(tmp_path), partitioning="hive")
    (batch,) = as_batches(pv.on_disk(rows), batch_size=20).in_order()
    assert batch.args[0][:, 2].tolist() == [1.0] * 5 + [2.0] * 5
