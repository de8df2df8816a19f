"""The update that follows a staged pass: for Adam and AdamW one kernel over all parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import torch

Gradients = Sequence[torch.Tensor]


class Update(Protocol):
    """What moves the parameters."""

    def __call__(self, gradients: Gradients, step: int, bad: torch.Tensor | None) -> None:
        """Make one step; none where the tensor `bad` is 1."""

    def holds(self) -> bool:
        """Whether the optimiser is as it was when this update was made of it."""
        ...


# A weight whose gradient stays 0 (a dead unit's, say) has moments that shrink into subnormal numbers, stick there, and
# make the kernel four times as slow: 407 instead of 93 microseconds at 217,000 weights, a quarter of them dead.
_CLEANED_EVERY = 64

_LEAST = torch.finfo(torch.float32).tiny

_LARGEST = 1e-20  # of what counts as 0: against a weight of 1e-3 no float shows the difference


# What of a group's settings the kernel takes as it is.
_SETTINGS = ("betas", "weight_decay", "eps", "maximize", "decoupled_weight_decay")

_shared = itemgetter(*_SETTINGS, "lr")


class Kept(NamedTuple):
    """What of an optimiser an update relies on for one parameter."""

    adam: torch.optim.Optimizer
    groups: list[dict[str, Any]]
    parameter: torch.Tensor
    state: Mapping[str, Any]
    group: Mapping[str, Any]
    size: int  # parameters of the group
    lead: Mapping[str, Any]  # the group whose settings the kernel takes


class Group(NamedTuple):
    """Parameters of one setting, with the state that their optimiser keeps."""

    settings: Mapping[str, Any]  # the live dictionary, whose learning rate may be changed
    places: list[int]  # of the gradients
    parameters: list[torch.Tensor]
    first: list[torch.Tensor]
    second: list[torch.Tensor]
    counts: list[torch.Tensor]


class Fused:
    """Adam over all parameters at once, on the optimiser's own state, without its Python.

    `update(gradients, step, bad)` makes no step where the tensor `bad` is 1.
    """

    def __init__(self, optimiser: Any, live: Mapping[str, torch.Tensor]):
        self.optimiser = optimiser
        self.groups: dict[tuple, Group] = {}
        self._kept: list[Kept] = []
        self._many = len(optimiser.optimizers()) > 1
        place = {id(parameter): number for number, parameter in enumerate(live.values())}
        for adam, group, parameter in _held(optimiser):
            if id(parameter) in place:
                lead = self._add(group, parameter, adam.state[parameter], place[id(parameter)])
                state, size = adam.state[parameter], len(group["params"])
                self._kept.append(Kept(adam, adam.param_groups, parameter, state, group, size, lead))

    def _add(self, group: Mapping[str, Any], parameter: torch.Tensor, state: Mapping[str, Any], place: int) -> Any:
        # Groups of one optimiser may come to differ. Pyro's have one for each parameter; equal ones are one.
        equal = (*(group[name] for name in _SETTINGS), float(group["lr"]))
        key = (equal if self._many else id(group), parameter.dtype, parameter.device)
        into = self.groups.setdefault(key, Group(group, [], [], [], [], []))
        into.places.append(place)
        into.parameters.append(parameter)
        into.first.append(state["exp_avg"])
        into.second.append(state["exp_avg_sq"])
        into.counts.append(state["step"])
        return into.settings

    def holds(self) -> bool:
        """Whether it is still the optimiser's own state, and its groups still agree; its owner may change both."""
        return all(
            adam.param_groups is groups
            and not (adam._optimizer_step_pre_hooks or adam._optimizer_step_post_hooks or group["amsgrad"])
            and adam.state.get(parameter) is state
            and len(group["params"]) == size
            and (group is lead or _shared(group) == _shared(lead))
            for adam, groups, parameter, state, group, size, lead in self._kept
        )

    def __call__(self, gradients: Gradients, step: int, bad: torch.Tensor | None) -> None:
        """Make one step."""
        self.optimiser.set_rates(step)
        for settings, places, parameters, first, second, counts in self.groups.values():
            kernel = torch._fused_adamw_ if settings["decoupled_weight_decay"] else torch._fused_adam_  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_add_(counts, 1.0)  # pyright: ignore[reportPrivateImportUsage]
            kernel(
                parameters,
                [gradients[place] for place in places],
                first,
                second,
                [],
                counts,
                lr=settings["lr"],
                beta1=settings["betas"][0],
                beta2=settings["betas"][1],
                weight_decay=settings["weight_decay"],
                eps=settings["eps"],
                amsgrad=False,
                maximize=settings["maximize"],
                grad_scale=None,
                found_inf=bad,
            )
            if bad is not None:
                torch._foreach_sub_(counts, [bad] * len(counts))  # pyright: ignore[reportPrivateImportUsage]
        if step % _CLEANED_EVERY == 0:
            self._clean()

    @torch.no_grad()
    def _clean(self) -> None:
        """Make moments 0 that would be subnormal before the next time; devices are as fast with them."""
        for settings, _, _, first, second, _ in self.groups.values():
            moments = [(first, settings["betas"][0])]
            if settings["eps"] > _LARGEST:  # else the kernel would divide by 0
                moments.append((second, settings["betas"][1]))
            for tensors, decay in moments:
                for tensor in tensors:
                    if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
                        tensor.mul_(tensor.abs() > _nothing(float(decay)))


