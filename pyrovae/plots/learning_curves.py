"""What was trained, epoch after epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyrovae.plots.blank_figure import blank_figure

_OF_AN_ELBO = {"elbo": "ELBO", "rate": "rate", "distortion": "distortion"}

_OF_NONE = {**_OF_AN_ELBO, "elbo": "log p - log q (no ELBO)", "rate": "log q - log p (no rate)"}

_WITHOUT_DENSITY = {"loss": "loss", "distortion": "distortion"}  # log q is NaN


def curve_titles(history: Sequence[Any], *, is_elbo: bool) -> dict[str, str]:
    """Which figures of the epochs make curves, and what each is called.

    Args:
        history: epochs.
        is_elbo: whether what they call ELBO is one.
    """
    if is_elbo:
        return _OF_AN_ELBO
    return _WITHOUT_DENSITY if all(math.isnan(row.elbo) for row in history) else _OF_NONE


def plot_learning_curves(
    epochs: Sequence[int],
    training: Mapping[str, Sequence[float]],
    validated: Sequence[int] = (),
    validation: Mapping[str, Sequence[float]] | None = None,
) -> Any:
    """A panel for each curve over the epochs, that of the validation data dashed.

    Args:
        epochs: those of the training curves.
        training: title -> one number an epoch, in nats per datum.
        validated: the epochs of the validation curves.
        validation: the same titles -> one number a validated epoch.

    Returns:
        A matplotlib `Figure`.
    """
    figure, axes = blank_figure(len(training), size=(10, 3.2))
    for axis, (title, values) in zip(axes, training.items(), strict=True):
        axis.plot(epochs, values, label="training")
        if validated and validation:
            axis.plot(validated, validation[title], "--", label="validation")
            axis.legend(frameon=False)
        axis.set(xlabel="epoch", title=title, ylabel="nats per datum")
    return figure
