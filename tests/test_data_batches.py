from __future__ import annotations

import random
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

import pyrovae as pv
from pyrovae.checks.check_nonfinite import holes
from pyrovae.data import inspection
from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import as_batches
from pyrovae.data.move_batch import move_batch
from pyrovae.data.placement import find_placement


def look_through(batches):
    words = holes(batches, Batch((), {}) if batches.leaves() else batches.first())
    if words:
        raise pv.DataError(words)


class Numbers(Dataset):
    """Row n is (n, [n, n]); how each row was asked for is written down."""

    def __init__(self, rows=10):
        self.rows, self.asked = rows, []

    def __len__(self):
        return self.rows

    def __getitem__(self, row):
        if row >= self.rows:
            raise IndexError(row)
        self.asked.append(row)
        return row, torch.full((2,), float(row))


class AtOnce(Numbers):
    def __getitems__(self, rows):
        self.asked.append(tuple(rows))
        return [(row, torch.full((2,), float(row))) for row in rows]


class Noisy(Numbers):
    """Draws from torch's generator, as an augmentation does."""

    def __getitem__(self, row):
        return torch.rand(2) + row


class Restless(Numbers):
    """Draws from a generator of its own that nobody can restore."""

    generator = np.random.default_rng(0)

    def __getitem__(self, row):
        return torch.tensor(self.generator.random(2))


class Stream(IterableDataset):
    def __init__(self, rows=10):
        self.rows = rows

    def __iter__(self):
        return ({"x": torch.full((2,), float(row))} for row in range(self.rows))


def rows_of(batches):
    """Which rows came, batch by batch; every leaf must hold the same."""
    found = []
    for batch in batches:
        columns = [leaf.reshape(len(leaf), -1)[:, 0].long().tolist() for leaf in batch.leaves.values()]
        assert all(column == columns[0] for column in columns)
        found.append(columns[0])
    return found


def flat(lists):
    return [row for rows in lists for row in rows]


TEN = torch.arange(10).repeat(3, 1).T
KINDS = {
    "tensor": lambda: TEN,
    "array": lambda: TEN.numpy(),
    "tuple": lambda: (TEN, np.arange(10.0)),
    "list": lambda: [TEN, np.arange(10.0)],
    "dict": lambda: {"x": TEN.float(), "label": np.arange(10)},
    "frame": lambda: pd.DataFrame(TEN.numpy(), columns=list("abc")),
    "series": lambda: {"x": pd.Series(np.arange(10.0)), "y": TEN},
    "tensors": lambda: TensorDataset(TEN, torch.arange(10.0)),
    "dataset": Numbers,
    "at once": AtOnce,
    "subset": lambda: Subset(Numbers(30), range(10)),
}
STREAMS = {
    "stream": (Stream, {"batch_size": 4}),
    "loader": (lambda: DataLoader(Numbers(), batch_size=4), {}),
    "loader of a stream": (lambda: DataLoader(Stream(), batch_size=4), {}),
    "batch sampler": (lambda: DataLoader(Numbers(), batch_sampler=[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]), {}),
}


# --- every kind of data --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_every_row_once_in_an_order_that_can_be_made_again(kind):
    batches = as_batches(KINDS[kind](), batch_size=4, seed=3)
    assert (batches.rows, batches.batch_size, batches.batches_per_epoch) == (10, 4, 3)
    assert batches.random_access
    epochs = [rows_of(batches.epoch(index)) for index in range(3)]
    for epoch in epochs:
        assert list(map(len, epoch)) == [4, 4, 2]
        assert sorted(flat(epoch)) == list(range(10))
    assert len({str(epoch) for epoch in epochs}) == 3
    later = as_batches(KINDS[kind](), batch_size=4, seed=3)
    assert [rows_of(later.epoch(index)) for index in (2, 0)] == [epochs[2], epochs[0]]
    assert rows_of(as_batches(KINDS[kind](), batch_size=4, seed=4).epoch(0)) != epochs[0]
    for skip in range(5):
        assert rows_of(batches.epoch(1, skip=skip)) == epochs[1][skip:]


