"""How well a pair tells the next token."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

from pyrovae.errors import ArgumentError
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.models.sequences.token_sequence import before_end
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.with_schema import schema_of
from pyrovae.tables.text.vocabulary import Vocabulary

_MOST = math.log(sys.float_info.max)


class Perplexity(NamedTuple):
    """`value = exp(nats * lines / tokens)`; `nats` is the negative log-likelihood of a line.

    Attributes:
        value: the perplexity of a token.
        nats: of a line, on average.
        error: of `nats`, as an average over lines.
        tokens: how many there are in all, the ends of lines among them.
    """

    value: float
    nats: float
    error: float
    tokens: int


def perplexity(pair: HasPair, lines: Any, /, *, draws: int = 100, seed: int | None = 0) -> Perplexity:
    r"""The perplexity of lines under a pair, with z integrated out by importance sampling.

    \[ \exp\Big(-\frac{\sum_n \log \hat p(x_n)}{\sum_n |x_n|}\Big), \qquad
    \hat p(x_n) = \frac1K \sum_k \frac{p(x_n, z_k)}{q(z_k \mid x_n)} \]

    so that it is that of a language model, in which the end of a line counts as a token. The estimate of the
    likelihood is one from below, on average.

    Args:
        pair: that carries a vocabulary.
        lines: texts.
        draws: K.
        seed: of the draws.

    Returns:
        A `Perplexity`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> lines = ["a cat sat", "a dog ran"]
        >>> pair = pv.recipes.text_vae(pv.text.vocabulary(lines), latent=2, hidden=16, embedding=8)
        >>> pv.text.perplexity(pair, lines, draws=10).tokens
        20
    """
    schema = schema_of(pair)
    if not isinstance(schema, Vocabulary):
        raise ArgumentError("perplexity is of a pair that carries a vocabulary, such as pv.recipes.text_vae makes.")
    rows = schema.encode(lines)
    found = -log_evidence(pair, rows, draws=draws, seed=seed).value.double()
    tokens, nats = int(before_end(rows).sum()), float(found.mean())
    error = float(found.std()) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    each = nats * len(found) / tokens
    # Of weights that have run away it is more than a number can be.
    return Perplexity(math.exp(each) if each < _MOST else math.inf, nats, error, tokens)
