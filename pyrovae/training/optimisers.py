"""One update of named parameters, by torch's optimisers or Pyro's."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol, cast

import torch
from pyro.optim.lr_scheduler import PyroLRScheduler
from pyro.optim.optim import PyroOptim, _get_state_dict, _load_state_dict

from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.objectives.schedules import evaluate

Rate = float | Callable[[int], float]

Parameters = Mapping[str, torch.Tensor]

DEFAULT_RATE = 1e-3  # Adam's own default, and the one of nearly every published VAE


class Optimiser(Protocol):
    """What the training loop asks of an optimiser."""

    def update(self, parameters: Parameters, step: int) -> None:
        """Move the parameters by their gradients."""

    def end_epoch(self, loss: float) -> None:
        """Tell a scheduler that an epoch is over."""

    def state(self) -> Any:
        """All that the next update depends on, as a tree of plain values and tensors."""

    def restore(self, state: Any, parameters: Parameters) -> None:
        """Go on from a state, with parameters of the same names."""

    def learning_rate(self) -> float:
        """The rate of the last update: of the first group, where there are several."""
        ...

    def check_names(self, names: list[str]) -> None:
        """Refuse settings by name that fit no parameter."""

    def frozen(self, name: str) -> bool:
        """Whether a parameter takes no part at all."""
        ...

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The torch optimisers behind it."""
        ...

    def set_rates(self, step: int) -> None:
        """Give each group its rate of a step."""

    def only_steps(self) -> bool:
        """Whether an update is nothing but the steps of its torch optimisers."""
        ...


def make_optimiser(optim: Any, learning_rate: Rate | Mapping[str, Rate] | None) -> Optimiser:
    """The optimiser for what the user gave: nothing, a function of parameters, or one of Pyro's."""
    with warnings.catch_warnings():  # torch's optimisers import it, and with it SymPy, which leaves a filter
        importlib.import_module("torch._dynamo")
    if isinstance(optim, PyroOptim):
        refuse_closures(optim.pt_optim_constructor)
        if learning_rate is not None:
            raise ArgumentError(
                "learning_rate and a pyro.optim optimiser were both given; the optimiser holds its own: "
                'leave learning_rate out, or set it there ({"lr": ...}).'
            )
        return PyroOptimiser(optim)
    if optim is None:
        return TorchOptimiser(_adam, DEFAULT_RATE if learning_rate is None else learning_rate)
    if not callable(optim) or isinstance(optim, torch.optim.Optimizer):
        raise ArgumentError(
            f"optim is {type(optim).__name__}; give a pyro.optim optimiser, or a function of the parameters: "
            "optim=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)."
        )
    return TorchOptimiser(cast(Any, optim), learning_rate)


def refuse_closures(kind: Any) -> None:
    """LBFGS evaluates the loss several times a step, on random numbers that would have to stay the same."""
    if isinstance(kind, type) and issubclass(kind, torch.optim.LBFGS):
        raise ArgumentError("optim is LBFGS, which needs a loss without noise; take Adam or SGD, say.")


def _adam(groups: Any) -> torch.optim.Optimizer:
    # One fused kernel for all parameters; some devices and types lack it.
    try:
        return torch.optim.Adam(groups, fused=all(p.is_floating_point() for p in groups))
    except RuntimeError:
        return torch.optim.Adam(groups)


