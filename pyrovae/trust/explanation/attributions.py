"""Shares of cells in a figure, by captum's methods, from a game that has the same random numbers throughout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.trust.explanation.captum_library import captum
from pyrovae.trust.explanation.cell_game import CellGame

METHODS = ("shapley", "integrated_gradients", "lime")

_STEPS = 32  # of the path: by Gauss and Legendre's rule exact for polynomials of degree 63


def attributed(method: str, game: CellGame, steps: int | None) -> Tensor:
    """Shares of the players in the figure of each row, (rows, players); use it inside `forked_random`.

    Args:
        method: one of `METHODS`.
        game: whose value is shared out.
        steps: of the path, or rows that a linear model is fitted to; not of Shapley values.
    """
    return {"shapley": _shapley, "integrated_gradients": _integrated_gradients, "lime": _lime}[method](game, steps)


def _ends(game: CellGame, rows: int) -> tuple[Tensor, Tensor]:
    shape = (rows, game.players.count)
    return torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)


def _shapley(game: CellGame, steps: int | None) -> Tensor:
    """What each player adds to those before it, in one random order and in its reverse."""
    sampled = captum().ShapleyValueSampling(lambda mask: game.value(mask[0]))
    sampled.permutation_generator = _there_and_back
    none, every = _ends(game, game.rows)
    return sampled.attribute(every, baselines=none, n_samples=2)


def _there_and_back(count: int, orders: int) -> Iterator[list[int]]:
    """Orders in pairs: what two players do together is then shared evenly, whatever the order."""
    for _ in range(orders // 2):
        order = torch.randperm(count).tolist()
        yield order
        yield order[::-1]


def _integrated_gradients(game: CellGame, steps: int | None) -> Tensor:
    none, every = _ends(game, game.rows)
    method = captum().IntegratedGradients(game.along)
    # One step at a time: the rows of each meet the same random numbers.
    return method.attribute(every, baselines=none, n_steps=steps or _STEPS, internal_batch_size=game.rows).detach()


def _lime(game: CellGame, steps: int | None) -> Tensor:
    """Weights of a linear model of the figure around each row, in which cells are known or not."""
    count = game.players.count
    steps = steps or 8 * count + 16
    if steps < count + 2:
        raise ArgumentError(f"explain: steps={steps}; lime fits {count + 1} numbers for each row, give more than that.")
    none, every = _ends(game, 1)
    begin, shares = torch.get_rng_state(), []
    for row in range(game.rows):
        torch.set_rng_state(begin)  # the same perturbations for all rows, so that each is computed once for all of them
        shares.append(_fitted(lambda mask, row=row: game.value(mask[0])[row : row + 1], none, every, steps))
    return torch.cat(shares)


def _fitted(value: Any, none: Tensor, every: Tensor, steps: int) -> Tensor:
    from captum._utils.models.linear_model import SkLearnLinearRegression
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    width = 0.75 * math.sqrt(every.shape[1])  # LIME's own, in cells
    nearness = get_exp_kernel_similarity_function("euclidean", kernel_width=width)
    method = captum().Lime(value, interpretable_model=SkLearnLinearRegression(), similarity_func=nearness)
    return method.attribute(every, baselines=none, n_samples=steps).double()
