"""An optimiser under which the model's own parameters rest for some steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, argument
from pyrovae.objectives.adversarial import discriminators
from pyrovae.objectives.aggressive import Aggressive
from pyrovae.pairs.fixed_plate import FixedPlate
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import run, samples, unconstrained
from pyrovae.training.optimisers import TorchOptimiser


class RestingOptimiser(TorchOptimiser):
    """One torch optimiser whose rates are 0 for the parameters that rest at a step; their moments go on.

    Attributes:
        resting: names of parameters that rest with the model.
        ahead: whether the guide still goes ahead.
    """

    def __init__(self, make: Callable[[Any], torch.optim.Optimizer], aggressive: Aggressive):
        super().__init__(make, aggressive.rate)
        self.aggressive = aggressive
        self.resting: frozenset[str] = frozenset()
        self.ahead = True

    def group_of(self, name: str) -> tuple[str, bool]:
        """Parameters that rest are groups of their own."""
        return self._pattern(name), name in self.resting

    def set_rates(self, step: int) -> None:
        """Give each group its rate of this step, 0 where it rests."""
        super().set_rates(step)
        assert self.optimizer is not None
        groups = self.optimizer.param_groups
        if len(groups) != len(self.groups):
            raise ArgumentError("optim makes groups of its own, of which none is the model's: leave pv.Aggressive out.")
        if self.ahead and self.aggressive.rests(step):
            for group, names in zip(groups, self.groups, strict=True):
                if names[0] in self.resting:
                    group["lr"] = 0.0

    def learning_rate(self) -> float:
        """The rate of the first group that never rests."""
        groups = self.optimizer.param_groups if self.optimizer is not None else []
        return next((float(g["lr"]) for g, names in zip(groups, self.groups, strict=False)
                     if names[0] not in self.resting), super().learning_rate())  # fmt: skip


def let_model_rest(optimiser: Any, pair: HasPair, structure: Structure, batch: Batch) -> None:
    """Find out which parameters are the model's own, where these are to rest.

    Raises:
        ArgumentError: there are none, or no others; or a discriminator takes turns already.
    """
    if not isinstance(optimiser, RestingOptimiser):
        return
    if discriminators(pair):
        raise ArgumentError("pv.Aggressive: the steps of this pair and of its discriminator take turns already.")
    mine = _of_the_guide(FixedPlate(pair, structure.data_plate), batch.args, batch.kwargs)
    names = {name for name, parameter in structure.parameters.items() if parameter.requires_grad}
    optimiser.resting = frozenset(names - mine)
    if not names & mine or not optimiser.resting:
        side = "guide" if not names & mine else "model"
        raise ArgumentError(
            f"{argument('learning_rate')} is pv.Aggressive, and the {side} has no parameters of its own: give the rate "
            "itself."
        )


def _of_the_guide(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> set[str]:
    """The parameters that draws and densities of the guide depend on."""
    with isolated(0), torch.enable_grad():
        traces = run(pair, args, kwargs)
        sides = (traces.guide, traces.model)
        found = {name: unconstrained(node["value"]) for trace in sides for name, node in trace.nodes.items()
                 if node["type"] == "param"}  # fmt: skip
        total = torch.zeros(())
        for _, node in samples(traces.guide):
            total = total + node["fn"].log_prob(node["value"]).sum()
            if node["value"].requires_grad:
                total = total + node["value"].sum()
        if not total.requires_grad:
            return set()
        values = list(found.values())
        gradients = torch.autograd.grad(total, values, allow_unused=True)
    names = canonical(found)
    return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