class TorchOptimiser:
    """One torch optimiser over all parameters, in groups of one learning rate."""

    def __init__(self, make: Callable[[Any], torch.optim.Optimizer], rate: Rate | Mapping[str, Rate] | None):
        self.make = make
        self.rates = dict(rate) if isinstance(rate, Mapping) else rate
        self.optimizer: torch.optim.Optimizer | None = None
        self.groups: list[list[str]] = []  # names in each group of the optimizer
        self._known: dict[str, torch.Tensor] = {}
        self._patterns: list[str] = []  # the pattern whose rate each group follows; "" where none fits
        for value in self.rates.values() if isinstance(self.rates, dict) else [self.rates]:
            if value is not None:
                evaluate(value, 0)

    def update(self, parameters: Parameters, step: int) -> None:
        """Move the parameters by their gradients, at the rate of this step."""
        new = {name: p for name, p in parameters.items() if self._known.get(name) is not p}
        if new:
            self._add({name: p for name, p in new.items() if not self._replace(name, p)})
        if self.optimizer is not None:
            self.set_rates(step)
            self.optimizer.step()

    def _replace(self, name: str, parameter: torch.Tensor) -> bool:
        """Train a tensor that was put in the place of another one, by the user say; False if it is new."""
        old = self._known.get(name)
        for group in self.optimizer.param_groups if self.optimizer is not None and old is not None else ():
            for place, tensor in enumerate(group["params"]):
                if tensor is old:
                    group["params"][place] = self._known[name] = parameter
                    self.optimizer.state.pop(old, None)  # type: ignore[union-attr]
                    return True
        return False

    def end_epoch(self, loss: float) -> None:
        """Nothing: schedules of this optimiser go by steps."""

    def learning_rate(self) -> float:
        """The rate of the first group."""
        return float(self.optimizer.param_groups[0].get("lr", math.nan)) if self.optimizer else math.nan

    def frozen(self, name: str) -> bool:
        """Whether a parameter's rate is the number 0: it then takes no part at all."""
        rate = self.rates.get(self._pattern(name)) if isinstance(self.rates, dict) else self.rates
        return isinstance(rate, int | float) and rate == 0

    def check_names(self, names: list[str]) -> None:
        """Refuse a pattern that fits no parameter."""
        for pattern in self.rates if isinstance(self.rates, dict) else ():
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ArgumentError(
                    f"learning_rate names {pattern!r}, which fits no parameter. The parameters are {', '.join(names)}."
                )
            if not any(self._pattern(name) == pattern for name in names):
                raise ArgumentError(
                    f"learning_rate names {pattern!r}, but earlier patterns fit all of its parameters, and the first "
                    "that fits decides. Put it before them."
                )

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The one optimiser of all groups."""
        return [self.optimizer] if self.optimizer is not None else []

    def only_steps(self) -> bool:
        """Always: an update is the step of torch's own optimizer."""
        return True

    def state(self) -> Any:
        """Groups by name, and the optimizer's own state."""
        if self.optimizer is None:
            return None
        return {"groups": self.groups, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: Any, parameters: Parameters) -> None:
        """Build the same groups again and load the state into them."""
        if state is None:
            return
        for names in state["groups"]:
            self._add_group(names, parameters)
        assert self.optimizer is not None
        self.optimizer.load_state_dict(state["optimizer"])

    def group_of(self, name: str) -> Any:
        """What parameters of one group have in common."""
        return self._pattern(name)

    def _pattern(self, name: str) -> str:
        patterns = self.rates if isinstance(self.rates, dict) else ()
        return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), "")

    def _add(self, new: Parameters) -> None:
        """Put new parameters into groups; those that appear later get groups of their own."""
        by_group: dict[Any, list[str]] = {}
        for name in new:
            by_group.setdefault(self.group_of(name), []).append(name)
        for names in by_group.values():
            self._add_group([name for name in names if not self.frozen(name)], new)
        self._known.update(new)

    def _add_group(self, names: list[str], parameters: Parameters) -> None:
        if not names:
            return
        tensors = [parameters[name] for name in names]
        if self.optimizer is None:
            self.optimizer = self.make(tensors)
            if not isinstance(self.optimizer, torch.optim.Optimizer):
                raise ArgumentError(f"optim returned {type(self.optimizer).__name__}, not a torch.optim.Optimizer.")
            refuse_closures(type(self.optimizer))
            held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
            if not any(id(p) in held for p in tensors):
                raise ArgumentError("optim returned an optimizer of other parameters; build it of those it is given.")
        else:
            defaults = {k: v for k, v in self.optimizer.param_groups[0].items() if k != "params"}
            self.optimizer.add_param_group({**defaults, "params": tensors})
        self.groups.append(list(names))
        self._patterns.append(self._pattern(names[0]))
        self._known.update(zip(names, tensors, strict=True))

    def set_rates(self, step: int) -> None:
        """Give each group its rate of this step."""
        assert self.optimizer is not None
        if self.rates is None:
            return  # the user's function set its own
        groups = self.optimizer.param_groups
        if len(groups) != len(self._patterns) and isinstance(self.rates, dict):
            raise ArgumentError(
                f"optim makes groups of its own and {argument('learning_rate')} is given by name; set the rates in "
                "one place."
            )
        patterns = self._patterns if len(groups) == len(self._patterns) else [""] * len(groups)
        for group, pattern in zip(groups, patterns, strict=True):
            rate = self.rates.get(pattern, DEFAULT_RATE) if isinstance(self.rates, dict) else self.rates
            group["lr"] = evaluate(rate, step)