def _nothing(decay: float) -> float:
    """The size from which a moment that only decays is subnormal before it is looked at again."""
    return min(_LEAST / max(decay**_CLEANED_EVERY, _LEAST), _LARGEST)


def _held(optimiser: Any) -> Iterator[tuple[torch.optim.Optimizer, dict[str, Any], torch.Tensor]]:
    """Each parameter with its torch optimiser and its group."""
    for adam in optimiser.optimizers():
        for group in adam.param_groups:
            for parameter in group["params"]:
                yield adam, group, parameter


def may_fuse(optimiser: Any, live: Mapping[str, torch.Tensor]) -> bool:
    """Whether an update is Adam's or AdamW's over all of these parameters, with nothing hooked to it."""
    held = {id(parameter): (adam, group) for adam, group, parameter in _held(optimiser)}
    return optimiser.only_steps() and all(id(p) in held and _is_adam(*held[id(p)], p) for p in live.values())


def _is_adam(adam: torch.optim.Optimizer, group: Mapping[str, Any], parameter: torch.Tensor) -> bool:
    if type(adam) not in (torch.optim.Adam, torch.optim.AdamW):
        return False
    state: Any = adam.state.get(parameter, {})
    hooked = adam._optimizer_step_pre_hooks or adam._optimizer_step_post_hooks
    special = any(group[name] for name in ("amsgrad", "capturable", "differentiable"))
    # Elsewhere the kernel counts on the device, where this optimiser does not.
    near = parameter.device.type == "cpu" or group["fused"]
    return not hooked and not special and near and "exp_avg" in state and parameter.is_floating_point()


def make_update(optimiser: Any, live: Mapping[str, torch.Tensor]) -> Update:
    """The fastest way to the same update.

    Args:
        optimiser: the training's.
        live: the parameters, in the order of the gradients to come; each has been updated once.
    """
    return Fused(optimiser, live) if may_fuse(optimiser, live) else Stepped(optimiser, live)


class Stepped:
    """The optimiser's own step."""

    def __init__(self, optimiser: Any, live: Mapping[str, torch.Tensor]):
        self.optimiser = optimiser
        self.live = live
        # Without any state, which its owner has cleared, nobody can tell whether it could be one kernel.
        self._settled = all(adam.state for adam in optimiser.optimizers())

    def holds(self) -> bool:
        """Whether the optimiser had any state."""
        return self._settled

    def __call__(self, gradients: Gradients, step: int, bad: torch.Tensor | None) -> None:
        """Make one step."""
        if bad is not None and bool(bad):
            return
        for parameter, gradient in zip(self.live.values(), gradients, strict=True):
            parameter.grad = gradient
        self.optimiser.update(self.live, step)
        for parameter in self.live.values():
            parameter.grad = None
