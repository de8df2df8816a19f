"""The states of random generators as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyrovae.data.batches import Batches
from pyrovae.pairs.looks.isolation import RandomState


def random_tree() -> dict[str, Any]:
    """The states of all random generators, as plain values and tensors."""
    state = RandomState.capture()
    return {**state._asdict(), "cuda": list(state.cuda)}


def restore_random(tree: Mapping[str, Any]) -> None:
    """Put the states of all random generators back, those of CUDA where there is one."""
    there = torch.cuda.is_available()
    RandomState(**{**tree, "cuda": tree["cuda"] if there else []}).restore()


def generator_states(batches: Batches) -> list[torch.Tensor]:
    """The states of the generators that the data hold themselves."""
    return [generator.get_state() for generator in batches.generators]


def set_generator_states(batches: Batches, states: list[torch.Tensor]) -> None:
    """Put the states of the data's own generators back."""
    for generator, state in zip(batches.generators, states, strict=True):
        generator.set_state(state)
