"""scikit-learn estimators: a pair of a table that is fitted, scored, searched and put into pipelines as any of theirs.

Each takes frames with columns of any kind, or arrays of numbers, with holes (NaN), makes a schema and a pair of them,
and trains it. They are imported, and scikit-learn with them, when they are first used.
"""

from pyrovae.tables.estimators.vae_density import VAEDensity
from pyrovae.tables.estimators.vae_imputer import VAEImputer
from pyrovae.tables.estimators.vae_outlier_detector import VAEOutlierDetector
from pyrovae.tables.estimators.vae_transformer import VAETransformer

__all__ = ["VAEDensity", "VAEImputer", "VAEOutlierDetector", "VAETransformer"]
