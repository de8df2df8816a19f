"""A style trained by a plain SVI loop, and by `fit` on the same batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyro
import torch
from pyro.infer import SVI
from pyro.optim import Adam

import pyrovae as pv
from pyrovae.data.batches import as_batches
from pyrovae.pairs.fixed_plate import FixedPlate
from styles.style import Made, Style

SEED = 3


class Training(NamedTuple):
    """Losses of the steps, parameters at the end, and the pair."""

    losses: list[float]
    parameters: dict[str, torch.Tensor]
    made: Made
    route: str = ""


def fresh(style: Style) -> Made:
    """The pair, made anew, by the same random numbers each time."""
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    return style.make()


def parameters() -> dict[str, torch.Tensor]:
    """What Pyro's store holds."""
    return {name: value.detach().clone() for name, value in pyro.get_param_store().items()}


def plain(style: Style, steps: int) -> Training:
    """An SVI loop over the batches of `fit`."""
    made = fresh(style)
    pyro.set_rng_seed(SEED)
    fixed = FixedPlate(made.pair, style.plate)  # the rows of a batch in a plate that subsamples
    svi = SVI(fixed.model, fixed.guide, Adam({"lr": style.rate}), style.loss())
    losses = []
    for args, index in _batches(style, made.data, steps):
        fixed.index = index
        losses.append(svi.step(*args))
    return Training(losses, parameters(), made)


def _batches(style: Style, data: tuple, steps: int) -> list[tuple[tuple, Any]]:
    if style.batch is None:
        return [(data, None)] * steps
    batches, found = as_batches(data, batch_size=style.batch, seed=SEED), []
    for epoch in range(steps):
        found += [(batch.args, batch.positions) for batch in batches.epoch(epoch)]
        if len(found) >= steps:
            break
    return found[:steps]


def fitted(style: Style, steps: int, *, staged: bool | str) -> Training:
    """The same by pyrovae; losses are those of the data, as Pyro's are."""
    made, losses = fresh(style), []
    options: Any = {"optim": Adam({"lr": style.rate}), "loss": style.loss(), "seed": SEED, "device": "cpu"}
    options |= {"batch_size": style.batch} if style.batch else {}
    iterator = pv.steps(made.pair, made.data, steps=steps, staged=staged, **options, **style.option)
    losses = [step.loss for step in iterator]
    return Training(losses, parameters(), made, iterator.result.route)
