"""From a table with holes and columns of several kinds to a pair and back.

`schema(frame)` says what the columns are, and `recipes.table_vae(schema)` makes a pair of it that takes frames; so does
`with_schema` of any other pair.
"""

from pyrovae.pairs.with_schema import with_schema
from pyrovae.tables.found_outliers import FoundOutliers
from pyrovae.tables.generate_where import generate_where
from pyrovae.tables.imputation_results import ImputationScores
from pyrovae.tables.imputation_scores import imputation_scores
from pyrovae.tables.imputed import Imputed
from pyrovae.tables.outliers import outliers
from pyrovae.tables.pooled import Pooled, pooled
from pyrovae.tables.read_schema import read_schema
from pyrovae.tables.refit_without_outliers import Refitted, refit_without_outliers
from pyrovae.tables.schema import Schema, schema
from pyrovae.tables.table_column import TableColumn

__all__ = [
    "FoundOutliers",
    "ImputationScores",
    "Imputed",
    "Pooled",
    "Refitted",
    "Schema",
    "TableColumn",
    "generate_where",
    "imputation_scores",
    "outliers",
    "pooled",
    "read_schema",
    "refit_without_outliers",
    "schema",
    "with_schema",
]
