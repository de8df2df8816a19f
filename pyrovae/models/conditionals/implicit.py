"""Noise through a network: draws of any shape of distribution, whose density nobody knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrovae.models.conditionals.conditional import Conditional, check_network, network_output
from pyrovae.pairs.implicit_draws import ImplicitDraws
from pyrovae.pairs.numbers import check_count


class Implicit(Conditional):
    r"""Noise through a network: \( z = f(x, \epsilon) \), \( \epsilon \sim \mathcal N(0, I) \), without a density.

    As a posterior it is trained by `pv.adversarial`; as a prior it can be matched, never scored. Its log-probability is
    NaN, and figures that need one are refused in words.

    Args:
        network: Takes what is given and then the noise, `pv.MLP([784, 8], [256], 16)` for 8 numbers of it.
        noise: How many numbers of noise a draw takes.

    References:
        Mescheder et al., "Adversarial variational Bayes" (2017).

    Examples:
        >>> import torch, pyrovae as pv
        >>> posterior = pv.Implicit(pv.MLP([5, 3], [8], 2), noise=3)
        >>> posterior(torch.zeros(4, 5)).sample().shape
        torch.Size([4, 2])
    """

    def __init__(self, network: Any, noise: int):
        super().__init__()
        self.network = check_network(network, "Implicit", 1)
        self.noise = check_count("noise", noise, where="pv.Implicit: ")

    def forward(self, *given: Tensor) -> ImplicitDraws:
        """Batch shape: leading dims of `given`."""
        dims = getattr(self.network, "input_dims", 1) if given else 0
        leading = given[0].shape[: given[0].dim() - dims] if given else torch.Size()
        like = next((p for p in self.parameters()), torch.zeros(()))
        zeros = torch.zeros(*leading, self.noise, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            output, events = network_output(self.network, (*given, zeros), "Implicit")
        event = output.shape[output.dim() - events :]
        return ImplicitDraws(lambda noise: self.network(*given, noise), self.noise, leading, event, like)
