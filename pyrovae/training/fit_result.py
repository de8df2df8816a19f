"""What a training leaves behind: the pair, its history, and what they say."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.plots.in_words import bars
from pyrovae.plots.learning_curves import curve_titles, plot_learning_curves
from pyrovae.training.epoch import Epoch
from pyrovae.training.verdict import TROUBLE, Verdict, training_verdicts

if TYPE_CHECKING:
    from pyrovae.evaluation.active_units import ActiveUnits


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
        first_elbos: the ELBO of each of the first steps, per datum.
        no_elbo: why what the history calls ELBO is no bound of the evidence, in words; empty where it is one.

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
    first_elbos: tuple[float, ...] = field(default=(), repr=False)
    no_elbo: str = ""

    def __repr__(self) -> str:
        """The curve, what it says, and what to ask next."""
        lines = [f"Fit: {len(self.history):,} epochs, {self.step:,} steps in {self.seconds:.3g} s, {self.reason}"]
        elbo = [row.elbo for row in self.history]
        if elbo and all(map(math.isfinite, elbo)) and not self.no_elbo:
            lines.append(f"  ELBO  {elbo[0]:.5g} {_curve(elbo)} {elbo[-1]:.5g} nats per datum")
        lines.append(f"  {self.verdict}")
        lines.append("  Next: pv.write_report(run, held_out_data, path='report.html') shows what it learned.")
        return "\n".join(lines)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """On the curve, and on each latent site: a kind with its words."""
        return training_verdicts(self.history, self.active, first=self.first_elbos, no_elbo=self.no_elbo).all()

    @property
    def verdict(self) -> str:
        """What the curves say, in words."""
        return " ".join(verdict.words for verdict in self.verdicts)

    @property
    def troubled(self) -> bool:
        """Whether the posterior has collapsed or the loss diverged."""
        return any(verdict.kind in TROUBLE for verdict in self.verdicts)

    def plot(self) -> Any:
        """Draw ELBO, rate and distortion over the epochs; titles say where they are none (`no_elbo`).

        Returns:
            A matplotlib `Figure`.
        """
        titles = curve_titles(self.history, is_elbo=not self.no_elbo).items()
        validated = [row for row in self.history if row.validation_elbo is not None]
        held_out = {
            title: [getattr(row, f"validation_{name}", math.nan) for row in validated] for name, title in titles
        }
        return plot_learning_curves(
            [row.epoch for row in self.history],
            {title: [getattr(row, name) for row in self.history] for name, title in titles},
            [row.epoch for row in validated],
            held_out,
        )


def _curve(figures: list[float], longest: int = 40) -> str:
    """A curve as blocks, the mean of several epochs in one where there are many."""
    each = -(-len(figures) // longest)
    parts = [figures[start : start + each] for start in range(0, len(figures), each)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    return bars([0.1 + (mean - low) / ((high - low) or 1.0) for mean in means])
