"""A VAE of lines of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.models.sequences.token_decoder import TokenDecoder
from pyrovae.models.sequences.token_sequence import END, before_end
from pyrovae.models.vaes.three_parts import ThreeParts
from pyrovae.models.vaes.vae import as_distribution
from pyrovae.pairs.may_read import may_read
from pyrovae.pairs.numbers import as_number


class TextVAE(ThreeParts):
    r"""A VAE of lines of tokens of any length.

    \[ p(x, z) = p(z) \prod_{t \le n} p(x_t \mid x_{<t}, z), \qquad q(z \mid x) \]

    Args:
        prior: `prior()` is p(z).
        likelihood: `likelihood(z)` is p(x | z), a `pv.TokenDecoder`.
        posterior: `posterior(x)` is q(z | x).
        word_dropout: The share of tokens that the decoder does not get to read in training (train mode), so that it
            has to ask z. No question and no validation knows of it: there densities are exact.

    Model and guide take x, whole numbers of (rows, steps): the tokens of each line, then 0, which ends it and fills
    the rest. How many steps there are changes no figure. Sites: `z` and `x`, in the plate `data`.

    References:
        Bowman et al., Generating sentences from a continuous space, 2016.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.TextVAE(prior=pv.StandardNormal(2),
        ...                  likelihood=pv.TokenDecoder(size=4, latent=2, steps=6, hidden=8),
        ...                  posterior=pv.DiagNormal(pv.TokenReader(4, 2 * 2, hidden=8)))
        >>> x = torch.tensor([[1, 2, 3, 0], [2, 0, 0, 0]])
        >>> torch.equal(pv.elbo(vae, x).value, pv.elbo(vae, torch.cat([x, 0 * x], 1)).value)
        True
    """

    def __init__(
        self,
        prior: Callable[[], Any],
        likelihood: TokenDecoder,
        posterior: Callable[[Tensor], Any],
        *,
        word_dropout: float = 0.0,
    ):
        super().__init__(prior, likelihood, posterior)
        if not isinstance(likelihood, TokenDecoder):
            raise ArgumentError(
                f"the likelihood of lines is a pv.TokenDecoder, and this is {type(likelihood).__name__}."
            )
        share = as_number(word_dropout)
        if share is None or not 0 <= share <= 1:
            raise ArgumentError(f"{argument('word_dropout', word_dropout)}; give a share from 0 to 1.")
        self.word_dropout = share

    def check_data(self, x: Tensor) -> None:
        """Refuse what are no lines of these tokens."""
        check_lines(x, self.likelihood.size)

    def row_lengths(self, x: Tensor) -> Tensor:
        """How many tokens each line has: `fit` makes batches of lines of about one length."""
        return before_end(x).sum(-1)

    def model(self, x: Tensor) -> Tensor:
        """Sites `z` and `x` in the plate `data`; returns z."""
        self._registration(self)
        self._look_at(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", as_distribution(self.prior(), "prior"))
            line = self.likelihood(z, steps=x.shape[1])
            if pyro.sample("x", line, obs=x) is x:
                line.settle(x, self._read)
        return z

    def guide(self, x: Tensor) -> Tensor:
        """Site `z` in the plate `data`; returns z."""
        self._registration(self)
        self._look_at(x)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", as_distribution(self.posterior(x), "posterior"))

    def blank(self, n: int) -> tuple[Tensor]:
        """Lines of one token, (n, steps)."""
        zeros = torch.zeros(n, self.likelihood.steps, dtype=torch.long, device=self.zeros(0, torch.Size()).device)
        return (self.likelihood(self.zeros(1, self.prior().event_shape)).lawful(zeros),)

    def _read(self, x: Tensor) -> Tensor:
        """What the decoder reads of a line."""
        if not self.training or not self.word_dropout:
            return x
        return torch.where(torch.rand(x.shape, device=x.device) < self.word_dropout, self.likelihood.dropped, x)

    def _look_at(self, x: Tensor) -> None:
        if may_read():
            self.check_data(x)  # of a pair that is called as it stands


def check_lines(x: Tensor, size: int) -> None:
    """Refuse what is no array of lines: shapes, numbers that are no tokens, lines that are empty or go on.

    Args:
        x: the lines.
        size: how many tokens there are.
    """
    if x.dim() != 2 or not x.shape[1]:
        raise DataError(f"lines are of shape (rows, steps), of one step at least; got {tuple(x.shape)}.")
    if x.is_floating_point() or x.dtype == torch.bool:
        raise DataError(f"lines are whole numbers, one for each token; these are {x.dtype}. Cast them: x.long().")
    for words, wrong in (
        (f"holds a token that does not exist: they are 0 to {size - 1}", ((x < 0) | (x >= size)).any(1)),
        ("is empty: it begins with 0, which ends a line. Leave such lines out", x[:, 0] == END),
        ("goes on behind 0, which ends a line", (~before_end(x) & (x != END)).any(1)),
    ):
        if bool(wrong.any()):
            raise DataError(f"the line in row {int(wrong.nonzero()[0])} {words}.")
