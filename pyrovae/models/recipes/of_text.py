"""The recipe of pairs for lines of text."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.normals import DiagNormal
from pyrovae.models.priors.normal_priors import StandardNormal
from pyrovae.models.sequences.token_decoder import TokenDecoder
from pyrovae.models.sequences.token_reader import TokenReader
from pyrovae.models.vaes.text_vae import TextVAE
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.with_schema import RowSchema, WithSchema, with_schema


@runtime_checkable
class HasTokens(RowSchema, Protocol):
    """What turns lines into tokens and back, such as `pv.text.Vocabulary`."""

    @property
    def size(self) -> int: ...  # noqa: D102 - how many tokens there are

    @property
    def steps(self) -> int: ...  # noqa: D102 - the longest line, its end included


def text_vae(
    vocabulary: HasTokens,
    latent: int = 32,
    *,
    hidden: int = 256,
    embedding: int = 64,
    word_dropout: float = 0.0,
) -> WithSchema:
    r"""A VAE of lines of text, which it takes as they are: see `TextVAE`.

    \[ z \sim \mathcal N(0, I), \qquad x_t \sim p(x_t \mid x_{<t}, z), \qquad q(z \mid x) \]

    The choices, each with its reason:

    - *A recurrent decoder that is told z at every step*, not at the first alone: it forgets less.
    - *A guide that reads both ways*: the end of a line says as much as its beginning.
    - *An end that is a token*: how long lines are is learned, drawn lines end, and padding has probability 1, so that
      it enters no figure.
    - *Word dropout is 0 where it is not asked for*: it keeps a code from being ignored and costs likelihood. So do free
      bits and schedules of `temper`; `docs/text.md` compares them.

    Args:
        vocabulary: `pv.text.vocabulary(lines)`: which tokens there are.
        latent: Dims of z.
        hidden: Width of the recurrent networks.
        embedding: Width of the embeddings of tokens.
        word_dropout: The share of tokens that the decoder does not get to read in training.

    Returns:
        A pair that carries the vocabulary: every function takes lines of text (a list of them), and `pv.generate` and
        `pv.reconstruct` give such. It takes tokens, too: `vocabulary.encode(lines)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> lines = ["a cat sat", "a dog ran", "the cat ran"]
        >>> pair = pv.recipes.text_vae(pv.text.vocabulary(lines), latent=2, hidden=16, embedding=8)
        >>> _ = pv.fit(pair, lines, epochs=2, progress=False)
        >>> pv.encode(pair, lines)["z"].mean.shape
        torch.Size([3, 2])
    """
    if not isinstance(vocabulary, HasTokens):
        raise ArgumentError(
            f"text_vae takes a vocabulary, pv.text.vocabulary(lines): which tokens there are. This is "
            f"{type(vocabulary).__name__}."
        )
    latent, hidden, embedding = check_counts(latent=latent, hidden=hidden, embedding=embedding)
    widths = {"hidden": hidden, "embedding": embedding}
    vae = TextVAE(
        prior=StandardNormal(latent),
        likelihood=TokenDecoder(vocabulary.size, latent, vocabulary.steps, **widths),
        posterior=DiagNormal(TokenReader(vocabulary.size, 2 * latent, **widths)),
        word_dropout=word_dropout,
    )
    return with_schema(vae, vocabulary)