@pytest.mark.parametrize("kind", KINDS)
def test_in_order_is_every_row_once_in_order(kind):
    batches = as_batches(KINDS[kind](), batch_size=4)
    assert rows_of(batches.in_order(7)) == [[*range(7)], [*range(7, 10)]]
    assert list(map(len, rows_of(batches.in_order()))) == [4, 4, 2]
    if batches.random_access:  # of a stream nobody knows which rows they are
        places = [batch.positions.tolist() for batch in batches.in_order(7)]
        assert places == [[*range(7)], [*range(7, 10)]]
    assert rows_of([batches.first(), batches.first(3), batches.first(99)]) == [[*range(4)], [*range(3)], [*range(10)]]


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_keeps_its_own_order(kind):
    make, options = STREAMS[kind]
    batches = as_batches(make(), **options)
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert not batches.random_access
    assert rows_of(batches.epoch(0)) == rows_of(batches.epoch(1)) == rows_of(batches.in_order()) == expected
    assert rows_of(batches.epoch(0, skip=2)) == [[8, 9]]
    assert rows_of([batches.first(), batches.first(2)]) == [[0, 1, 2, 3], [0, 1]]
    assert batches.leaves() == {}
    assert batches.batch_size == (None if kind == "batch sampler" else 4)


def test_lengths_are_known_where_they_can_be():
    assert as_batches(Stream()).rows is None
    assert as_batches(Stream()).batches_per_epoch is None
    with_length = type("Sized", (Stream,), {"__len__": lambda self: self.rows})()
    assert (as_batches(with_length, batch_size=4).rows, as_batches(with_length, batch_size=4).batches_per_epoch) == (
        10,
        3,
    )
    loader = as_batches(DataLoader(Numbers(), batch_size=4, drop_last=True))
    assert (loader.rows, loader.batch_size, loader.batches_per_epoch) == (10, 4, 2)
    assert sum(map(len, rows_of(loader.in_order()))) == 10
    chosen = as_batches(DataLoader(Numbers(), batch_size=2, sampler=SubsetRandomSampler([1, 4, 7])))
    assert (chosen.rows, chosen.batches_per_epoch) == (3, 2)
    assert sorted(flat(rows_of(chosen.in_order()))) == [1, 4, 7]
    ready = as_batches(DataLoader(Numbers(), batch_size=None, collate_fn=lambda item: item[1][:, None]))
    assert ready.rows is None
    assert as_batches(DataLoader(Stream(), batch_size=4)).batches_per_epoch is None
    again = as_batches(DataLoader(Numbers(), sampler=RandomSampler(Numbers(), replacement=True, num_samples=25)))
    assert again.rows == 25


@pytest.mark.parametrize(
    ("item", "leaves"),
    [
        (torch.ones(2, 3), [0]),
        ((torch.ones(2), torch.ones(2, 3)), [0, 1]),
        ([np.ones(2)], [0]),
        ({"x": torch.ones(2), "y": np.ones((2, 1), dtype=">f4")}, ["x", "y"]),
    ],
    ids=["tensor", "tuple", "list", "dict"],
)
def test_what_a_loader_yields_becomes_arguments(item, leaves):
    loader = DataLoader([item], batch_size=None, collate_fn=lambda item: item)
    (batch,) = as_batches(loader).epoch(0)
    assert list(batch.leaves) == leaves
    assert list(batch.kwargs) == [name for name in leaves if isinstance(name, str)]
    assert batch.rows == 2
    assert all(isinstance(leaf, torch.Tensor) for leaf in batch.leaves.values())


def test_rows_are_asked_for_together_where_the_dataset_can():
    data = AtOnce()
    list(as_batches(data, batch_size=5).epoch(0))
    assert list(map(len, data.asked)) == [5, 5]
    data = Numbers()
    rows = rows_of(as_batches(data, batch_size=4).epoch(0, skip=2))
    assert sorted(data.asked) == sorted(rows[0])  # skipped rows are not even loaded


# --- random numbers ------------------------------------------------------------------------------


