"""The update that follows a staged pass: for the default optimiser one kernel over all parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Gradients = Sequence[torch.Tensor]
Update = Callable[[Gradients, int, torch.Tensor | None], None]


class Fused:
    """Adam over all parameters at once, on the optimiser's own state, without its Python.

    `update(gradients, step, bad)` makes no step where the tensor `bad` is 1.
    """

    def __init__(self, optimiser: Any, live: Mapping[str, torch.Tensor]):
        self.optimiser = optimiser
        place = {id(parameter): number for number, parameter in enumerate(live.values())}
        self.groups = []
        for group in optimiser.optimizer.param_groups:
            parameters = [p for p in group["params"] if id(p) in place]
            states = [optimiser.optimizer.state[p] for p in parameters]
            lists = ([s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], [s["step"] for s in states])
            self.groups.append((group, [place[id(p)] for p in parameters], parameters, *lists))

    def __call__(self, gradients: Gradients, step: int, bad: torch.Tensor | None) -> None:
        """Make one step."""
        self.optimiser.set_rates(step)
        for group, places, parameters, first, second, counts in self.groups:
            torch._foreach_add_(counts, 1.0)  # pyright: ignore[reportPrivateImportUsage]
            torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
                parameters,
                [gradients[place] for place in places],
                first,
                second,
                [],
                counts,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=group["maximize"],
                grad_scale=None,
                found_inf=bad,
            )
            if bad is not None:
                torch._foreach_sub_(counts, [bad] * len(counts))  # pyright: ignore[reportPrivateImportUsage]


def is_fused_adam(optimiser: Any, live: Mapping[str, torch.Tensor]) -> bool:
    """Whether an optimiser is torch's fused Adam over all of these parameters, with nothing hooked to it."""
    adam = getattr(optimiser, "optimizer", None)
    if type(adam) is not torch.optim.Adam or adam._optimizer_step_pre_hooks or adam._optimizer_step_post_hooks:
        return False
    groups = adam.param_groups
    known = {id(p) for group in groups for p in group["params"]}
    return all(g["fused"] and not g["amsgrad"] and not g["decoupled_weight_decay"] for g in groups) and all(
        id(p) in known and "exp_avg" in adam.state.get(p, {}) for p in live.values()
    )


def make_update(optimiser: Any, live: Mapping[str, torch.Tensor]) -> Update:
    """The fastest way to the same update.

    Args:
        optimiser: the training's.
        live: the parameters, in the order of the gradients to come; each has been updated once.
    """
    if is_fused_adam(optimiser, live):
        return Fused(optimiser, live)

    def update(gradients: Gradients, step: int, bad: torch.Tensor | None) -> None:
        if bad is not None and bool(bad):
            return
        for parameter, gradient in zip(live.values(), gradients, strict=True):
            parameter.grad = gradient
        optimiser.update(live, step)
        for parameter in live.values():
            parameter.grad = None

    return update
