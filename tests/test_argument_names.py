"""Sentences call the data of a pair as its model's signature does, and by number where that says nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.data.batches import as_batches
from pyrovae.pairs.argument_names import argument_words, asked

VAE = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
GIVEN = pv.ConditionalVAE(
    pv.StandardNormal(2), pv.Normal(pv.MLP([2, 1], [], 3), scale=1.0), pv.DiagNormal(pv.MLP([3, 1], [], 4)), condition=1
)


def hidden(*rows):
    return VAE.model(*rows)


UNNAMED = pv.Pair(hidden, lambda *rows: VAE.guide(*rows))
HOLED = torch.ones(6, 3)
HOLED[4, 1] = torch.nan


@pytest.mark.parametrize(
    ("pair", "called"),
    [(VAE, "argument 'x'"), (pv.temper(pv.free_bits(VAE, {"z": 0.1}), 0.5), "argument 'x'"), (UNNAMED, "argument 0")],
)
def test_data_are_called_as_the_model_calls_them(pair, called):
    with pytest.raises(pv.DataError, match=f"^{called} has NaN or infinity in 1 of 6 rows"):
        pv.fit(pair, HOLED, epochs=1, progress=False)
    with pytest.raises(pv.DataError, match=f"^{called} has NaN or infinity in 1 of 6 rows"):
        next(iter(pv.steps(pair, HOLED, epochs=1)))
    with pytest.raises(pv.DataError, match=f"{called} holds objects|{called}"):
        pv.encode(pair, np.array([["a"]] * 4))


def test_the_second_argument_has_its_own_name():
    with pytest.raises(pv.DataError, match="argument 'x' has 6, argument 'c' has 5"):
        pv.encode(GIVEN, torch.ones(6, 3), torch.ones(5, 1))


def test_a_part_that_fails_in_a_check_has_the_name_of_its_place():
    with pytest.raises(pv.DataError, match="'c'") as caught:
        pv.check_pair(GIVEN, torch.ones(4, 3), np.array([["a"]] * 4))
    assert "'x'" not in str(caught.value)


def test_in_a_loop_of_steps_and_by_a_transform():
    with pytest.raises(pv.ArgumentError, match="argument 'x', argument 1 for argument 'x'"):
        list(pv.steps(VAE, torch.ones(6, 3), steps=3, transform=lambda x: (x, x)))
    seen: list[int] = []

    def late(x):
        seen.append(len(x))
        return x if len(seen) < 12 else (x, x)

    steps = pv.steps(VAE, torch.ones(6, 3), steps=40, batch_size=3, transform=late)
    with pytest.raises(pv.ArgumentError, match="argument 'x', argument 1 for argument 'x'"):
        list(steps)


def test_arrays_by_themselves_have_numbers():
    assert argument_words(0) == "argument 0"
    with asked(VAE):
        assert [argument_words(name) for name in (0, 1, "w")] == ["argument 'x'", "argument 1", "argument 'w'"]
        with asked(3):  # no pair: whose data they are is known from before
            assert argument_words(0) == "argument 'x'"
    assert argument_words(0) == "argument 0"
    with pytest.raises(pv.DataError, match="argument 0 has 3, argument 1 has 4"):
        as_batches((torch.ones(3), np.ones(4)))
