"""A network from one step's latents to the next step's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrovae.models.nets import MLP
from pyrovae.pairs.numbers import check_counts


class GatedTransition(nn.Module):
    r"""A gated transition, linear where its gate is closed: for `pv.DiagNormal`.

    \[ \mu = (1 - g) \odot A z + g \odot h(z), \qquad s = W \operatorname{relu}(h(z)) + b, \qquad
    g = \sigma(f(z)) \]

    with A that starts as the identity, so that a chain starts as a slow walk.

    Args:
        latent: Dims of z.
        hidden: Width of the hidden layers of f and h.

    Shapes: input `(*leading, latent)`; output `(*leading, 2 * latent)`, μ and s.

    References:
        Krishnan et al., Structured inference networks for nonlinear state space models, 2017.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.DiagNormal(pv.GatedTransition(4, 16))(torch.zeros(5, 4)).event_shape
        torch.Size([4])
    """

    input_dims = 1

    def __init__(self, latent: int, hidden: int):
        super().__init__()
        latent, hidden = check_counts(latent=latent, hidden=hidden)
        self.output_shape = (2 * latent,)
        self.gate, self.proposed = MLP(latent, [hidden], latent), MLP(latent, [hidden], latent)
        self.linear, self.scale = nn.Linear(latent, latent), nn.Linear(latent, latent)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(latent))
            self.linear.bias.zero_()

    def forward(self, z: Tensor) -> Tensor:
        """μ and s of the next step."""
        gate, proposed = torch.sigmoid(self.gate(z)), self.proposed(z)
        return torch.cat([(1 - gate) * self.linear(z) + gate * proposed, self.scale(torch.relu(proposed))], -1)
