"""A recurrent network that reads a whole line of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrovae.models.sequences.series_reader import turned
from pyrovae.models.sequences.token_sequence import before_end, reach
from pyrovae.pairs.numbers import check_counts


class TokenReader(nn.Module):
    r"""What a line of tokens says, by two recurrent networks, of which one goes backward: for `pv.DiagNormal`.

    \[ y = W\, (\overrightarrow{h}_n, \overleftarrow{h}_1) + b \]

    with n the end of the line. What fills the array behind it changes nothing.

    Args:
        size: How many tokens there are, the end of lines among them, which is token 0.
        output: How many numbers it gives.
        hidden: Width of h, each way.
        embedding: Width of the embedding of tokens.

    Shapes: input `(*rows, steps)` of whole numbers; output `(*rows, output)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.TokenReader(20, 2 * 4, hidden=16)(torch.ones(5, 7, dtype=torch.long)).shape
        torch.Size([5, 8])
    """

    input_dims = 1

    def __init__(self, size: int, output: int, *, hidden: int = 256, embedding: int = 64):
        super().__init__()
        size, output, hidden, embedding = check_counts(size=size, output=output, hidden=hidden, embedding=embedding)
        self.output_shape = (output,)
        self.embedding = nn.Embedding(size, embedding)
        self.readers = nn.ModuleList([nn.GRU(embedding, hidden, batch_first=True) for _ in range(2)])
        self.head = nn.Linear(2 * hidden, output)

    def forward(self, x: Tensor) -> Tensor:
        """What is said of each line."""
        tokens = x.long().reshape(-1, x.shape[-1])
        alive = before_end(tokens)
        tokens = tokens[:, : reach(alive)]
        lengths = alive.sum(-1)
        last = (lengths - 1).reshape(-1, 1, 1)
        ways = tokens, tokens.gather(1, turned(lengths, tokens.shape[1]))
        found = []
        for reader, way in zip(self.readers, ways, strict=True):
            steps = reader(self.embedding(way))[0]
            found.append(steps.gather(1, last.expand(-1, 1, steps.shape[-1])).squeeze(1))
        return self.head(torch.cat(found, -1)).reshape(*x.shape[:-1], *self.output_shape)
