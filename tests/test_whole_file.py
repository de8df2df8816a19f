"""Files that appear only when they are whole; full disks and killed writers are tried in test_files.py."""

from __future__ import annotations

import os

import pytest

import pyrovae as pv
from pyrovae.data.whole_file import moved_when_whole, remove_partial, whole_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.txt"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(path, error):
    def break_off():
        with whole_file(path) as stream:
            stream.write(b"half")
            raise error

    path.write_bytes(b"before")
    with pytest.raises(error):
        break_off()
    assert path.read_bytes() == b"before"
    assert os.listdir(path.parent) == [path.name]


def test_nothing_shows_under_the_name_before_the_end(path):
    with whole_file(path) as stream:
        stream.write(b"half")
        assert not path.exists()
        (partial,) = path.parent.iterdir()
        assert partial.name.startswith(".a.txt.")
    assert path.read_bytes() == b"half"
    assert os.listdir(path.parent) == [path.name]


def test_two_writers_of_one_name_write_beside_each_other(path):
    with whole_file(path) as one, whole_file(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"  # which ended last
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_is_made_where_that_is_asked_for(path):
    below = path.parent / "new" / "a.txt"
    with pytest.raises(pv.FileError, match="no folder"), whole_file(below):
        raise AssertionError
    with whole_file(below, make_folder=True) as stream:
        stream.write(b"whole")
    assert below.read_bytes() == b"whole"


def test_the_mend_stands_behind_what_went_wrong(path):
    (path.parent / "file").write_bytes(b"")
    with (
        pytest.raises(pv.FileError, match=r"cannot be written: .*\. Choose another\.$"),
        whole_file(path.parent / "file" / "a.txt", make_folder=True, mend="Choose another."),
    ):
        raise AssertionError


def test_whole_folders_move_and_half_ones_go(tmp_path):
    partial, place = tmp_path / "partial", tmp_path / "place"

    def break_off():
        with moved_when_whole(partial, place):
            partial.mkdir()
            (partial / "a").touch()
            raise ValueError

    with pytest.raises(ValueError):
        break_off()
    assert list(tmp_path.iterdir()) == []
    with moved_when_whole(partial, place):
        partial.mkdir()
    assert list(tmp_path.iterdir()) == [place]
    with pytest.raises(pv.FileError, match="cannot be written"), moved_when_whole(partial, tmp_path / "no" / "place"):
        partial.mkdir()
    assert list(tmp_path.iterdir()) == [place]
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == [place]