def shuffled(dataset=None, **options):
    return DataLoader(dataset or Noisy(), batch_size=4, shuffle=True, **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: as_batches(TEN, transform=lambda x: x + torch.rand(())),
        lambda: as_batches(Noisy()),
        lambda: as_batches(shuffled()),
        lambda: as_batches(shuffled(generator=torch.Generator().manual_seed(1))),
        lambda: as_batches(DataLoader(Noisy(), batch_size=4, sampler=SubsetRandomSampler([1, 2, 3]))),
        lambda: as_batches(DataLoader(Noisy(), sampler=SubsetRandomSampler([1, 2, 3], torch.Generator()))),
        lambda: as_batches(DataLoader(Stream(), batch_size=4, generator=torch.Generator())),
        lambda: as_batches(DataLoader(Stream(), batch_size=4), transform=lambda x: {"x": x + torch.rand(())}),
    ],
)
def test_the_first_batch_uses_up_no_random_number_and_is_always_the_same(make):
    batches = make()
    torch.rand(3)
    before = torch.get_rng_state(), [generator.get_state() for generator in batches.generators]
    other_states = str(random.getstate()), str(np.random.get_state())  # noqa: NPY002
    one, other = batches.first(), batches.first()
    after = torch.get_rng_state(), [generator.get_state() for generator in batches.generators]
    assert other_states == (str(random.getstate()), str(np.random.get_state()))  # noqa: NPY002
    assert all(map(torch.equal, one.leaves.values(), other.leaves.values()))
    assert torch.equal(before[0], after[0])
    assert all(map(torch.equal, before[1], after[1]))


def test_shuffling_arrays_uses_up_no_random_number():
    before = torch.get_rng_state()
    list(as_batches(TEN, batch_size=2).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_transform_draws_from_the_current_generator():
    batches = as_batches(torch.full((64, 4), 0.5), batch_size=16, transform=torch.bernoulli)
    torch.manual_seed(5)
    drawn = torch.cat([batch.args[0] for batch in batches.epoch(0)])
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.cat([torch.bernoulli(torch.full((16, 4), 0.5)) for _ in range(4)]))


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_a_loader_goes_on_where_it_was_by_its_random_state(generator):
    """What a checkpoint does: the state at the epoch's start, then the state of the moment."""
    batches = as_batches(shuffled(generator=generator))
    assert batches.generators == (() if generator is None else (generator,))
    start = torch.get_rng_state(), [g.get_state() for g in batches.generators]
    epoch = batches.epoch(0)
    whole = [next(epoch)]
    moment = torch.get_rng_state()
    whole += list(epoch)
    torch.set_rng_state(start[0])
    for own, state in zip(batches.generators, start[1], strict=True):
        own.set_state(state)
    epoch = batches.epoch(0, skip=1)
    torch.set_rng_state(moment)
    rest = list(epoch)
    assert len(rest) == 2
    assert all(torch.equal(a.args[0], b.args[0]) for a, b in zip(rest, whole[1:], strict=True))


def test_a_loader_gives_what_a_plain_loop_over_it_gives():
    loader = shuffled(Numbers())
    torch.manual_seed(3)
    plain = [rows.tolist() for rows, _ in loader]
    torch.manual_seed(3)
    assert rows_of(as_batches(loader).epoch(0)) == plain


