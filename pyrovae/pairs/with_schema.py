"""Pairs whose data are the rows of frames: what says how a frame becomes rows, and back."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch

from pyrovae.errors import ArgumentError
from pyrovae.pairs.pair import HasPair, Wrapped, check_is_pair


@runtime_checkable
class RowSchema(Protocol):
    """What turns frames into rows and back, such as `pv.tables.Schema`."""

    @property
    def columns(self) -> Any: ...  # noqa: D102

    def encode(self, frame: Any, /) -> torch.Tensor:
        """The rows of a frame, (rows, columns), NaN for what is missing."""
        ...

    def decode(self, rows: Any, *, like: Any = None, form: Any = None, nearest: bool = False) -> Any:
        """A frame of rows; `like` is one of the same rows, `form` one of the library wanted."""
        ...

    def toml(self) -> str:
        """All that it says, as a text that is the same for the same schema."""
        ...


def with_schema(pair: HasPair, schema: RowSchema) -> WithSchema:
    """A pair around a pair, that carries a schema: every function takes frames in the place of its rows.

    A frame among the data is turned into the rows of `schema.encode`; `impute`, `generate` and `reconstruct` give
    frames back. Arrays are taken as they were before. A pair of one's own may have an attribute `schema` as well.

    Args:
        pair: any pair that takes the rows of the schema: (rows, columns), NaN for what is missing; see `pv.masked`.
        schema: `pv.tables.schema(frame)`, or one that was read.

    Returns:
        The pair, with the same arguments.

    Examples:
        >>> import pandas as pd, pyrovae as pv
        >>> frame = pd.DataFrame({"x": [0.5, 1.5, -2.0], "y": [0.1, 0.4, -0.3]})
        >>> vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 2), scale=1.0), pv.DiagNormal(pv.MLP(2, [], 2)))
        >>> pair = pv.tables.with_schema(vae, pv.tables.schema(frame))
        >>> pv.log_evidence(pair, frame, draws=10).value.shape
        torch.Size([3])
    """
    check_is_pair(pair)
    if not isinstance(schema, RowSchema):
        raise ArgumentError(f"{type(schema).__name__} is no schema; give pv.tables.schema(frame).")
    return WithSchema(pair.pair if isinstance(pair, WithSchema) else pair, schema)


class WithSchema(Wrapped):
    """A pair that carries the schema of its rows; see `with_schema`."""

    def __init__(self, pair: HasPair, schema: RowSchema):
        self.pair, self.schema = pair, schema
        self.said = schema.toml()  # of a training that is resumed, another schema is another pair


def schema_of(pair: Any) -> RowSchema | None:
    """The schema that a pair carries, or one inside its wrappers; None where there is none."""
    while not isinstance(getattr(pair, "schema", None), RowSchema):
        if not isinstance(pair, Wrapped):
            return None
        pair = pair.pair
    return pair.schema
