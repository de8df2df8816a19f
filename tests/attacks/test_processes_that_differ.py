"""Several processes train the same pair on the same data, or end in words: none hangs, and none mixes two trainings."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
from children import Child

WORKER = Path(__file__).with_name("differing_processes.py")
TWO_AND_THREE = [pytest.param(2, marks=pytest.mark.trial), pytest.param(3, marks=pytest.mark.slow)]

EXPECTED = {
    "rows": "DataError: the number of rows of the data is 512 in process 0 and 500 in process",
    "256 and 255, with checkpoints": "DataError: the number of rows of the data is 256 in process 0 and 255 in process",
    "most rows": "DataError: argument 'x' of the data is ",
    "one row": "DataError: argument 'x' of the data is ",
    "one row of a dataset": "DataError: argument 'x' of the data is ",
    "validation": "DataError: argument 'x' of the validation data is ",
    "validation in one": "ArgumentError: validation is ",
    "scale": "ArgumentError: Normal.scale is 1.0 in process 0 and 1.001 in process",
    "dropout": "ArgumentError: Dropout.p is 0.1 in process 0 and 0.9 in process",
    "batch size": "ArgumentError: batch_size is ",
    "learning rate": "ArgumentError: learning_rate is ",
    "steps": "ArgumentError: steps is ",
    "holes in one": "(ParallelError: process . of the . of this training has ended: )?DataError: .*row 3",
    "argument in one": "(ParallelError: process . of the . of this training has ended: )?ArgumentError: clip_norm=-1",
    "folder": "(ParallelError: process 0 of the . of this training has ended: )?FileError: .*a_file is a file",
}


def start(task, folder, processes):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [Child(WORKER, task, str(folder), environment={**common, "RANK": str(rank)}) for rank in range(processes)]


@pytest.mark.parametrize("processes", TWO_AND_THREE)
def test_every_difference_is_named_in_every_process(processes, tmp_path):
    for child in start("differences", tmp_path, processes):
        _, words = child.communicate()
        assert child.returncode == 0, words
    for rank in range(processes):
        said = json.loads((tmp_path / f"said{rank}.json").read_text())
        for name, expected in EXPECTED.items():
            assert re.match(expected, said[name], re.DOTALL), (rank, name, said[name])
        assert said["alike"] == said["rank known"] == 4
    assert not (tmp_path / "a").exists()


CAUGHT = {
    "a transform": "ValueError: mine",
    "a transform, staged": "ValueError: mine",
    "a transform's Ctrl-C": "KeyboardInterrupt: mine",
    "the model": "RuntimeError: mine",
    "the model, on validation data": "RuntimeError: mine",
    "a schedule": "LookupError: mine",
    "a rate": "LookupError: mine",
    "the loop": "RuntimeError: mine",
    "a loop not begun": "RuntimeError: mine",
}


@pytest.mark.parametrize("processes", TWO_AND_THREE)
def test_an_error_that_one_process_catches_ends_all_at_once_with_its_words(processes, tmp_path):
    for child in start("caught", tmp_path, processes):
        _, words = child.communicate()
        assert child.returncode == 0, words
    for rank in range(processes):
        said = json.loads((tmp_path / f"said{rank}.json").read_text())
        for name, error in CAUGHT.items():
            words, seconds = said[name]
            own = words.partition(" Trace Shapes")[0]
            if rank == processes - 1:
                assert own.startswith(error), (name, words)
            elif "loop" in name:
                assert re.match(f"ParallelError: process {processes - 1} of {processes} (left|closed) the", words)
            else:
                expected = (
                    f"ParallelError: process {processes - 1} of the {processes} of this training has ended: {error}"
                )
                assert own.startswith(expected), (name, words)
            assert seconds < 30, (name, seconds)  # where nobody tells them, they wait for ten minutes
            assert said[f"{name}, afterwards"] == 4


@pytest.mark.parametrize("processes", TWO_AND_THREE)
def test_a_stopped_process_is_not_waited_for_without_end(processes, tmp_path):
    children = start("stopped", tmp_path, processes)
    begun = time.monotonic()
    try:
        for rank, child in enumerate(children[:-1]):
            _, words = child.communicate(timeout=90)
            assert "ParallelError" in words, words
            assert "this training" in (tmp_path / f"said{rank}.txt").read_text()
        assert "stopped or hanging" in "".join(path.read_text() for path in tmp_path.glob("said*.txt"))
        assert time.monotonic() - begun < 60
        assert list((tmp_path / "run").glob("checkpoint-*.safetensors"))
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGCONT)
        _, words = children[-1].communicate(timeout=60)
        assert "ParallelError" in words
    finally:
        children[-1].send_signal(signal.SIGKILL) if children[-1].returncode is None else None
    for child in start("stopped", tmp_path, processes):
        _, words = child.communicate(timeout=90)
        assert child.returncode == 0, words
    said = (tmp_path / "gone_on0.txt").read_text()
    assert f"lost a process, and with it the random numbers of {processes - 1} of its {processes}" in said
    assert not (tmp_path / "gone_on1.txt").read_text()


@pytest.mark.trial
def test_a_request_to_end_one_process_ends_all_with_a_checkpoint(tmp_path):
    """The one that was asked ends, as it was asked to; the other has a training that was interrupted."""
    first, asked = start("terminated", tmp_path, 2)
    (_, words), (_, others) = first.communicate(), asked.communicate()
    assert (first.returncode, asked.returncode) == (0, -signal.SIGTERM), (words, others)
    reason, step = (tmp_path / "said0.txt").read_text().split()
    assert reason == "interrupted"
    written = f"checkpoint-{int(step):010d}.safetensors"
    assert (tmp_path / "run" / written).exists()
    assert f"interrupted after step {step}, and the last checkpoint is" in words
    assert written in words
    assert "interrupted after step" not in others  # which knows nothing of checkpoints
    assert not (tmp_path / "said1.txt").exists()
