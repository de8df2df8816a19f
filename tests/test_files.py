from __future__ import annotations

import collections
import errno
import json
import math
import os
import pickle
import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import safetensors.torch
import torch
from children import Child
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pyrovae as pv
from pyrovae.data.whole_file import remove_partial
from pyrovae.training.saved import containers, files
from pyrovae.training.saved.files import VERSION, read_tensors, write
from pyrovae.training.saved.trees import DTYPES, flatten, unflatten


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def same(one, other):
    """Equal in kind, type and every bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and bits(one) == bits(other)
    if isinstance(one, np.ndarray | np.generic):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, dict):
        return type(other) is dict and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and repr(one) == repr(other)


def bits(tensor):
    return bytes(containers.raw(tensor.contiguous()))


# --- trees ---------------------------------------------------------------------------------------

arrays = hnp.arrays(
    st.one_of(hnp.floating_dtypes(sizes=(16, 32, 64)), hnp.integer_dtypes(), hnp.boolean_dtypes()),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | arrays.map(lambda array: array.astype(array.dtype.newbyteorder("=")))
    | arrays.map(lambda array: torch.from_numpy(array.astype(array.dtype.newbyteorder("="))))
    | st.sampled_from([np.float32(0.1), np.float64("nan"), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1)])
)
keys = st.text(st.characters(), max_size=3) | st.integers() | st.sampled_from(["$tensor", "__metadata__", "a.b", ""])
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=8,
)


@given(tree=trees)
def test_a_tree_comes_back_as_it_was(tree):
    tensors, skeleton = flatten(tree)
    text = json.dumps(skeleton, allow_nan=False)
    assert same(tree, unflatten(tensors, json.loads(text)))


@given(tree=trees)
def test_a_tree_comes_back_from_a_file(tree, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "tree.safetensors"
    tensors, skeleton = flatten(tree)
    write(path, tensors, {"state": skeleton})
    read, document = files.read(path)
    assert same(tree, unflatten(read, document["state"]))


def test_names_that_meet_are_kept_apart():
    tree = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}, 1: torch.ones(2), "1": torch.zeros(2)}
    tensors, skeleton = flatten(tree)
    assert list(tensors) == ["a.b", "a.b#2", "1", "1#2"]
    assert same(tree, unflatten(tensors, skeleton))
    assert list(flatten({"__metadata__": torch.ones(1)})[0]) == ["__metadata__#2"]
    assert list(flatten(torch.ones(1))[0]) == ["value"]


def test_the_states_of_optimisers_and_random_generators_come_back():
    net = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    net(torch.ones(3)).sum().backward()
    optimiser.step()
    tree = {
        "optimiser": optimiser.state_dict(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
    }
    again = unflatten(*flatten(tree))
    assert same(tree, again)
    draws = random.random(), np.random.rand(), torch.rand(())  # noqa: NPY002
    random.setstate(again["python"])
    np.random.set_state(again["numpy"])  # noqa: NPY002
    torch.set_rng_state(again["torch"])
    assert draws == (random.random(), np.random.rand(), torch.rand(()))  # noqa: NPY002
    optimiser.load_state_dict(again["optimiser"])


def test_cousins_of_dict_and_tuple_come_back_as_those():
    point = collections.namedtuple("point", "x y")(1, torch.ones(1))
    tree = collections.OrderedDict(p=point, s=torch.Size([2, 3]))
    assert same({"p": (1, torch.ones(1)), "s": (2, 3)}, unflatten(*flatten(tree)))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"param_groups": [{"lr": 1, "hook": len}]}, r"the value\['param_groups'\]\[0\]\['hook'\] is a builtin"),
        ({"a": ({1, 2},)}, r"\['a'\]\[0\] is a set"),
        ({"a": 1j}, r"\['a'\] is a complex"),
        ({"a": b"x"}, r"\['a'\] is a bytes"),
        ({"a": {(1, 2): 3}}, r"\['a'\] has the key \(1, 2\)"),
        ({True: 3}, "has the key True"),
        ({None: 3}, "has the key None"),
        ([np.array(["x"])], r"\[0\] is an array of <U1"),
        ([np.array([object()])], r"\[0\] is an array of object"),
        ([np.longdouble(1)], r"\[0\] is an array of"),
        ([torch.zeros(2, dtype=torch.complex128)], "tensor of torch.complex128"),
        ([torch.eye(2).to_sparse()], "sparse"),
        ([torch.empty(2, device="meta")], "meta"),
        (lambda: None, "the value is a function"),
    ],
)
def test_what_no_file_can_hold_is_named_with_its_path(tree, words):
    with pytest.raises(pv.ArgumentError, match=words) as caught:
        flatten(tree)
    assert " at 0x" not in str(caught.value)


# --- writing and reading -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_shape_comes_back(path, dtype):
    tensor = torch.tensor([0, 1, 1, 0, 1, 0], dtype=torch.float32).to(dtype).reshape(2, 3)
    tensors = {
        "plain": tensor,
        "turned": tensor.T,
        "slice": tensor[:, 1:2],
        "zero-dim": tensor[0, 1],
        "empty": tensor[:0],
        "spread": tensor[:1].expand(4, 3),
        "odd": torch.zeros(3, dtype=torch.uint8),
    }
    write(path, tensors, None)
    read, document = files.read(path)
    assert document is None
    assert {name: bits(value) for name, value in read.items()} == {name: bits(t) for name, t in tensors.items()}
    assert all(read[name].dtype == t.dtype and read[name].shape == t.shape for name, t in tensors.items())


def test_strange_bits_survive(path):
    complex_numbers = torch.tensor([1 + 2j])
    tensors = {
        "nan": torch.tensor([float("nan"), float("-inf"), -0.0]),
        "complex": complex_numbers,
        "conjugate": complex_numbers.conj(),
        "imaginary": complex_numbers.imag,
        "negative": complex_numbers.conj().imag,
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    write(path, tensors, None)
    read, _ = files.read(path)
    assert bits(read["nan"]) == bits(tensors["nan"])
    assert [read[name].item() for name in ("complex", "conjugate", "imaginary", "negative")] == [1 + 2j, 1 - 2j, 2, -2]
    assert not read["parameter"].requires_grad


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 0.1, 10**30, "ü\ud800\0", None, True, (1, [2])])
def test_a_document_comes_back(path, value):
    document = {"a": [value], 3: value, "$float": value, "": {}}
    write(path, {}, document)
    assert same(document, files.read(path)[1])


def test_a_file_of_ours_opens_with_safetensors_itself(path):
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(5), "c": torch.ones(3, dtype=torch.bool)}
    write(path, tensors, {"x": math.nan})
    assert same(tensors, dict(sorted(safetensors.torch.load_file(path).items())))
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pyrovae"
    assert metadata["format_version"] == str(VERSION)
    json.loads(metadata["document"], parse_constant=pytest.fail)


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    tensors = {"a": torch.ones(3), "b": torch.zeros(2, dtype=torch.int64)}
    write(path, tensors, {"k": 1})
    write(tmp_path / "b", dict(reversed(tensors.items())), {"k": 1})
    assert path.read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_lie_aligned_in_the_file(path):
    tensors = {"a": torch.zeros(3, dtype=torch.uint8), "b": torch.ones(3, dtype=torch.float64)}
    for size in range(8):
        write(path, tensors, "x" * size)
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        assert start % 8 == 0
        assert content[start : start + 24] == bits(tensors["b"])


def test_the_digest_covers_names_types_and_shapes():
    tensor = torch.zeros(2, 4, dtype=torch.int8)
    variants = [{"a": tensor}, {"b": tensor}, {"a": tensor.T.contiguous()}, {"a": tensor.view(torch.int32)}, {}]
    variants += [{"a": tensor, "b": tensor}, {"a": tensor.bool()}]
    assert len({containers.digest("x", tensors) for tensors in variants}) == len(variants)
    assert containers.digest("x", {}) != containers.digest("y", {})


def test_a_tensor_that_is_given_twice_is_stored_once(path):
    weight = torch.randn(100, 100)
    tensors = {"a": weight, "b": weight.view(100, 100), "turned": weight.T, "part": weight[:2], "e": weight[:0]}
    write(path, tensors, None)
    assert path.stat().st_size < 2.2 * weight.nbytes
    read, _ = files.read(path)
    assert read["a"] is read["b"]
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    read["part"].zero_()  # only overlapped: memory of its own
    assert torch.equal(read["a"], weight)


@pytest.mark.parametrize(
    ("tensors", "document", "words"),
    [
        ({"__metadata__": torch.ones(1)}, None, "__metadata__"),
        ({3: torch.ones(1)}, None, "called 3"),
        ({"a": torch.eye(2).to_sparse()}, None, "tensor 'a' is a sparse"),
        ({}, {"loss": torch.ones(1)}, r"holds tensors or arrays \(loss\)"),
        ({}, {"loss": print}, "builtin"),
    ],
)
def test_what_cannot_be_written_leaves_the_file_as_it_was(path, tensors, document, words):
    path.write_bytes(b"before")
    with pytest.raises(pv.ArgumentError, match=words):
        write(path, tensors, document)
    assert path.read_bytes() == b"before"


# --- files that are not what they should be ------------------------------------------------------


@pytest.mark.slow
def test_every_flipped_bit_and_every_cut_is_found(path):
    write(path, {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(True)}, {"step": 3, "loss": math.nan})
    content = path.read_bytes()
    for index in range(len(content)):
        for bit in range(8):
            wrong = bytearray(content)
            wrong[index] ^= 1 << bit
            path.write_bytes(wrong)
            with pytest.raises(pv.FileError, match=r"a\.safetensors"):
                files.read(path)
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(pv.FileError, match="truncated"):
            files.read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(pv.FileError, match="damaged"):
        files.read(path)


def test_a_changed_number_is_called_damage(path):
    write(path, {"a": torch.zeros(10)}, None)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(pv.FileError, match=r"damaged: .* digest; use an earlier copy"):
        files.read(path)
    with pytest.raises(pv.FileError, match="damaged"):
        read_tensors(path)


def test_a_newer_version_is_called_so(path, monkeypatch):
    monkeypatch.setattr(files, "VERSION", 2)
    write(path, {}, None)
    monkeypatch.undo()
    with pytest.raises(pv.FileError, match=r"format version 2 .* up to 1"):
        files.read(path)


def test_a_missing_file_is_told_with_what_is_there(tmp_path):
    for index in range(12):
        (tmp_path / f"checkpoint-{index:02}.safetensors").touch()
    with pytest.raises(pv.FileError, match=r"no such file; .* holds checkpoint-00.safetensors, .* and 4 more"):
        files.read(tmp_path / "checkpoint-99.safetensors")
    with pytest.raises(pv.FileError, match="is a folder"):
        files.read(tmp_path)
    with pytest.raises(pv.FileError, match="nor is there a folder"):
        files.read(tmp_path / "gone" / "a.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(pv.FileError, match="holds nothing"):
        files.read(tmp_path / "empty" / "a")


def save_npz(path):
    np.savez(path.with_suffix(".npz"), np.ones(2))
    path.with_suffix(".npz").rename(path)


def save_npy(path):
    with open(path, "wb") as file:
        np.save(file, np.ones(2))


def save_torch(path):
    torch.save({"weight": torch.ones(2)}, path)


def save_old_torch(path):
    torch.save({"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=False)


FOREIGN = {
    "torch": (save_torch, "a pickle .*safetensors.torch.save_file"),
    "old torch": (save_old_torch, "a pickle"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "a pickle"),
    "npz": (save_npz, r"numpy archive \(.npz\)"),
    "npy": (save_npy, r"numpy array \(.npy\)"),
    "text": (lambda path: path.write_text("a,b,c\n1,2,3\n"), "something else, not a safetensors file"),
    "empty": (lambda path: path.write_bytes(b""), "truncated to 0 bytes"),
    "torn zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(20)), "truncated zip"),
    "brace": (lambda path: path.write_bytes(b"\x03\0\0\0\0\0\0\0{]}"), "damaged"),
    "list": (lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0{}"), "did not write it"),
    "plain": (lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path), "did not write it"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_called_by_their_name(path, kind):
    make, words = FOREIGN[kind]
    make(path)
    with pytest.raises(pv.FileError, match=words):
        files.read(path)


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch /tmp/pyrovae-was-here",))


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_is_never_executed(path, save, monkeypatch):
    called = []
    monkeypatch.setattr(os, "system", called.append)
    save({"a": Bomb()}, path)
    for read in (files.read, read_tensors):
        with pytest.raises(pv.FileError, match="pickle"):
            read(path)
    assert not called


@given(content=st.binary(max_size=200))
def test_any_bytes_at_all_are_an_error_in_words(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any"
    for beginning in (b"", b"PK\x03\x04", b"\x80\x02", len(content).to_bytes(8, "little") + b"{"):
        path.write_bytes(beginning + content)
        for read in (files.read, read_tensors):
            with pytest.raises(pv.FileError):
                read(path)


# --- files of torch and Pyro ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [save_torch, save_old_torch], ids=["zip", "old"])
def test_a_state_dict_of_torch_is_read(path, make):
    make(path)
    assert same({"weight": torch.ones(2)}, read_tensors(path))


def test_plain_safetensors_and_our_own_files_are_read(path):
    safetensors.torch.save_file({"a": torch.ones(1)}, path)
    assert same({"a": torch.ones(1)}, read_tensors(path))
    shared = torch.ones(2)
    write(path, {"a": shared, "b": shared}, {"k": 1})
    assert set(read_tensors(path)) == {"a", "b"}


def test_pyros_own_store_file_is_read(path):
    constraints = {
        "real": dist.constraints.real,
        "positive": dist.constraints.positive,
        "unit": dist.constraints.unit_interval,
        "between": dist.constraints.interval(-1.0, 3.0),
        "simplex": dist.constraints.simplex,
        "lower": dist.constraints.lower_cholesky,
        "soft": dist.constraints.softplus_positive,
        "event": dist.constraints.independent(dist.constraints.positive, 1),
        "softer": dist.constraints.softplus_lower_cholesky,
    }
    for name, constraint in constraints.items():
        pyro.param(name, torch.eye(3) * 0.6 + 0.2 if "lower" not in name else torch.eye(3), constraint=constraint)
    pyro.module("net", torch.nn.Linear(2, 1))
    store = pyro.get_param_store()
    store.save(path)
    unconstrained = {name: store[name].unconstrained().detach() for name in constraints}
    read = read_tensors(path)
    assert set(read) == {*constraints, "net$$$weight", "net$$$bias"}
    assert all(torch.equal(read[name], value) for name, value in unconstrained.items())
    assert not any(value.requires_grad for value in read.values())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"model": {"w": torch.ones(1)}, "epoch": 3}, "a dict under 'model'"),
        ({"epoch": 3}, "a int under 'epoch'"),
        ([torch.ones(1)], "holds a list"),
        (torch.nn.Linear(1, 1), "holds torch.nn.modules.linear.Linear objects"),
        ({1: torch.ones(1)}, "under 1"),
    ],
)
def test_more_than_tensors_is_refused_in_words(path, value, words):
    torch.save(value, path)
    with pytest.raises(pv.FileError, match=words):
        read_tensors(path)


def test_a_truncated_file_of_torch_is_an_error(path):
    torch.save({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(pv.FileError, match="truncated"):
        read_tensors(path)


# --- disks that fail, processes that die ---------------------------------------------------------


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_failing_disk_leaves_the_old_file_and_nothing_else(path, monkeypatch, function, code):
    write(path, {"a": torch.ones(2)}, {"old": True})

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(pv.FileError, match=rf"a.safetensors cannot be written: {os.strerror(code)}.* as it was"):
        write(path, {"a": torch.zeros(2)}, {"old": False})
    monkeypatch.undo()
    assert files.read(path)[1] == {"old": True}
    assert os.listdir(path.parent) == [path.name]


def test_ctrl_c_while_writing_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    path.write_bytes(b"before")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path, {}, None)
    assert path.read_bytes() == b"before"
    assert os.listdir(path.parent) == [path.name]


def test_a_disk_that_fills_up_half_way(path, monkeypatch):
    """/dev/full refuses every byte, as a full disk does."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    path.write_bytes(b"before")
    opened = open
    monkeypatch.setattr("builtins.open", lambda name, mode, **_: opened("/dev/full", "wb" if mode == "xb" else mode))
    with pytest.raises(pv.FileError, match="No space left"):
        write(path, {"a": torch.ones(100_000)}, None)
    assert path.read_bytes() == b"before"


