"""What a style of pair declares: how it is made and trained, and what of it is refused and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pyro.infer import ELBO, Trace_ELBO
from torch import nn

FUNCTIONS = (
    "elbo",
    "log_evidence",
    "log_evidence of all",
    "rate_distortion",
    "posterior",
    "posterior_predictive",
    "uncertainty",
    "save and load",
    "to_arviz",
)


class Made(NamedTuple):
    """A pair, the arguments of model and guide, and the modules that know train from eval mode."""

    pair: Any
    data: tuple
    modules: tuple[nn.Module, ...] = ()


@dataclass(frozen=True)
class Style:
    """One style; `make()` builds its pair anew, by the random numbers of the moment.

    Args:
        name: as the documentation calls it.
        make: the pair and its data.
        loss: the loss of its training.
        plate: the plate of its data, None where none holds them.
        say_plate: whether pyrovae has to be told that name.
        nesting: how many dims its plates take.
        enumerates: whether the model has sites that are summed out.
        batch: rows in a batch; None: all.
        steps: of a training whose guide is near the posterior.
        rate: the learning rate.
        draws: of every figure, on both sides.
        grid: draws of what all data share, and local draws for each, of the uncertainty.
        exact: the evidence in closed form, of each row or of the whole, given the parameters.
        refused: function (or "fit") -> words of the refusal, and why it is one for the page.
        route: "traced", or the words by which a graph is refused; and why, for the page.
    """

    name: str
    make: Callable[[], Made]
    loss: Callable[[], ELBO] = Trace_ELBO
    plate: str | None = "data"
    say_plate: bool = False
    nesting: int = 1
    enumerates: bool = False
    batch: int | None = None
    steps: int = 30
    rate: float = 0.05
    draws: int = 50
    grid: tuple[int, int] = (1, 30)
    exact: Callable[[Any, tuple], Any] | None = None
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    route: tuple[str, str] = ("traced", "")

    @property
    def option(self) -> dict[str, str]:
        """What pyrovae is told beside pair and data."""
        return {"data_plate": self.plate} if self.say_plate and self.plate else {}


SHARED = (30, 1)  # a grid for a pair whose latents all rows share

BOTH = (12, 3)  # and for one with latents of both kinds

STYLES: dict[str, Style] = {}


def style(name: str, **declared: Any):
    """Register the decorated maker."""

    def register(make: Callable[[], Made]) -> Callable[[], Made]:
        STYLES[make.__name__] = Style(name, make, **declared)
        return make

    return register
