"""A pair of lines of text described by plain values, as `TableConfig` does it for tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import pyrovae as pv
from pyrovae.pairs.pair import unwrapped
from pyrovae.tables.text.read_vocabulary import vocabulary_from
from pyrovae.tables.text.vocabulary import Vocabulary

_LATENT, _HIDDEN, _EMBEDDING = 32, 256, 64

# Nats of KL that are free: without them the decoder learns to do without a code; see docs/text.md.
_FREE = 4.0


@dataclass(frozen=True)
class TextConfig:
    """What a pair of lines is made of.

    Examples:
        >>> TextConfig(pv.text.vocabulary(["a cat"]).toml()).shape
        (6,)
    """

    vocabulary: str
    hidden: int = _HIDDEN
    latent: int = _LATENT
    embedding: int = _EMBEDDING
    free_nats: float = _FREE
    annotation: ClassVar[None] = None
    likelihood: ClassVar[str] = "by token"
    scaling: ClassVar[str] = "none"

    def read(self) -> Vocabulary:
        """The vocabulary, as a document holds it."""
        return vocabulary_from(self.vocabulary, "the vocabulary of the run")

    @property
    def shape(self) -> tuple[int]:
        """The shape of one line: how many tokens it has with its end and what fills it up."""
        return (self.read().steps,)

    def prepare(self, values: np.ndarray) -> np.ndarray:
        """Tokens as the pair takes them: as the vocabulary made them."""
        return values

    def restore(self, values: np.ndarray) -> np.ndarray:
        """What the pair gives, as tokens."""
        return values

    def build(self, rows: np.ndarray | None = None) -> Any:
        """The pair, with free nats around it that no figure knows of."""
        made = pv.recipes.text_vae(self.read(), self.latent, hidden=self.hidden, embedding=self.embedding)
        return pv.free_bits(made, {"z": self.free_nats})

    @staticmethod
    def bare(pair: Any) -> Any:
        """The pair of tokens."""
        return unwrapped(pair)