def test_a_folder_that_cannot_be_synced_is_no_error(path, monkeypatch):
    real = os.fsync

    def only_files(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "not here")
        real(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    write(path, {}, 1)
    assert files.read(path)[1] == 1


def test_missing_folders_and_names_that_are_taken_are_told(tmp_path):
    with pytest.raises(pv.FileError, match=r"no folder .*gone; make it first"):
        write(tmp_path / "gone" / "a", {}, None)
    (tmp_path / "taken").mkdir()
    with pytest.raises(pv.FileError, match="a folder of that name"):
        write(tmp_path / "taken", {}, None)
    assert os.listdir(tmp_path) == ["taken"]


def test_a_link_is_read_and_not_written_through(tmp_path, path):
    write(path, {}, 1)
    link = tmp_path / "latest"
    link.symlink_to(path.name)
    with pytest.raises(pv.FileError, match=r"latest is a link to a\.safetensors"):
        write(link, {}, 2)
    assert link.is_symlink()
    assert files.read(link)[1] == files.read(path)[1] == 1


KILLER = """
import os, signal, sys, time
import torch
from pyrovae.training.saved import files

def write_for_ever(path):
    step = 0
    while True:
        step += 1
        files.write(path, {"a": torch.full((50_000,), float(step))}, {"step": step})

path = sys.argv[1]
files.write(path, {"a": torch.zeros(50_000)}, {"step": 0})
for attempt in range(20):
    before = os.stat(path).st_mtime_ns
    writer = os.fork()
    if not writer:
        write_for_ever(path)
    while os.stat(path).st_mtime_ns == before:  # until it writes at all, however busy the machine is
        time.sleep(0.0005)
    time.sleep(0.0003 * attempt)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    tensors, document = files.read(path)
    assert document["step"] > 0
    assert torch.equal(tensors["a"], torch.full((50_000,), float(document["step"])))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
def test_kill_9_at_any_moment_leaves_a_sound_file(path):
    killer = Child(KILLER, str(path))
    _, errors = killer.communicate()
    assert not killer.returncode, errors
    leftovers = set(os.listdir(path.parent)) - {path.name}
    assert leftovers  # that some were killed in the middle
    remove_partial(path.parent)
    assert os.listdir(path.parent) == [path.name]


def test_only_our_own_leftovers_are_removed(path):
    token = "0123abcd" * 4
    for name in (f".a.safetensors.{token}.partial", ".mine.partial", f"b.{token}.partial"):
        (path.parent / name).touch()
    remove_partial(path.parent)
    assert sorted(os.listdir(path.parent)) == [".mine.partial", f"b.{token}.partial"]