def test_validation_over_a_loader_uses_up_no_random_number_of_its_own():
    batches = as_batches(shuffled(Numbers()))
    before = torch.get_rng_state()
    assert rows_of(batches.in_order()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.equal(before, torch.get_rng_state())


def test_data_that_cannot_be_repeated_are_told_apart():
    for data in (TEN, Numbers(), Noisy(), Stream(), shuffled(), DataLoader(Stream(), batch_size=4)):
        assert as_batches(data).repeatable()
    for data in (Restless(), shuffled(Restless())):
        assert not as_batches(data).repeatable()


# --- arrays stay where and what they are ---------------------------------------------------------


class Watched(np.memmap):
    """A mapped file that writes down how many rows were read at a time."""

    read: list[int] = []  # noqa: RUF012 - shared by the views on purpose

    def __getitem__(self, index):
        part = np.asarray(super().__getitem__(index))
        Watched.read.append(len(part))
        return part


def test_a_mapped_file_is_read_batch_by_batch(tmp_path):
    rows = 10_000
    np.memmap(tmp_path / "big", np.uint8, "w+", shape=(rows, 1_000))[:, 0] = np.arange(rows) % 251
    data = np.memmap(tmp_path / "big", np.uint8, "r", shape=(rows, 1_000)).view(Watched)
    Watched.read.clear()
    batches = as_batches(data, batch_size=16)
    assert batches.leaves()[0] is data
    batch = next(batches.epoch(0))
    batches.first()
    next(batches.in_order(8))
    assert Watched.read == [16, 16, 8]
    assert batch.args[0].dtype == torch.uint8


def test_a_mapped_file_is_looked_through_in_chunks(tmp_path, monkeypatch):
    data = np.memmap(tmp_path / "big", np.float32, "w+", shape=(1_000, 50))
    data[777, 3] = np.nan
    data[778, 1:3] = np.inf
    Watched.read.clear()
    monkeypatch.setattr(inspection, "_CHUNK", 5_000)
    with pytest.raises(
        pv.DataError, match=r"in 2 of 1000 rows, first at row 777, column 3; row 778, column 1; row 778"
    ):
        look_through(as_batches(data.view(Watched)))
    assert Watched.read == [100] * 10


def test_memory_grows_by_a_batch_and_not_by_the_file(tmp_path):
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not tell")
    np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (50_000, 1_000))[::1_000] = 1

    def anonymous():
        return int(re.search(r"RssAnon:\s+(\d+)", status.read_text())[1]) / 1024

    before = anonymous()
    batches = as_batches(np.load(tmp_path / "big.npy", mmap_mode="r"), batch_size=100)
    for _, _batch in zip(range(50), batches.epoch(0), strict=False):
        pass
    assert anonymous() - before < 20  # of 200 MB


def test_arrays_are_kept_and_batches_are_copies():
    array, tensor = np.arange(12.0).reshape(6, 2), torch.arange(6)
    batches = as_batches({"x": array, "y": tensor}, batch_size=4)
    assert batches.leaves()["x"] is array
    assert batches.leaves()["y"].data_ptr() == tensor.data_ptr()
    for batch in (batches.first(), *batches.in_order(), *batches.epoch(0)):
        for leaf in batch.leaves.values():
            leaf.zero_()
    assert array.sum() == 66
    assert tensor.sum() == 15


def strided(array, how):
    for axis in range(array.ndim):
        if how >> axis & 1:
            array = np.flip(array, axis)
    return array.T if array.ndim == 2 and how & 4 and len(array.T) else array


@given(
    array=hnp.arrays(
        st.one_of(
            hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
            hnp.integer_dtypes(endianness="?"),
            hnp.unsigned_integer_dtypes(endianness="?"),
            hnp.boolean_dtypes(),
        ),
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4),
    ),
    how=st.integers(0, 7),
    writeable=st.booleans(),
    size=st.integers(1, 5),
)
def test_arrays_of_any_type_and_stride_come_out_right(array, how, writeable, size):
    array = strided(array, how)
    array.flags.writeable = writeable
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    for data in (array, torch.from_numpy(native.copy())):
        batches = as_batches(data, batch_size=size)
        in_order = torch.cat([batch.args[0] for batch in batches.in_order()])
        order = torch.cat([batch.args[0] for batch in as_batches(np.arange(len(array)), batch_size=size).epoch(1)])
        shuffled = torch.cat([batch.args[0] for batch in batches.epoch(1)])
        for got, expected in ((in_order, native), (shuffled, native[order.numpy()])):
            assert got.numpy().dtype == native.dtype
            assert np.array_equal(got.numpy(), expected, equal_nan=native.dtype.kind == "f")


def test_read_only_arrays_give_no_warning():
    array = np.arange(6.0)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = as_batches(array, batch_size=2)
        look_through(batches)
        list(batches.in_order())
        list(batches.epoch(0))


def test_a_dataset_of_tensors_is_taken_as_its_tensors():
    x, y = torch.rand(5, 2), torch.arange(5)
    leaves = as_batches(TensorDataset(x, y)).leaves()
    assert (leaves[0].data_ptr(), leaves[1].data_ptr()) == (x.data_ptr(), y.data_ptr())


def test_tensors_that_want_gradients_are_only_data():
    batches = as_batches(torch.ones(3, requires_grad=True) * 2)
    assert not batches.first().args[0].requires_grad


