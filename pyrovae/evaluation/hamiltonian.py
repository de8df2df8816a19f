"""Hamiltonian moves of many chains at once, each accepted or not on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

# Positions (chains, rows, width) -> two log densities (chains, rows), of the ends of a path between them.
Ends = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Chains(NamedTuple):
    """Where chains are, and the two log densities there."""

    position: torch.Tensor  # (chains, rows, width)
    base: torch.Tensor  # (chains, rows)
    target: torch.Tensor

    def at(self, temperature: float) -> torch.Tensor:
        """The log density between the two, base at 0 and target at 1."""
        return (1 - temperature) * self.base + temperature * self.target


def chains_at(position: torch.Tensor, ends: Ends) -> Chains:
    """Chains at a position."""
    with torch.no_grad():
        return Chains(position, *ends(position))


def moved(
    chains: Chains, ends: Ends, temperature: float, step: torch.Tensor, scale: torch.Tensor, leapfrogs: int
) -> tuple[Chains, torch.Tensor]:
    """One Hamiltonian move, which leaves the density at a temperature as it is.

    Args:
        chains: where they are.
        ends: the log densities.
        temperature: between base (0) and target (1).
        step: the length of a leapfrog step, (rows,).
        scale: of each coordinate, (rows, width).
        leapfrogs: how many steps.

    Returns:
        The chains, and the probability by which each was to be accepted, (chains, rows).
    """
    step = step[:, None] * scale
    momentum = torch.randn_like(chains.position)
    kinetic = momentum.square().sum(-1).double() / 2
    proposal, momentum = _leapfrog(chains, ends, temperature, step, momentum, leapfrogs)
    energy = proposal.at(temperature) - momentum.square().sum(-1).double() / 2
    probability = (energy - chains.at(temperature) + kinetic).nan_to_num(nan=-torch.inf).exp().clamp(max=1)
    taken = torch.rand_like(probability) < probability
    position = torch.where(taken[..., None], proposal.position, chains.position)
    base, target = (
        torch.where(taken, new, old) for new, old in ((proposal.base, chains.base), (proposal.target, chains.target))
    )
    return Chains(position, base, target), probability


def _leapfrog(
    chains: Chains, ends: Ends, temperature: float, step: torch.Tensor, momentum: torch.Tensor, leapfrogs: int
) -> tuple[Chains, torch.Tensor]:
    position = chains.position
    _, slope = _slope(position, ends, temperature)
    here = chains
    for _ in range(leapfrogs):
        momentum = momentum + step / 2 * slope
        position = position + step * momentum
        here, slope = _slope(position, ends, temperature)
        momentum = momentum + step / 2 * slope
    return here, momentum


def _slope(position: torch.Tensor, ends: Ends, temperature: float) -> tuple[Chains, torch.Tensor]:
    with torch.enable_grad():
        leaf = position.detach().requires_grad_()
        here = Chains(leaf, *ends(leaf))
        (slope,) = torch.autograd.grad(here.at(temperature).sum(), leaf)
    return Chains(leaf.detach(), here.base.detach(), here.target.detach()), slope
