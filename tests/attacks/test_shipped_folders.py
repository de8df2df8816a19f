"""Folders for others: all of them or nothing, whatever goes wrong, and nothing in the way of the same call."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from commands import OVER_A_RUN, contents, in_words, train, typed
from ending_early import full, hooked, in_a_child, killed
from test_asked_to_end import vae

import pyrovae as pv
from pyrovae.data.whole_file import is_partial, remove, whole_file, whole_folder

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))

WRITES = {
    "model_card": lambda pair: pv.model_card(pair, X, path="out", rows=45, draws=25),
    "to_torch_export": lambda pair: pv.to_torch_export(pair, X, folder="out", parts=["encode"]),
    "to_onnx": lambda pair: pv.to_onnx(pair, X, folder="out", parts=["decode"]),
}
FILES = {
    "model_card": {"README.md", "config.json", "model.safetensors"},
    "to_torch_export": {"encode.pt2", "parts.json"},
    "to_onnx": {"decode.onnx", "parts.json"},
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not any(map(is_partial, tmp_path.rglob("*")))


def skipped_without_onnx(name):
    if name == "to_onnx":
        pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_leaves_nothing_and_ends_no_process(name):
    """In a child: torch's own writer went down with the process."""
    skipped_without_onnx(name)
    pair = vae()

    def attempt() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        torch.set_num_threads(1)
        for size in (0, 500, 1_500):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            with pytest.raises(pv.FileError, match=r"^out cannot be written: File too large"):
                WRITES[name](pair)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert not any(Path().iterdir())
        WRITES[name](pair)
        return 5

    assert in_a_child(attempt) == 5
    assert set(contents(Path("out"))) == {f"out/{file}" for file in FILES[name]}


def write(words: str = "new") -> None:
    """Three files, one of them by way of a name of its own."""
    with whole_folder("out") as folder:
        for name in ("a", "b"):
            (folder / name).write_text(words)
        with whole_file(folder / "c") as stream:
            stream.write(words.encode())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("act", [killed, full])
def test_whatever_write_a_folder_ends_at_there_is_all_of_it_or_nothing(act, there):
    """Where it was there before, each file is of before or of now."""
    number, code, remains = 1, 1, 0

    def attempt() -> int:
        count = hooked(number, act)
        try:
            write()
        except pv.FileError:
            return 2
        return 0 if count[0] < number else 1

    while code:
        if there:
            write("old")
        code = in_a_child(attempt)
        assert code in (0, 1, 2, 9), number
        found = {path.name: path.read_text() for path in Path("out").glob("[abc]")}
        assert set(found) in ({"a", "b", "c"}, set() if not there else {"a", "b", "c"}), number
        assert set(found.values()) <= {"old", "new"}
        assert there or set(found.values()) <= {"new"}
        left = {path.name for path in Path().iterdir()} - {"out"}
        assert all(map(is_partial, map(Path, left))), number
        remains += bool(left)
        for path in Path().iterdir():
            remove(path)
        number += 1
    assert number > 6
    assert remains <= 1 or act is killed  # where what is half-written cannot be removed either


def test_files_that_are_there_are_replaced_and_links_among_them_are_not():
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    write()
    assert {name: kept for name, kept in contents(Path("out")).items() if "mine" in name} == {"out/mine.txt": b"mine"}
    Path("owners").write_text("the owner's")
    Path("out/b").unlink()
    Path("out/b").symlink_to(Path("owners").resolve())
    before = contents(Path("out"))
    with pytest.raises(pv.FileError, match="is a link to"):
        write("newer")
    assert contents(Path("out")) == before
    assert {path.name for path in Path().iterdir()} == {"out", "owners"}
    Path("file").touch()
    with pytest.raises(pv.FileError, match="file cannot be written"), whole_folder("file") as folder:
        (folder / "a").touch()


def test_names_add_no_lines_to_the_head_of_a_card():
    pair = vae()
    with pytest.raises(pv.ArgumentError, match="as the Hub writes it"):
        pv.model_card(pair, X, path="out", license="mit\nextra: 1")
    pv.model_card(pair, X, path="out", rows=45, draws=25, title="a\n---\nlicense: other")
    lines = Path("out/README.md").read_text().splitlines()
    assert lines.count("---") == 2
    assert "# a --- license: other" in lines


@pytest.mark.slow
@pytest.mark.parametrize("command", ["to-onnx", "model-card", "explore"])
def test_a_command_that_failed_is_not_in_the_way_of_the_same_command(command, monkeypatch):
    if command == "to-onnx":
        pytest.importorskip("onnxruntime")
    run = train("run", "--hidden 4")
    before = {path.name for path in (*Path().iterdir(), *run.iterdir())}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *given: full())
        result = typed(OVER_A_RUN[command].format(run=run))
    assert result.exit_code == 2
    assert in_words(result)
    assert "No space left on device" in result.output
    assert {path.name for path in (*Path().iterdir(), *run.iterdir())} == before
    result = typed(OVER_A_RUN[command].format(run=run))
    assert result.exit_code == 0, result.output


def _card(pair, barrier, number):
    torch.set_num_threads(1)
    barrier.wait()
    try:
        pv.model_card(pair, X, path="out", rows=45, draws=25, title=f"number {number}", license=f"mit-{number}")
    except pv.FileError:
        os._exit(2)
    os._exit(0)


@pytest.mark.slow
def test_of_two_cards_at_once_every_file_is_whole():
    fork = multiprocessing.get_context("fork")
    pair, barrier = vae(), fork.Barrier(2)
    children = [fork.Process(target=_card, args=(pair, barrier, number)) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert sorted(child.exitcode for child in children)[0] == 0
    assert {path.name for path in Path().iterdir()} == {"out"}
    assert {file.name for file in Path("out").iterdir()} == FILES["model_card"]
    pv.load(pair, "out/model.safetensors", X[:8])