# --- transforms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "transform", "expected"),
    [
        (TEN, lambda x: x / 2, lambda x: {0: x / 2}),
        ((TEN, TEN), lambda x, y: (x, y + x), lambda x: {0: x, 1: 2 * x}),
        ((TEN, TEN), lambda x, y: [x, y + x], lambda x: {0: x, 1: 2 * x}),
        ({"a": TEN, "b": TEN}, lambda a, b: {"b": b + a, "a": a}, lambda x: {"a": x, "b": 2 * x}),
    ],
)
def test_a_transform_takes_and_gives_what_the_model_gets(data, transform, expected):
    batches = as_batches(data, batch_size=4, transform=transform)
    for batch, start in zip(batches.in_order(), (0, 4, 8), strict=True):
        wanted = expected(TEN[start : start + 4])
        assert list(batch.leaves) == list(wanted)
        assert all(torch.equal(batch.leaves[name], value) for name, value in wanted.items())


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (lambda x: x[:2], r"argument 0 with shape \(2, 3\) for a batch of 4 rows"),
        (lambda x: x.sum(), r"shape \(\)"),
        (lambda x: None, "returned None"),
        (lambda x: x.numpy(), "returned a ndarray"),
        (lambda x: (x, x), "argument 0, argument 1 for argument 0"),
        (lambda x: (), "returned nothing for argument 0"),
        (lambda x: {"x": x}, "argument 'x' for argument 0"),
        (lambda x: (x, 3), "a tuple of Tensor, int"),
    ],
)
def test_a_transform_that_gives_something_else_is_refused(transform, words):
    batches = as_batches(TEN, batch_size=4, transform=transform)
    with pytest.raises(pv.ArgumentError, match=words):
        batches.first()


def test_a_transform_must_be_a_function():
    with pytest.raises(pv.ArgumentError, match="transform is a int"):
        as_batches(TEN, transform=3)


# --- bad data ------------------------------------------------------------------------------------


class Sparse:
    nnz = 3

    def toarray(self):
        return np.eye(3)


