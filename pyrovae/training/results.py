"""What a training leaves behind: steps, epochs, and the fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pyrovae.evaluation.active_units import ActiveUnits


Weight = float | dict[str, float]


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


class Later(NamedTuple):
    """A figure of a step that is read only when somebody wants to see it."""

    step: Step
    name: str

    def __float__(self) -> float:
        return float(getattr(self.step, self.name))


def seen_later(step: Step) -> dict[str, Later]:
    """The figures of a progress line."""
    return {name: Later(step, name) for name in ("loss", "elbo", "rate")}


class Epoch(NamedTuple):
    """The averages over the data of one epoch, and the figures of the validation data after it.

    `elbo = -(rate + distortion)` in nats per datum, without temper; `loss` is the objective that was
    minimised, weights included, per datum.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> row = pv.fit(vae, torch.randn(64, 5), epochs=2, seed=0, progress=False).history[-1]
        >>> row.epoch, abs(row.elbo + row.rate + row.distortion) < 1e-5
        (2, True)
    """

    epoch: int
    step: int
    loss: float
    elbo: float
    rate: float
    distortion: float
    weight: Weight
    learning_rate: float
    validation_elbo: float | None
    validation_rate: float | None
    validation_distortion: float | None
    seconds: float


@dataclass(frozen=True)
class Fit:
    """The result of a training; the pair was trained in place and is the same object.

    Args:
        pair: the trained pair.
        history: one row an epoch.
        weights: what the parameters hold now: "last", "average" or "best".
        reason: why it ended: "finished", "patience" or "interrupted".
        step: optimiser steps made in all.
        seconds: time spent in all.
        seed: the seed that was used, drawn from the caller's generator if none was given.
        active: for each local latent site, how many of its dimensions are used.
        checkpoint: the last checkpoint's path.
        route: how the steps were made (plain, traced, compiled) and why, in one line.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> run = pv.fit(vae, torch.randn(64, 5), epochs=2, seed=0, progress=False)
        >>> run.reason, run.weights, run.step, run.pair is vae
        ('finished', 'last', 2, True)
    """

    pair: Any = field(repr=False)
    history: tuple[Epoch, ...] = field(repr=False)
    weights: str
    reason: str
    step: int
    seconds: float
    seed: int
    active: dict[str, ActiveUnits] = field(repr=False)
    checkpoint: Path | None = None
    route: str = ""

    @property
    def verdict(self) -> str:
        """What the curves say, in words."""
        return " ".join([*curve_verdict(self.history), *(active_verdict(*item) for item in self.active.items())])

    @property
    def troubled(self) -> bool:
        """Whether the posterior has collapsed or the loss diverged."""
        return any(word in self.verdict for word in ("Collapsed", "Diverged"))

    def plot(self) -> Any:
        """Draw ELBO, rate and distortion over the epochs.

        Returns:
            A matplotlib `Figure`.
        """
        return plot(self.history)


def curve_verdict(history: tuple[Epoch, ...]) -> list[str]:
    """Sentences on a learning curve: diverged, overfitting, still improving, or levelled off."""
    if len(history) < 4:
        return (
            [f"{len(history)} {'epoch is' if len(history) == 1 else 'epochs are'} too few to judge the curve."]
            if history
            else ["No epoch was finished."]
        )
    whole, history = history, _unweighted(history)
    if len(history) < 4:
        # A weighted loss trades rate for distortion: the unweighted ELBO may fall while all goes well.
        return [
            f"The rate was weighted ({_span([row.weight for row in whole])}), so the unweighted ELBO "
            f"({whole[0].elbo:.4g} to {whole[-1].elbo:.4g}) measures no progress; look at rate and distortion."
        ]
    training = [row.elbo for row in history]
    validation = [row.validation_elbo for row in history if row.validation_elbo is not None]
    curve, name = (validation, "validation ELBO") if len(validation) >= 4 else (training, "training ELBO")
    if not all(map(math.isfinite, curve)):
        return ["Diverged: the ELBO is not finite. Lower the learning rate, or clip gradients (clip_norm=)."]
    span = max(curve) - min(curve) or 1.0
    # A bad start makes the span large: half a per cent of the ELBO counts as a change, too.
    small = 0.005 * abs(curve[-1])
    best = max(range(len(curve)), key=curve.__getitem__)
    last = curve[-1]
    if curve is validation and curve[best] - last > max(0.02 * span, small) and training[-1] > training[best]:
        return [
            f"Overfitting: the validation ELBO was best at epoch {best + 1} ({curve[best]:.4g}) and has fallen to "
            f"{last:.4g} while the training ELBO rose. Stop early (patience=), or use a smaller or noisier network."
        ]
    if last < curve[0]:
        return [
            f"Diverged: the {name} ends lower than it began ({curve[0]:.4g} to {last:.4g}). Lower the learning rate."
        ]
    fifth = max(len(curve) // 5, 1)
    late = last - curve[-1 - fifth]
    if late > min(0.02 * span, small):
        return [f"Still improving: the {name} gained {late:.3g} nats in the last {_epochs(fifth)}. Train longer."]
    return [f"Levelled off: the {name} moved by {late:+.3g} nats in the last {_epochs(fifth)}."]


def _span(weights: list[Weight]) -> str:
    """Between which numbers the weights were, each site's where they differ; a cycle ends where it began."""
    if isinstance(weights[0], dict):
        sites = weights[0].keys()
        return "; ".join(f"{site!r} {_span([weight[site] for weight in weights])}" for site in sites)  # type: ignore[index]  # all are dicts
    low, high = (f"{bound(weights):.3g}" for bound in (min, max))  # type: ignore[type-var]  # all are numbers
    return f"by {low}" if low == high else f"between {low} and {high}"


def _unweighted(history: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """The epochs at the end whose rate counted in full."""
    weighted = [place for place, row in enumerate(history) if row.weight != 1.0]
    return history[weighted[-1] + 1 :] if weighted else history


def _epochs(count: int) -> str:
    return "epoch" if count == 1 else f"{count} epochs"


def active_verdict(site: str, active: ActiveUnits) -> str:
    """A sentence on how many latent dimensions are used."""
    if active.count == 0:
        return (
            f"Collapsed: none of the {active.total} latent dimensions of {site!r} depends on the data. Anneal the KL "
            "(temper=pv.linear(0, 1, steps=...)), or use free bits."
        )
    return f"{active.count} of {active.total} latent dimensions of {site!r} are active."


def plot(history: tuple[Epoch, ...]) -> Any:
    """Draw ELBO, rate and distortion over the epochs, validation dashed."""
    # Figure without pyplot: no global state of matplotlib is touched, and no window opens.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    epochs = [row.epoch for row in history]
    for axes, name in zip(figure.subplots(1, 3), ("elbo", "rate", "distortion"), strict=True):
        axes.plot(epochs, [getattr(row, name) for row in history], label="training")
        held_out = [(r.epoch, getattr(r, f"validation_{name}")) for r in history if r.validation_elbo is not None]
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "--", label="validation")
            axes.legend(frameon=False)
        axes.set(xlabel="epoch", title="ELBO" if name == "elbo" else name, ylabel="nats per datum")
        axes.spines[["top", "right"]].set_visible(False)
    return figure
