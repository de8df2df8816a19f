"""Functions that return a pair: short cuts from raw data to something that trains."""

from pyrovae.models.recipes.by_class import categorical_vae, conditional_vae, mixture_vae, semi_supervised_vae
from pyrovae.models.recipes.by_data import count_vae, image_vae, vector_vae
from pyrovae.models.recipes.by_step import sequence_vae
from pyrovae.models.recipes.of_tables import table_vae
from pyrovae.models.recipes.of_text import text_vae
from pyrovae.models.recipes.uncertain_parts import bayesian_decoder, bayesian_mixture

__all__ = [
    "bayesian_decoder",
    "bayesian_mixture",
    "categorical_vae",
    "conditional_vae",
    "count_vae",
    "image_vae",
    "mixture_vae",
    "semi_supervised_vae",
    "sequence_vae",
    "table_vae",
    "text_vae",
    "vector_vae",
]
