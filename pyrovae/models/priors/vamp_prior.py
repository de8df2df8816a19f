"""The mixture of the posteriors of learned pseudo-inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.nets import Event, event_shape
from pyrovae.models.priors.normal_mixture import mixture_of
from pyrovae.pairs.numbers import check_count


class VampPrior(Conditional):
    r"""The mixture of the posteriors of learned pseudo-inputs: \( \frac1K \sum_k q(z \mid u_k) \).

    Args:
        pseudo_inputs: The K starting values `(K, *event of x)`, best some of the data (they are copied); or
            K itself, with `shape`: uniform draws from [0, 1).
        posterior: The conditional that is also the VAE's posterior. Its parameters are shared: trained by both,
            counted once and stored once.
        shape: Event shape of x, where `pseudo_inputs` is a number.
        activation: Module applied to the pseudo-inputs to keep them in the data's range, such as
            `torch.nn.Hardtanh(0, 1)` for grey images.

    References:
        Tomczak and Welling, VAE with a VampPrior, 2018.

    Examples:
        >>> import torch, pyrovae as pv
        >>> posterior = pv.DiagNormal(pv.MLP(5, [16], 2 * 2))
        >>> prior = pv.VampPrior(torch.rand(7, 5), posterior)
        >>> prior().event_shape
        torch.Size([2])
        >>> vae = pv.VAE(prior, pv.Bernoulli(pv.MLP(2, [16], 5)), posterior)
    """

    def __init__(
        self,
        pseudo_inputs: Tensor | np.ndarray | int,
        posterior: Conditional,
        *,
        shape: Event | None = None,
        activation: nn.Module | None = None,
    ):
        super().__init__()
        if not isinstance(posterior, nn.Module):
            raise ArgumentError(
                f"pv.VampPrior: posterior= takes the VAE's posterior, got {type(posterior).__name__}; "
                "the order is VampPrior(pseudo_inputs, posterior)"
            )
        self.posterior = posterior
        self.pseudo_inputs = nn.Parameter(_start(pseudo_inputs, shape))
        self.activation = nn.Identity() if activation is None else activation

    def forward(self) -> Any:
        """Batch shape `()`, event shape of the latent."""
        components = self.posterior(self.activation(self.pseudo_inputs))
        if components.batch_shape != self.pseudo_inputs.shape[:1]:
            raise ArgumentError(
                f"pv.VampPrior: the posterior of pseudo-inputs {tuple(self.pseudo_inputs.shape)} has batch shape "
                f"{tuple(components.batch_shape)}: give them as (K, *event of x)"
            )
        return mixture_of(dist.Categorical(logits=self.pseudo_inputs.new_zeros(len(self.pseudo_inputs))), components)


def _start(pseudo_inputs: Any, shape: Event | None) -> Tensor:
    if not isinstance(pseudo_inputs, Tensor | np.ndarray):
        if shape is None:
            raise ArgumentError(
                "pv.VampPrior: a number of pseudo-inputs needs shape=, the event shape of x; better give some of the "
                "data, such as pseudo_inputs=x[:500]"
            )
        return torch.rand(check_count("pseudo_inputs", pseudo_inputs), *event_shape(shape, "shape"))
    start = torch.as_tensor(pseudo_inputs).detach().clone()
    if start.dim() < 1 or len(start) < 1:
        raise ArgumentError(f"pv.VampPrior: pseudo_inputs of shape {tuple(start.shape)}: give (K, *event of x)")
    return start if start.is_floating_point() else start.to(torch.get_default_dtype())
