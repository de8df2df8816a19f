"""The rows of a training's epochs beside its checkpoints: written once each, cut where a checkpoint ends."""

from __future__ import annotations

import itertools
import json
import math
import os

import pytest
import torch
from histories import untimed

import pyrovae as pv
from pyrovae.training.epoch import Epoch
from pyrovae.training.saved import files, history_file
from pyrovae.training.saved.checkpoints import checkpoints_in
from pyrovae.training.saved.history_file import HistoryFile
from pyrovae.training.verdict import BEGINNING

ROW = Epoch(1, 4, 1.5, math.nan, math.inf, 0.1 + 0.2, {"z": 0.5}, 1e-3, None, None, None, None, 0.25)
ROWS = [ROW._replace(epoch=number) for number in range(1, 6)]
X = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))


def train(folder, epochs, **options):
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
    options = {"seed": 0, "device": "cpu", "staged": False, "progress": False, "checkpoint": folder, **options}
    return pv.fit(vae, X, epochs=epochs, **options)


def the_same(one, two):
    return [repr(row) for row in one] == [repr(row) for row in two]  # NaN is not itself


def test_rows_come_back_bit_for_bit(tmp_path):
    mark = HistoryFile(tmp_path).write(ROWS)
    assert the_same(HistoryFile(tmp_path).read(mark, tmp_path), ROWS)
    assert mark.rows == 5


def test_a_row_is_encoded_and_written_once(tmp_path, monkeypatch):
    """n epochs write n rows, and a checkpoint is no longer for all those before it."""
    encoded, whole = [], history_file._line
    monkeypatch.setattr(history_file, "_line", lambda row: encoded.append(row.epoch) or whole(row))
    sizes, write = [], files.write

    def measured(path, *content):
        write(path, *content)
        sizes.append(path.stat().st_size)

    monkeypatch.setattr(files, "write", measured)
    train(tmp_path, 40)
    assert encoded == list(range(1, 41))
    assert len(sizes) >= 40
    later = sizes[BEGINNING:]  # whose first steps are all known
    assert max(later) - min(later) < 100, "digits of a few counters"
    lengths = [len(line) for line in (tmp_path / "checkpoint-history.jsonl").read_bytes().splitlines()]
    assert len(lengths) == 40
    assert max(lengths) < 400


@pytest.mark.parametrize("left", ["", '{"half a ro', "[1]\n[2]\n"])
def test_what_follows_a_checkpoint_is_replaced(left, tmp_path):
    """A process was killed after it had written rows and before the checkpoint that they belong to."""
    whole = train(tmp_path / "whole", 5)
    train(tmp_path / "parts", 3)
    with (tmp_path / "parts/checkpoint-history.jsonl").open("a") as stream:
        stream.write(left)
    resumed = train(tmp_path / "parts", 5, resume=True)
    assert untimed(resumed.history) == untimed(whole.history)
    lines = (tmp_path / "parts/checkpoint-history.jsonl").read_text().splitlines()
    assert [json.loads(line)[0] for line in lines] == [1, 2, 3, 4, 5]


def test_the_checkpoint_before_a_damaged_one_has_its_own_part(tmp_path):
    whole = train(tmp_path / "whole", 5)
    train(tmp_path / "parts", 3)
    checkpoints_in(tmp_path / "parts")[0].write_bytes(b"")
    with pytest.warns(pv.PyrovaeWarning, match="The checkpoint before it is used"):
        resumed = train(tmp_path / "parts", 5, resume=True)
    assert untimed(resumed.history) == untimed(whole.history)


@pytest.mark.parametrize("harm", ["gone", "short", "changed"])
def test_a_history_that_is_not_whole_is_named_and_nothing_is_changed(harm, tmp_path):
    train(tmp_path, 3)
    path = tmp_path / "checkpoint-history.jsonl"
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if harm == "short" else content.replace(b"1", b"2", 1))
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(pv.FileError, match=r"checkpoint-history\.jsonl is missing or damaged.*put it back"):
        train(tmp_path, 5, resume=True)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_history_taken_away_while_a_training_runs_is_written_again(tmp_path):
    history = HistoryFile(tmp_path)
    history.write(ROWS[:3])
    (tmp_path / "checkpoint-history.jsonl").unlink()
    mark = history.write(ROWS)
    assert the_same(HistoryFile(tmp_path).read(mark, tmp_path), ROWS)


def test_a_row_that_could_not_be_written_is_written_the_next_time(tmp_path, monkeypatch):
    history, failures = HistoryFile(tmp_path), itertools.count()
    history.write(ROWS[:2])
    real = os.fsync

    def full(handle):
        if next(failures) == 0:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(pv.FileError, match=r"checkpoint-history\.jsonl could not be written: No space left"):
        history.write(ROWS[:4])
    mark = history.write(ROWS)
    assert the_same(HistoryFile(tmp_path).read(mark, tmp_path), ROWS)


def test_rows_whose_checkpoint_could_not_be_written_are_taken_back(tmp_path):
    file = HistoryFile(tmp_path)
    file.write(ROWS[:2])
    before = file.path.read_bytes()
    file.write(ROWS)
    file.undo()
    assert file.path.read_bytes() == before
    assert the_same(HistoryFile(tmp_path).read(file.write(ROWS), tmp_path), ROWS)
    first = HistoryFile(tmp_path / "other")
    first.write(ROWS)
    first.undo()
    assert list((tmp_path / "other").iterdir()) == []
