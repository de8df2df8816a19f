"""The distribution of a line of tokens, each given those before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrovae.pairs.may_read import may_read

END = 0  # the token that ends a line, and that fills what lies behind it

_ROUNDED = 16  # steps to which the longest line of a batch is rounded up


class TokenSequence(TorchDistribution):
    r"""Lines of tokens, of any length from 1 to the number of steps, given z.

    \[ p(x \mid z) = \prod_{t \le n} p(x_t \mid x_{<t}, z), \qquad n = \min \{t : x_t = 0\} \]

    Token 0 ends a line. It is never the first one, and behind it there is nothing but 0, with probability 1: so padding
    enters no density, and a line has the same one in arrays of any length. A line without an end is cut off, and has
    the density of how it begins.

    Args:
        decoder: gives the logits of each token, of what is read: `decoder.logits(z, read)`, (*batch, steps, tokens);
            step by step `decoder.begin(z)` and `decoder.follow(state, token)`; `decoder.size` is how many there are.
        z: (*batch, latent).
        steps: how many tokens a draw has, the end and what fills it up among them.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it

    def __init__(self, decoder: Any, z: Tensor, steps: int):
        self.decoder, self.z = decoder, z
        self._settled: list[Any] = [None, None]  # a value, and its density; shared with expansions
        super().__init__(z.shape[:-1], torch.Size([steps]), validate_args=False)

    @property
    def support(self) -> Any:  # type: ignore[override]  # torch declares a property of another type
        """Numbers of tokens."""
        return constraints.independent(constraints.integer_interval(END, self.decoder.size - 1), 1)

    @staticmethod
    def lawful(value: Tensor) -> Tensor:
        """A line of one token, of the shape of a value."""
        return torch.cat([torch.ones_like(value[..., :1]), torch.zeros_like(value[..., 1:])], -1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> TokenSequence:
        """The same for a larger batch."""
        new = TokenSequence(self.decoder, self.z.expand((*batch_shape, self.z.shape[-1])), self.event_shape[0])
        new._settled = self._settled
        return new

    def settle(self, value: Tensor, read: Callable[[Tensor], Tensor] | None = None) -> None:
        """Compute the density of a value now, while the networks are what they are: a trace asks for it later.

        Args:
            value: tokens.
            read: what the decoder reads in their place.
        """
        self._settled[:] = value, self._scored(value, value if read is None else read(value))

    def log_prob(self, value: Tensor) -> Tensor:
        """Of each line; -inf of what is no line: none that begins with its end, or goes on behind it."""
        known, density = self._settled
        return density if known is value else self._scored(value, value)

    def _scored(self, value: Tensor, read: Tensor) -> Tensor:
        value = value.long()
        alive = before_end(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        steps = reach(alive)
        kept, read = (one[..., :steps].expand(*shape, steps) for one in (value, read))
        logits = _without_empty(self.decoder.logits(self.z.expand(*shape, self.z.shape[-1]), read))
        found = logits.log_softmax(-1).gather(-1, kept.unsqueeze(-1)).squeeze(-1)
        lawful = torch.where(alive, True, value == END).all(-1)
        return torch.where(lawful, torch.where(alive[..., :steps], found, 0.0).sum(-1), -math.inf)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, (*sample_shape, *batch, steps)."""
        return self._walk(
            torch.Size(sample_shape), lambda logits: torch.distributions.Categorical(logits=logits).sample()
        )

    @property
    def mode(self) -> Tensor:
        """The likeliest token at each step, given those before it."""
        return self._walk(torch.Size(), lambda logits: logits.argmax(-1))

    @torch.no_grad()
    def _walk(self, sample_shape: torch.Size, choose: Callable[[Tensor], Tensor]) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        state = self.decoder.begin(self.z.expand(*shape, self.z.shape[-1]))
        token, tokens = torch.full(shape, -1, device=self.z.device), []
        for _ in range(self.event_shape[0]):
            logits, state = self.decoder.follow(state, token if tokens else None)
            logits = logits if tokens else _without_end(logits)
            token = torch.where(token == END, END, choose(logits))
            tokens.append(token)
            if may_read() and bool((token == END).all()):
                break
        tokens += [torch.zeros_like(token)] * (self.event_shape[0] - len(tokens))
        return torch.stack(tokens, -1)


def before_end(value: Tensor) -> Tensor:
    """Which tokens of lines count: those up to the first end, and that itself."""
    ended = (value == END).long().cumsum(-1)
    return (ended - (value == END).long()) == 0


def reach(alive: Tensor) -> int:
    """Up to which step any line goes, rounded up so that few numbers occur: a staged step is made for each."""
    longest, steps = int(alive.sum(-1).max()), alive.shape[-1]
    return min(-(-longest // _ROUNDED) * _ROUNDED, steps)


def _without_end(logits: Tensor) -> Tensor:
    return torch.cat([torch.full_like(logits[..., :1], -math.inf), logits[..., 1:]], -1)


def _without_empty(logits: Tensor) -> Tensor:
    """Logits of all steps, without an end at the first one."""
    return torch.cat([_without_end(logits[..., :1, :]), logits[..., 1:, :]], -2)
