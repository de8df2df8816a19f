"""From a table with holes and columns of several kinds to a pair and back.

`schema(frame)` says what the columns are, `recipes.table_vae(schema)` makes a pair of it, and a schema turns frames
into what the pair takes and back.
"""

from pyrovae.tables.imputed import Imputed
from pyrovae.tables.pooled import Pooled, pooled
from pyrovae.tables.read_schema import read_schema
from pyrovae.tables.schema import Schema, schema
from pyrovae.tables.table_column import TableColumn

__all__ = ["Imputed", "Pooled", "Schema", "TableColumn", "pooled", "read_schema", "schema"]
