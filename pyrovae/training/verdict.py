"""Verdicts, each a kind with its words; those on a learning curve and on latent sites are made here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from pyrovae.errors import argument
from pyrovae.training.epoch import Epoch, Weight

if TYPE_CHECKING:
    from pyrovae.evaluation.active_units import ActiveUnits

BEGINNING = 9  # steps whose ELBOs are known one by one
_FEWEST = 4  # epochs that make a curve
_FEWEST_FOR_NOISE = 8


class VerdictKind(Enum):
    """The kinds of verdict; the value is what people call it."""

    LEVELLED_OFF = "Levelled off"
    STILL_IMPROVING = "Still improving"
    OVERFITTING = "Overfitting"
    DIVERGED = "Diverged"
    WEIGHTED = "Weighted"
    NO_ELBO = "No ELBO"
    TOO_SHORT = "Too short"
    ACTIVE = "Active"
    COLLAPSED = "Collapsed"
    TOLD_APART = "Told apart"
    MISCOVERED = "Intervals miss"


TROUBLE = (VerdictKind.DIVERGED, VerdictKind.COLLAPSED)  # the worst first


class Verdict(NamedTuple):
    """A kind for programs, and words for people, with the mend where there is one.

    Examples:
        >>> curve_verdict(())
        Verdict(kind=<VerdictKind.TOO_SHORT: 'Too short'>, words='No epoch was finished.')
    """

    kind: VerdictKind
    words: str


class TrainingVerdicts(NamedTuple):
    """What is said of a training: that it has no ELBO, of its curve, of each latent site; the first two may be none."""

    no_elbo: Verdict | None
    curve: Verdict | None
    latents: tuple[Verdict, ...]

    def all(self) -> tuple[Verdict, ...]:
        """Those that there are, in order."""
        return *(one for one in (self.no_elbo, self.curve) if one is not None), *self.latents


def training_verdicts(
    history: tuple[Epoch, ...], active: Mapping[str, ActiveUnits], *, first: Sequence[float] = (), no_elbo: str = ""
) -> TrainingVerdicts:
    """The verdicts on a training.

    Args:
        history: one row an epoch.
        active: for each local latent site, how many of its dimensions are used.
        first: the ELBO of each of the first steps, per datum.
        no_elbo: why what the history calls ELBO is no bound of the evidence; empty where it is one.
    """
    # A guide without a density has no curve of the ELBO, whose loss may be as good as any.
    unknown = no_elbo and all(math.isnan(row.elbo) and math.isfinite(row.loss) for row in history)
    return TrainingVerdicts(
        no_elbo_verdict(no_elbo) if no_elbo else None,
        None if unknown else curve_verdict(history, first),
        tuple(active_verdict(*item) for item in active.items()),
    )


def curve_verdict(history: tuple[Epoch, ...], first: Sequence[float] = ()) -> Verdict:
    """The verdict on a learning curve.

    Args:
        history: its rows.
        first: the ELBO of each of the first steps, per datum: the average of a first epoch may be that of weights gone
            astray, and one step alone a lucky draw.
    """
    bad = _not_finite(history)
    if bad is not None:
        return bad
    full = _full_weight(history)
    if len(history) < _FEWEST:
        return _too_short(len(history))
    if len(full) < _FEWEST:
        # A weight may cost hundreds of nats, and not a thousand times as many as were there.
        return _far_below(history, first, allowed=1_000 * _scale(first)) or _weighted(history)
    if not all(map(_is_elbo, full)):
        return _of_another_objective(full)
    return _far_below(full, first, allowed=_between_batches(full, first)) or _of_elbo(full)


def no_elbo_verdict(why: str) -> Verdict:
    """The verdict on a history of what is no bound of the evidence, for whatever reason."""
    return Verdict(VerdictKind.NO_ELBO, f"What the history calls ELBO is none: {why}")


def active_verdict(site: str, active: ActiveUnits) -> Verdict:
    """The verdict on a latent site: how many of its dimensions are used."""
    if active.count:
        words = f"{active.count} of {active.total} latent dimensions of {site!r} are active."
        return Verdict(VerdictKind.ACTIVE, words)
    return Verdict(
        VerdictKind.COLLAPSED,
        f"Collapsed: none of the {active.total} latent dimensions of {site!r} depends on the data. Anneal the KL "
        f"({argument('temper', text='pv.linear(0, 1, steps=...)')}), or use free bits.",
    )


def _not_finite(history: tuple[Epoch, ...]) -> Verdict | None:
    for name, field in (("objective (minus the loss)", "loss"), ("training ELBO", "elbo")):
        if not all(math.isfinite(getattr(row, field)) for row in history):
            return _diverged(f"the {name} is not finite", clip=True)
    if not all(math.isfinite(row.validation_elbo) for row in history if row.validation_elbo is not None):
        return _diverged("the validation ELBO is not finite", clip=True)
    return None


def _far_below(history: tuple[Epoch, ...], first: Sequence[float], *, allowed: float) -> Verdict | None:
    """Whether the ELBO at the end lies below that of the first step by more than is allowed."""
    last = history[-1].elbo
    if not first or not last < first[0] - allowed:
        return None
    return _diverged(f"the training ELBO ends at {last:.4g}, and was {first[0]:.4g} at the first step")


def _between_batches(history: tuple[Epoch, ...], first: Sequence[float]) -> float:
    """How far one step may lie from another: what a training that goes astray swings by is no such noise.

    A guide that fits hardly varies, and one that does not fit yet may: the first steps have a noise of their own.
    """
    steps = max((history[-1].step - history[0].step) / (len(history) - 1), 1)
    late = 3 * _noise([row.elbo for row in history]) * math.sqrt(steps)
    scale = _scale(first)
    return max(min(max(late, 4 * _deviation(first)), 10 * scale), 0.1 * scale)


def _scale(first: Sequence[float]) -> float:
    return 1 + abs(first[0]) if first else 1.0


def _diverged(what: str, *, clip: bool = False) -> Verdict:
    mend = f", or clip gradients ({argument('clip_norm')})" if clip else ""
    return Verdict(VerdictKind.DIVERGED, f"Diverged: {what}. Lower the learning rate{mend}.")


def _too_short(epochs: int) -> Verdict:
    words = f"{_epochs(epochs, one='1 epoch')} {'is' if epochs == 1 else 'are'} too few to judge the curve."
    return Verdict(VerdictKind.TOO_SHORT, words if epochs else "No epoch was finished.")


def _weighted(history: tuple[Epoch, ...]) -> Verdict:
    # A weighted loss trades rate for distortion: the unweighted ELBO may fall while all goes well.
    return Verdict(
        VerdictKind.WEIGHTED,
        f"The rate was weighted ({_span([row.weight for row in history])}), so the unweighted ELBO "
        f"({history[0].elbo:.4g} to {history[-1].elbo:.4g}) measures no progress; look at rate and distortion.",
    )


def _is_elbo(row: Epoch) -> bool:
    return not abs(row.loss + row.elbo) > 1e-3 * (1 + abs(row.elbo))  # what is not finite is told as that


def _of_another_objective(history: tuple[Epoch, ...]) -> Verdict:
    """The verdict where a bound of several draws, say, was trained: the ELBO may fall while all goes well."""
    held_out = [
        row.validation_bound for row in history
        if row.validation_bound is not None and row.validation_bound != row.validation_elbo
    ]  # fmt: skip
    return _of_curves([-row.loss for row in history], held_out, "objective (minus the loss)", "validation bound")


def _of_elbo(history: tuple[Epoch, ...]) -> Verdict:
    """The verdict on at least four epochs whose ELBO is what was trained."""
    held_out = [row.validation_elbo for row in history if row.validation_elbo is not None]
    return _of_curves([row.elbo for row in history], held_out, "training ELBO", "validation ELBO")


def _of_curves(training: list[float], validation: list[float], trained: str, validated: str) -> Verdict:
    """By held-out rows where there are enough epochs of them."""
    curve, name = (validation, validated) if len(validation) >= _FEWEST else (training, trained)
    best = max(range(len(curve)), key=curve.__getitem__)
    if curve is validation and curve[best] - curve[-1] > max(_changes(curve)) and training[-1] > training[best]:
        return Verdict(
            VerdictKind.OVERFITTING,
            f"Overfitting: the {validated} was best at epoch {best + 1} ({curve[best]:.4g}) and has fallen to "
            f"{curve[-1]:.4g} while the {trained} rose. Stop early ({argument('patience')}), or use a smaller or "
            "noisier network.",
        )
    return _of_curve(curve, name)


def _of_curve(curve: list[float], name: str) -> Verdict:
    """Whether it went up at all, by more than its own noise."""
    noise = max(_noise(curve), _deviation(curve[:BEGINNING]))
    if curve[-1] < curve[0] - max(4 * noise, 0.01 * (1 + abs(curve[0]))):
        return _diverged(f"the {name} ends lower than it began ({curve[0]:.4g} to {curve[-1]:.4g})")
    return _of_the_end(curve, name)


def _of_the_end(curve: list[float], name: str) -> Verdict:
    """Whether the last fifth of a curve is still above the fifth before it."""
    fifth = max(len(curve) // 5, 1)
    late = fmean(curve[-fifth:]) - fmean(curve[-2 * fifth : -fifth])
    within = 3 * _noise(curve) / math.sqrt(fifth)
    if late < -max(within, 0.01 * (1 + abs(curve[-1])), _changes(curve)[0]):
        return _diverged(f"the {name} fell by {-late:.3g} nats in the last {_epochs(fifth)}")
    if late > max(within, min(_changes(curve))):
        return Verdict(
            VerdictKind.STILL_IMPROVING,
            f"Still improving: the {name} gained {late:.3g} nats in the last {_epochs(fifth)}. "
            f"Train longer ({argument('epochs', text='...')}).",
        )
    return Verdict(
        VerdictKind.LEVELLED_OFF, f"Levelled off: the {name} moved by {late:+.3g} nats in the last {_epochs(fifth)}."
    )


def _noise(curve: list[float]) -> float:
    """The deviation of one row, from how differently the second half's neighbours differ; of a few nothing is known."""
    return _deviation(curve[len(curve) // 2 - 1 :]) if len(curve) >= _FEWEST_FOR_NOISE else 0.0


def _deviation(curve: Sequence[float]) -> float:
    """The deviation of one row around a line, from how differently neighbours differ."""
    if len(curve) < _FEWEST:
        return 0.0
    steps = [after - before for before, after in pairwise(curve)]
    centre = median(steps)
    return 1.48 * median(abs(step - centre) for step in steps) / math.sqrt(2)


def _changes(curve: list[float]) -> tuple[float, float]:
    """What counts as a change: 2% of the span, which a bad start makes large, and half a per cent of the ELBO."""
    return 0.02 * (max(curve) - min(curve) or 1.0), 0.005 * abs(curve[-1])


def _span(weights: list[Weight]) -> str:
    """Between which numbers the weights were, each site's where they differ; a cycle ends where it began."""
    if isinstance(weights[0], dict):
        sites = weights[0].keys()
        return "; ".join(f"{site!r} {_span([weight[site] for weight in weights])}" for site in sites)  # type: ignore[index]  # all are dicts
    low, high = (f"{bound(weights):.3g}" for bound in (min, max))  # type: ignore[type-var]  # all are numbers
    return f"by {low}" if low == high else f"between {low} and {high}"


def _full_weight(history: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """The epochs at the end whose rate counted in full."""
    weighted = [place for place, row in enumerate(history) if row.weight != 1.0]
    return history[weighted[-1] + 1 :] if weighted else history


def _epochs(count: int, one: str = "epoch") -> str:
    return one if count == 1 else f"{count} epochs"
