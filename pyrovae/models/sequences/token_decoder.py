"""A recurrent network that writes lines of tokens from a code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.sequences.token_sequence import TokenSequence
from pyrovae.pairs.numbers import check_counts


class TokenDecoder(Conditional):
    r"""Lines of tokens from z, by a recurrent network that reads what it has written.

    \[ h_0 = \tanh(A z), \qquad h_t = \operatorname{GRU}(h_{t-1}, (e(x_{t-1}), z)), \qquad
    p(x_t \mid x_{<t}, z) = \operatorname{softmax}(W h_t + b) \]

    with an embedding of its own for what stands before the first token, and one for tokens that are dropped.

    Args:
        size: How many tokens there are, the end of lines among them, which is token 0.
        latent: Dims of z.
        steps: How many tokens a draw has at most, its end among them.
        hidden: Width of h.
        embedding: Width of e.

    References:
        Bowman et al., Generating sentences from a continuous space, 2016.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.TokenDecoder(size=20, latent=4, steps=9, hidden=16)(torch.zeros(5, 4)).event_shape
        torch.Size([9])
    """

    def __init__(self, size: int, latent: int, steps: int, *, hidden: int = 256, embedding: int = 64):
        super().__init__()
        numbers = {"size": size, "latent": latent, "steps": steps, "hidden": hidden, "embedding": embedding}
        self.size, self.latent, self.steps, hidden, embedding = check_counts(**numbers)
        self.first, self.dropped = self.size, self.size + 1  # numbers of embeddings that are no tokens
        self.embedding = nn.Embedding(self.size + 2, embedding)
        self.start_of = nn.Linear(self.latent, hidden)
        self.network = nn.GRU(embedding + self.latent, hidden, batch_first=True)
        self.head = nn.Linear(hidden, self.size)

    def forward(self, *given: Tensor, steps: int | None = None) -> TokenSequence:
        """Batch shape: leading dims of z; event shape (steps,).

        Args:
            *given: z.
            steps: how many; left out, those that drawn lines have.
        """
        return TokenSequence(self, given[0], self.steps if steps is None else steps)

    def logits(self, z: Tensor, read: Tensor) -> Tensor:
        """Of each token, (*batch, steps, tokens), given those that are read before it."""
        shape, steps = read.shape[:-1], read.shape[-1]
        codes, read = z.reshape(-1, self.latent), read.reshape(-1, steps).long()  # bytes hold tokens, and no more
        before = torch.cat([torch.full_like(read[:, :1], self.first), read[:, :-1]], 1)
        seen = torch.cat([self.embedding(before), codes.unsqueeze(1).expand(-1, steps, -1)], -1)
        hidden = self.network(seen, self.begin(z)[1].unsqueeze(0))[0]
        return self.head(hidden).reshape(*shape, steps, self.size)

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The state before the first token: z, and h of all rows."""
        return z, self.start_of(z.reshape(-1, self.latent)).tanh()

    def follow(self, state: tuple[Tensor, Tensor], token: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits of the next token, and the state that it is chosen in; the first follows None."""
        z, hidden = state
        codes = z.reshape(-1, self.latent)
        before = torch.full(codes.shape[:1], self.first, device=z.device) if token is None else token.reshape(-1)
        seen = torch.cat([self.embedding(before), codes], -1).unsqueeze(1)
        hidden = self.network(seen, hidden.unsqueeze(0))[1][0]
        return self.head(hidden).reshape(*z.shape[:-1], self.size), (z, hidden)
