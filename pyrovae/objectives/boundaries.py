"""Draws of a guide as the model sees them: values without a history, whose gradients are carried back by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyrovae.objectives.particles import frame_of


class Crossing(NamedTuple):
    """A draw on both sides of the boundary."""

    before: torch.Tensor  # as it was drawn: a function of the guide's parameters
    after: torch.Tensor  # a leaf of the same value


class Boundaries(Messenger):
    """Cut the history of every draw of a local site while guide and model run inside.

    It must stand outside all other handlers: the outermost sees a draw first, before it is noted anywhere.
    """

    def __init__(self, plate: str | None):
        super().__init__()
        self.plate = plate
        self.runs: list[dict[str, Crossing]] = []  # of one guide after the other, by site

    def _pyro_post_sample(self, msg: Any) -> None:
        value: Any = msg["value"]
        if msg["is_observed"] or site_is_subsample(msg) or not (self.plate is None or frame_of(msg, self.plate)):
            return
        if not value.requires_grad or self._is_known(msg["name"], value):
            return
        if not self.runs or msg["name"] in self.runs[-1]:
            self.runs.append({})
        leaf = value.detach().requires_grad_()
        self.runs[-1][msg["name"]] = Crossing(value, leaf)
        msg["value"] = leaf

    def _is_known(self, name: str, value: torch.Tensor) -> bool:
        """Whether a model replays what a guide drew."""
        return bool(self.runs) and name in self.runs[-1] and self.runs[-1][name].after is value

    def pulled_back(self, total: torch.Tensor) -> torch.Tensor | float:
        """A number whose gradient is that of `total` by way of the draws alone.

        What `total` owes to the parameters of a draw's own density, with the draw held, is left out; what it owes to
        an earlier draw by way of a later one's distribution is in.
        """
        leaves = [crossing.after for run in self.runs for crossing in run.values()]
        if not leaves or not total.requires_grad:
            return 0.0
        found = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
        gradients = {id(leaf): gradient for leaf, gradient in zip(leaves, found, strict=True)}
        for run in self.runs:
            _carry_back(list(run.values()), gradients)
        crossings = [crossing for run in self.runs for crossing in run.values()]
        pairs = [(gradients[id(crossing.after)], crossing.before) for crossing in crossings]
        return sum(((gradient * before).sum() for gradient, before in pairs if gradient is not None), 0.0)


def _carry_back(crossings: list[Crossing], gradients: dict[int, Any]) -> None:
    """Add to the gradients of earlier draws what they owe to later ones, the last first."""
    for place in range(len(crossings) - 1, 0, -1):
        before, after = crossings[place]
        earlier = [crossing.after for crossing in crossings[:place]]
        if gradients[id(after)] is None:
            continue
        found = torch.autograd.grad(before, earlier, gradients[id(after)], retain_graph=True, allow_unused=True)
        for leaf, gradient in zip(earlier, found, strict=True):
            if gradient is not None:
                known = gradients[id(leaf)]
                gradients[id(leaf)] = gradient if known is None else known + gradient
