"""Lines of text, their tokens, and what a pair of them is asked.

`vocabulary(lines)` says which tokens there are, and `recipes.text_vae(vocabulary)` makes a pair of it that takes lines.
"""

from pyrovae.data.datasets.read_lines import read_lines
from pyrovae.tables.text.perplexity import Perplexity, perplexity
from pyrovae.tables.text.read_vocabulary import read_vocabulary
from pyrovae.tables.text.vocabulary import Vocabulary, vocabulary

__all__ = [
    "Perplexity",
    "Vocabulary",
    "perplexity",
    "read_lines",
    "read_vocabulary",
    "vocabulary",
]
