"""A recurrent network that reads series of several lengths, with gaps, from their ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyrovae.models.nets import Event, event_shape
from pyrovae.models.sequences.seen_cells import last_steps, seen_cells
from pyrovae.pairs.numbers import check_counts


class SeriesReader(nn.Module):
    r"""What each step and all that follows it say, by a recurrent network that goes backward: for `pv.DiagNormal`.

    \[ h_t = \text{GRU}(h_{t+1}, (\operatorname{arsinh} x_t, o_t)), \qquad y_t = W h_t + b \]

    with o which cells are there, and zeros in the place of the others. Each series is read from its own last step on,
    so that what lies behind it, garbage or more of nothing, changes no bit. The inverse hyperbolic sine leaves small
    numbers as they are and makes logarithms of large ones, such as counts.

    Args:
        input: Event shape of a step, an integer or a tuple.
        output: How many numbers it gives for each step.
        hidden: Width of h.
        both_ways: Whether a second network, which goes forward, tells of the steps before as well.

    Shapes: inputs `(rows, steps, *input)` and which cells are there, of the same shape; output `(rows, steps, output)`.

    References:
        Krishnan et al., Structured inference networks for nonlinear state space models, 2017.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.SeriesReader(3, 2 * 4, hidden=16)(torch.zeros(5, 7, 3)).shape
        torch.Size([5, 7, 8])
    """

    def __init__(self, input: Event, output: int, *, hidden: int = 64, both_ways: bool = False):
        super().__init__()
        hidden, output = check_counts(hidden=hidden, output=output)
        shape = event_shape(input, "input")
        self.input_dims, self.output_shape = len(shape), (output,)
        ways = 2 if both_ways else 1
        self.readers = nn.ModuleList([nn.GRU(2 * math.prod(shape), hidden, batch_first=True) for _ in range(ways)])
        self.head = nn.Linear(ways * hidden, output)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """What is said of each step."""
        seen = seen_cells(x) if seen is None else seen
        cells = torch.where(seen, x, 0).to(self.head.weight.dtype).asinh()
        read = torch.cat([cells.flatten(2), seen.flatten(2).to(cells)], -1)
        turn = turned(last_steps(seen), x.shape[1]).unsqueeze(-1)
        backward = self.readers[0](read.gather(1, turn.expand_as(read)))[0]
        found = [backward.gather(1, turn.expand_as(backward)), *(reader(read)[0] for reader in self.readers[1:])]
        return self.head(torch.cat(found, -1))


def turned(last: Tensor, steps: int) -> Tensor:
    """For each series its steps in reverse, and those behind its last one where they are, (rows, steps)."""
    here = torch.arange(steps, device=last.device)
    back = last.unsqueeze(-1) - 1 - here
    return torch.where(back >= 0, back, here)
