"""The loop in the caller's hands: steps, the epochs among them, and the end."""

from __future__ import annotations

import itertools

import pytest
import torch
from histories import small_vae, untimed

import pyrovae as pv
from pyrovae.training.saved.checkpoints import checkpoints_in

X = torch.randn(48, 5, generator=torch.Generator().manual_seed(0))
OPTIONS = {"epochs": 3, "batch_size": 16, "seed": 0, "device": "cpu", "staged": False}  # three steps an epoch


@pytest.fixture(scope="module")
def fitted() -> pv.Fit:
    return pv.fit(small_vae(), X, validation=X, progress=False, **OPTIONS)


def test_the_history_grows_as_epochs_are_finished(fitted):
    running = pv.steps(small_vae(), X, validation=X, **OPTIONS)
    assert running.history == ()
    # An epoch's row needs the validation data after its last step, so it is there at the step that follows.
    assert [len(running.history) for _ in running] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert untimed(running.history) == untimed(fitted.history)
    assert untimed(running.result.history) == untimed(fitted.history)


def test_epochs_come_one_by_one_with_the_weights_of_their_end(fitted):
    pair = small_vae()
    running = pv.steps(pair, X, validation=X, **OPTIONS)
    rows, weights = [], []
    for row in running.epochs():
        rows.append(row)
        weights.append([parameter.detach().clone() for parameter in pair.parameters()])
    assert untimed(rows) == untimed(fitted.history)
    for epochs, found in enumerate(weights, 1):
        shorter = pv.fit(small_vae(), X, progress=False, **{**OPTIONS, "epochs": epochs}).pair
        assert all(torch.equal(one, two) for one, two in zip(found, shorter.parameters(), strict=True)), epochs
    assert running.result.reason == "finished"


def test_steps_and_epochs_can_be_taken_in_turn(fitted):
    running = pv.steps(small_vae(), X, validation=X, **OPTIONS)
    first = [step.index for step in itertools.islice(running, 2)]
    second = next(running.epochs()).epoch
    rest = [step.index for step in running]
    assert (first, second, rest) == ([0, 1], 1, [3, 4, 5, 6, 7, 8])
    assert untimed(running.history) == untimed(fitted.history)
    assert list(running.epochs()) == []
    with pytest.raises(StopIteration):
        next(running)
    assert running.result.step == 9


def test_there_is_no_result_before_the_end():
    running = pv.steps(small_vae(), X, **OPTIONS)
    next(running)
    with pytest.raises(pv.ArgumentError, match="there are steps left"):
        _ = running.result


def test_a_resumed_run_knows_the_epochs_before(fitted, tmp_path):
    folder = tmp_path / "run"
    left = pv.steps(small_vae(), X, validation=X, checkpoint=folder, **OPTIONS)
    for row in left.epochs():
        if row.epoch == 2:
            break
    left.close()
    resumed = pv.steps(small_vae(), X, validation=X, checkpoint=folder, resume=True, **OPTIONS)
    assert [row.epoch for row in resumed.epochs()] == [3]
    assert untimed(resumed.history) == untimed(fitted.history)


def test_leaving_the_loop_writes_a_checkpoint(tmp_path):
    for step in pv.steps(small_vae(), X, checkpoint=tmp_path, **OPTIONS):
        if step.index == 4:
            break
    assert checkpoints_in(tmp_path)[0].name == "checkpoint-0000000005.safetensors"
    for row in pv.steps(small_vae(), X, checkpoint=tmp_path, resume=True, **OPTIONS).epochs():
        assert row.epoch == 2
        break
    assert checkpoints_in(tmp_path)[0].name == "checkpoint-0000000006.safetensors"


def test_it_is_a_generator_whose_value_is_the_fit(fitted):
    def outer():
        return (yield from pv.steps(small_vae(), X, validation=X, **OPTIONS))

    running, ended = outer(), None
    while ended is None:
        try:
            next(running)
        except StopIteration as end:
            ended = end.value
    assert untimed(ended.history) == untimed(fitted.history)


def test_an_error_thrown_in_ends_it():
    running = pv.steps(small_vae(), X, **OPTIONS)
    next(running)
    with pytest.raises(KeyError, match="mine"):
        running.throw(KeyError("mine"))
    assert list(running) == []


def test_the_folder_of_checkpoints_stays_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    running = pv.steps(small_vae(), X, checkpoint="kept", **OPTIONS)
    next(running)
    monkeypatch.chdir("elsewhere")
    running.close()
    assert not (tmp_path / "elsewhere" / "kept").exists()
    assert [path.name for path in checkpoints_in(tmp_path / "kept")] == ["checkpoint-0000000001.safetensors"]
