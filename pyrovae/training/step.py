"""One optimiser step, as `steps` yields it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pyrovae.training.epoch import Weight


class Step:
    """One optimiser step; all figures per datum, `elbo`, `rate` and `distortion` without temper.

    On CUDA the figures wait on the device until one of them is asked for; asking at every step makes the
    device wait for Python at every step.

    Attributes:
        index: the step's number, from 0.
        epoch: the epoch's number, from 0.
        loss: the objective that was minimised, weights included.
        elbo: `-(rate + distortion)`.
        rate: the Kullback-Leibler part.
        distortion: minus the log-likelihood.
        weight: of the rate in this step.
        learning_rate: of this step.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> [step.index for step in pv.steps(vae, torch.randn(64, 5), steps=3, batch_size=32, seed=0)]
        [0, 1, 2]
    """

    __slots__ = ("_figures", "_read", "epoch", "index", "learning_rate", "weight")

    def __init__(
        self, index: int, epoch: int, weight: Weight, learning_rate: float, read: Callable[[], None] | None = None
    ):
        self.index = index
        self.epoch = epoch
        self.weight = weight
        self.learning_rate = learning_rate
        self._read = read  # reads the figures of all steps that wait
        self._figures: tuple[float, float, float, float] | None = None

    @property
    def loss(self) -> float:  # noqa: D102 - described above
        return self._at(0)

    @property
    def elbo(self) -> float:  # noqa: D102
        return self._at(1)

    @property
    def rate(self) -> float:  # noqa: D102
        return self._at(2)

    @property
    def distortion(self) -> float:  # noqa: D102
        return self._at(3)

    def give(self, figures: Sequence[float]) -> None:
        """Take in loss, ELBO, rate and distortion."""
        loss, elbo, rate, distortion = figures
        self._figures = loss, elbo, rate, distortion

    def _at(self, place: int) -> float:
        if self._figures is None:
            assert self._read is not None
            self._read()
        assert self._figures is not None
        return self._figures[place]

    def __repr__(self) -> str:
        shown = f"loss={self.loss:.6g}, elbo={self.elbo:.6g}, rate={self.rate:.6g}, distortion={self.distortion:.6g}"
        return f"Step(index={self.index}, epoch={self.epoch}, {shown})"


class DeferredFigure(NamedTuple):
    """A figure of a step that is read only when somebody wants to see it."""

    step: Step
    name: str

    def __float__(self) -> float:
        return float(getattr(self.step, self.name))


def progress_figures(step: Step) -> dict[str, DeferredFigure]:
    """The figures of a progress line."""
    return {name: DeferredFigure(step, name) for name in ("loss", "elbo", "rate")}
