"""What a trainer depends on beside its weights, as plain values and tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro

from pyrovae.training.trainer import Trainer

_PLAIN = (
    *("step", "epoch", "position", "sums", "rows", "seconds", "epoch_seconds", "first_elbos"),
    *("averages", "best", "best_bound"),
)


def trainer_state(trainer: Trainer) -> dict[str, Any]:
    """Everything that the next step depends on, but the weights and the random states; the history is apart."""
    return {
        **{name: getattr(trainer, name) for name in _PLAIN},
        "bad_epochs": trainer.bad_epochs,
        "optimiser": trainer.plan.optimiser.state(),
        "loss": {name: tensor.detach() for name, tensor in trainer.passes.shown.loss_state.items()},
        # An ELBO that guesses the depth of plates draws random numbers to do so, once.
        "depth": getattr(trainer.plan.loss, "max_plate_nesting", None),
        "alike": None if trainer.passes.alike is None else trainer.passes.alike.state,
        "aggressive": trainer.aggressive.state,
        "route": [list(switch) for switch in trainer.staging.switches],
        "temper": [[site, state] for site, state in trainer.plan.tempered.states.items()],
    }


def restore_trainer(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """The inverse of `trainer_state`."""
    for name in (*_PLAIN, "bad_epochs"):
        if not _alike(state[name], getattr(trainer, name)):
            raise TypeError(f"{name} is {state[name]!r}")
        setattr(trainer, name, state[name])
    trainer.averages, trainer.best = (
        {
            name: t.to(trainer.passes.shown.parameters[name].device) if name in trainer.passes.shown.parameters else t
            for name, t in held.items()
        }
        for held in (state["averages"], state["best"])
    )
    trainer.plan.optimiser.restore(state["optimiser"], trainer.passes.shown.parameters)
    trainer.plan.tempered.states = dict(state["temper"])
    trainer.plan.tempered.step = max(trainer.step - 1, 0)  # of the last step, where the row of its epoch is yet to come
    if trainer.passes.alike is not None and state["alike"] is not None:
        trainer.passes.alike.state = state["alike"]
    trainer.staging.repeat([(step, rows, route) for step, rows, route in state["route"]])
    trainer.aggressive.state = state.get("aggressive")  # older checkpoints have none
    store = pyro.get_param_store()
    for name, tensor in state["loss"].items():
        store.setdefault(name, tensor)
        store[name] = tensor
    trainer.passes.shown.loss_state = dict(state["loss"])


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are of one type, and so are those in a list."""
    lists = isinstance(one, list) and isinstance(other, list)
    return type(one) is type(other) and (not lists or list(map(type, one)) == list(map(type, other)))