class PyroOptimiser:
    """One of Pyro's optimisers: a torch optimizer for each parameter."""

    def __init__(self, optim: PyroOptim):
        self.optim = optim
        self._names: dict[str, torch.Tensor] = {}

    def update(self, parameters: Parameters, step: int) -> None:
        """Move the parameters by their gradients."""
        self._names.update(parameters)
        self.optim(list(parameters.values()))  # type: ignore[arg-type]

    def end_epoch(self, loss: float) -> None:
        """Step Pyro's learning-rate schedulers, which count epochs."""
        if isinstance(self.optim, PyroLRScheduler):
            constructor = self.optim.pt_scheduler_constructor
            plateau = constructor is torch.optim.lr_scheduler.ReduceLROnPlateau
            self.optim.step(loss) if plateau else self.optim.step()

    def learning_rate(self) -> float:
        """The rate of the first parameter."""
        optimizer = next(iter(self.optim.optim_objs.values()), None)
        optimizer = getattr(optimizer, "optimizer", optimizer)
        return float(optimizer.param_groups[0].get("lr", math.nan)) if optimizer is not None else math.nan

    def frozen(self, name: str) -> bool:
        """Never: Pyro's optimisers freeze by requires_grad_(False)."""
        return False

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """One for each parameter, behind its scheduler."""
        return [getattr(held, "optimizer", held) for held in self.optim.optim_objs.values()]

    def set_rates(self, step: int) -> None:
        """Nothing: the rates stand in the optimisers."""

    def only_steps(self) -> bool:
        """Not where Pyro clips each gradient first, or where schedules may part."""
        if isinstance(self.optim, PyroLRScheduler) and callable(self.optim.pt_optim_args):
            return False
        return not any(self.optim.grad_clip.get(p) for p in self._names.values())

    def check_names(self, names: list[str]) -> None:
        """Nothing to check: Pyro's optimisers ask a function for each name."""

    def state(self) -> Any:
        """The state of each parameter's optimizer and scheduler, by canonical name."""
        objects = self.optim.optim_objs
        return {name: _get_state_dict(objects[p]) for name, p in self._names.items() if p in objects}

    def restore(self, state: Any, parameters: Parameters) -> None:
        """Build each parameter's optimizer and load its state."""
        for name, entry in state.items():
            if name not in parameters:
                raise PairError(f"the checkpoint holds optimiser state for {name!r}, which this pair does not have.")
            tensor = parameters[name]
            self.optim.optim_objs[tensor] = self.optim._get_optim(tensor)  # type: ignore[arg-type]
            self.optim.grad_clip[tensor] = self.optim._get_grad_clip(tensor)  # type: ignore[arg-type]
            _load_state_dict(self.optim.optim_objs[tensor], entry)
            scheduled = getattr(self.optim.optim_objs[tensor], "optimizer", None)
            if scheduled is not None:
                scheduled._opt_called = True  # else torch warns of a scheduler that steps first
            self._names[name] = tensor
