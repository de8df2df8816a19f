"""The moving average of the weights that a training may leave in a pair."""

from __future__ import annotations

from collections.abc import Mapping

import torch

# An average that counts every step alike at first forgets the random start sooner.
_START = 10


@torch.no_grad()
def update_averages(
    averages: dict[str, torch.Tensor], parameters: Mapping[str, torch.Tensor], decay: float, step: int
) -> None:
    """Bring averages of parameters up to this step, counted from 0: `d·average + (1 − d)·parameter`.

    With `d = min(decay, (1 + step) / (10 + step))`; a parameter that is new starts its average.
    """
    decay = min(decay, (1 + step) / (_START + step))
    known = [name for name in parameters if name in averages]
    if known:
        average, now = [averages[name] for name in known], [parameters[name] for name in known]
        torch._foreach_lerp_(average, now, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
    for name, parameter in parameters.items():
        if name not in averages:
            averages[name] = parameter.detach().clone()