structured = np.zeros(3, dtype=[("age", "f4"), ("height", "f4")])
BAD = {
    "none": (None, "None; leave it out"),
    "path": ("train.npy", "a str, 'train.npy'; .* load the file first"),
    "Path": (Path("train.npy"), r"'train\.npy'; .* load the file first"),
    "bytes": (b"123", "load the file first"),
    "number": (3.0, "a single number has no rows"),
    "numbers": ([1.0, 2.0], r"list of 2 numbers; give an array: np\.asarray"),
    "tuple of numbers": ((1.0, 2.0), r"tuple of 2 numbers"),
    "lists": ([[1.0, 2.0], [3.0, 4.0]], r"a list; give an array of numbers: np\.asarray"),
    "nested": ((torch.ones(2), (torch.ones(2),)), "argument 1 is a tuple"),
    "empty list": ([], "an empty list"),
    "empty dict": ({}, "an empty dict"),
    "no rows": (torch.ones(0, 3), r"is empty: it has shape \(0, 3\)"),
    "packed": (pack_padded_sequence(torch.ones(2, 3), torch.tensor([3, 1]), batch_first=True), "pad_packed_sequence"),
    "no columns beside none": ((np.ones((3, 0)), np.ones((3, 0))), r"each of its rows, shape \(0,\), holds no number"),
    "no columns": (np.ones((3, 0)), r"each of its rows, shape \(0,\), holds no number"),
    "no dims": (np.array(3.0), "no dimension"),
    "no dims in torch": (torch.tensor(3.0), "no dimension"),
    "rows differ": ((torch.ones(3), np.ones(4)), "argument 0 has 3, argument 1 has 4"),
    "rows differ by name": ({"x": torch.ones(3), "y": np.ones(4)}, "argument 'x' has 3, argument 'y' has 4"),
    "key": ({"my x": torch.ones(3)}, "'my x' cannot be the name"),
    "number as key": ({1: torch.ones(3)}, "1 cannot be the name"),
    "objects": (np.array([[1, 2], [3, "four"]], dtype=object), "Python objects .* a str at row 1, column 1"),
    "texts": (np.array(["a", "b"]), r"texts \(dtype <U1\).* codes"),
    "dates": (np.array(["2020-01-01"], dtype="M8[D]"), "dates"),
    "complex": (np.ones(3, dtype=complex), "complex"),
    "complex in torch": (torch.ones(3, dtype=torch.complex64), "complex.*view_as_real"),
    "long double": (np.ones(3, dtype=np.longdouble), "does not know"),
    "structured": (structured, "fields age, height"),
    "masked": (np.ma.masked_array(np.ones(3), [0, 1, 0]), "mask would be lost"),
    "sparse": (Sparse(), r"\.toarray\(\)"),
    "sparse in torch": (torch.eye(3).to_sparse(), r"\.to_dense\(\)"),
    "meta": (torch.ones(3, device="meta"), "meta"),
    "frame": (pd.DataFrame({"age": [1, 2], "name": ["a", "b"]}), "columns name hold no plain numbers"),
    "frame with holes": (pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}), "objects|NaN"),
    "generator": ((x for x in [torch.ones(3)]), "a generator; give a tensor or an array"),
    "set": ({1, 2}, "a set"),
    "function": (lambda: torch.ones(3), "a function"),
    "empty dataset": (Numbers(0), "Numbers is empty"),
    "dataset without length": (type("Endless", (Dataset,), {})(), "has no length"),
    "loader without a batch": (DataLoader(Numbers(3), batch_size=4, drop_last=True), "3 rows.*4.*drop_last"),
    "loader without rows": (DataLoader(Numbers(0), batch_size=4), "0 rows"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_are_refused_in_words(kind):
    data, words = BAD[kind]
    with pytest.raises(pv.DataError, match=words):
        look_through(as_batches(data))


ROWS = {
    "texts": ({"x": torch.ones(2), "name": "a"}, "a list as argument 'name'"),
    "nested": ((torch.ones(2), (torch.ones(1), torch.ones(1))), "a list as argument 1"),
    "objects": (object(), "do not make a batch"),
    "none": (None, "do not make a batch"),
}


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: DataLoader(rows, batch_size=2)])
@pytest.mark.parametrize("kind", ROWS)
def test_a_dataset_of_something_else_is_refused_in_words(kind, wrap):
    item, words = ROWS[kind]
    data = type("Odd", (Numbers,), {"__getitem__": lambda self, row: item})()
    with pytest.raises(pv.DataError, match=words):
        as_batches(wrap(data)).first()


def test_rows_of_different_lengths_are_refused_in_words():
    data = type("Ragged", (Numbers,), {"__getitem__": lambda self, row: torch.ones(row + 1)})()
    with pytest.raises(pv.DataError, match="Ragged do not make a batch: stack expects"):
        as_batches(data).first()


def test_batches_whose_arguments_differ_in_rows_are_refused():
    loader = DataLoader([(torch.ones(2), torch.ones(3))], batch_size=None, collate_fn=lambda item: item)
    with pytest.raises(pv.DataError, match=r"batch from the DataLoader: .* argument 0 has 2, argument 1 has 3"):
        as_batches(loader).first()


def test_a_stream_that_yields_nothing_is_refused():
    class Once(IterableDataset):
        def __init__(self):
            self.rows = iter(torch.ones(3, 2))

        def __iter__(self):
            return self.rows

    batches = as_batches(Once(), batch_size=2)
    list(batches.epoch(0))
    for read in (lambda: list(batches.epoch(1)), batches.first, lambda: list(batches.in_order())):
        with pytest.raises(pv.DataError, match=r"yields nothing; .* start anew"):
            read()
    assert list(as_batches(Stream(4), batch_size=2).epoch(0, skip=2)) == []


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True, None])
def test_a_batch_size_is_a_whole_number(size):
    if size is not None:
        with pytest.raises(pv.ArgumentError, match="batch_size="):
            as_batches(TEN, batch_size=size)
        with pytest.raises(pv.ArgumentError, match="batch_size="):
            as_batches(TEN).in_order(size)
    assert as_batches(TEN, batch_size=np.int64(3)).batch_size == 3
    assert as_batches(TEN).batch_size == 128


def test_a_batch_size_beside_a_loader_is_refused():
    with pytest.raises(pv.ArgumentError, match="the DataLoader has its own"):
        as_batches(DataLoader(Numbers()), batch_size=4)


# --- holes ---------------------------------------------------------------------------------------


@given(
    shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
    bad=st.lists(st.integers(0, 10**6), max_size=8),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    chunk=st.integers(1, 40),
    as_torch=st.booleans(),
)
def test_holes_are_found_and_counted(shape, bad, dtype, value, chunk, as_torch):
    array = np.full(shape, np.finfo(dtype).max, dtype)  # whose sum overflows without being a hole
    places = sorted({index % array.size for index in bad})
    array.reshape(-1)[places] = value
    expected = [tuple(map(int, np.unravel_index(place, shape))) for place in places]
    before, inspection._CHUNK = inspection._CHUNK, chunk
    try:
        count, found, rows = inspection.nonfinite(torch.from_numpy(array) if as_torch else array)
    finally:
        inspection._CHUNK = before
    assert count == len({place[0] for place in expected})
    assert found == expected[:5]
    assert rows.tolist() == sorted({place[0] for place in expected})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            (torch.ones(3), torch.tensor([1.0, float("nan"), 1.0])),
            "argument 1 has NaN .* in 1 of 3 rows, first at row 1",
        ),
        ({"x": np.array([[[1.0, np.inf]]])}, r"argument 'x' .* row 0, element \(0, 1\)"),
        (DataLoader([torch.tensor([np.nan, 1.0])]), "row 0, column 0"),
        (pd.DataFrame({"a": [1.0, None]}), "1 of 2 rows, first at row 1, column 0"),
    ],
)
def test_holes_are_named(data, words):
    with pytest.raises(pv.DataError, match=words):
        look_through(as_batches(data))


def test_a_transform_may_fill_the_holes():
    data = torch.rand(100, 3)
    data[70] = float("nan")
    look_through(as_batches(data, transform=torch.nan_to_num))
    with pytest.raises(pv.DataError, match="row 70"):
        look_through(as_batches(data, transform=lambda x: x + 1))
    look_through(as_batches(torch.arange(3), transform=lambda x: x + 1))


def test_sound_data_pass():
    for make in KINDS.values():
        look_through(as_batches(make()))
    for make, options in STREAMS.values():
        look_through(as_batches(make(), **options))


# --- to a device and a type ----------------------------------------------------------------------


def test_only_floating_leaves_change_their_type_unless_told():
    batch = Batch(
        (torch.zeros(2, dtype=torch.uint8), torch.zeros(2, dtype=torch.float64)),
        {"n": torch.zeros(2, dtype=torch.int64), "b": torch.zeros(2, dtype=torch.bool), "h": torch.zeros(2).half()},
    )

    def kinds(**options):
        return [leaf.dtype for leaf in move_batch(batch, "cpu", **options).leaves.values()]

    f = torch.float32
    assert kinds(dtype=f) == [torch.uint8, f, torch.int64, torch.bool, f]
    assert kinds(dtype=f, cast=[0, "n"]) == [f, f, f, torch.bool, f]
    assert kinds() == [leaf.dtype for leaf in batch.leaves.values()]
    assert move_batch(batch, "meta", f).args[0].device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_batch_travels_in_its_own_type():
    batch = as_batches(np.arange(10, dtype=np.uint8), batch_size=4).first()
    there = move_batch(batch, "cuda", torch.float32, cast=[0]).args[0]
    assert (there.device.type, there.tolist()) == ("cuda", [0, 1, 2, 3])
    resident = as_batches(torch.arange(10, device="cuda"), batch_size=4, seed=1)
    assert sorted(flat(rows_of(resident.epoch(0)))) == list(range(10))


def test_modules_that_a_pair_holds_are_moved_where_it_is_to_run():
    encoder, decoder = torch.nn.Linear(3, 2), torch.nn.Linear(1, 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    with pyro.validation_enabled(False):  # which would look at values
        find_placement(pv.Pair(model, guide), as_batches(torch.ones(4, 3), batch_size=4).first(), "meta")
    assert {weight.device.type for part in (encoder, decoder) for weight in part.parameters()} == {"meta"}
