"""A pair of tables described by plain values, as `ModelConfig` does it for arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import pyrovae as pv
from pyrovae.cli.annotation import Annotation
from pyrovae.cli.model_config import ModelConfig
from pyrovae.cli.text_config import TextConfig
from pyrovae.data.origin import Data, DataSource
from pyrovae.tables.read_schema import schema_from
from pyrovae.tables.schema import Schema
from pyrovae.training.saved.description import describe_array

_HIDDEN, _LATENT = (128,), 8


@dataclass(frozen=True)
class TableConfig:
    """What a pair of a table is made of.

    Examples:
        >>> import pandas as pd
        >>> schema = pv.tables.schema(pd.DataFrame({"x": [0.5, 1.5, -2.0]}))
        >>> TableConfig(schema.toml()).shape
        (1,)
    """

    schema: str
    hidden: tuple[int, ...] = _HIDDEN
    latent: int = _LATENT
    annotation: Annotation | None = None
    likelihood: ClassVar[str] = "by column"
    scaling: ClassVar[str] = "none"

    def read(self) -> Schema:
        """The schema, as a document holds it."""
        return schema_from(self.schema, "the schema of the run")

    @property
    def shape(self) -> tuple[int]:
        """The shape of one row: how many columns the model has."""
        return (len(self.read().columns),)

    def prepare(self, values: np.ndarray) -> np.ndarray:
        """Rows as the pair takes them: as the schema made them."""
        return values

    def restore(self, values: np.ndarray) -> np.ndarray:
        """What the pair gives, in the units of the rows."""
        return values

    def build(self, rows: np.ndarray | None = None) -> Any:
        """The pair, whose scaling stands in the schema."""
        one = self.annotation
        more: dict[str, Any] = {}
        if one is not None:
            more = {"classes": one.width} if one.role == "labels" else {"condition": one.read()}
        return pv.recipes.table_vae(self.read(), self.latent, hidden=self.hidden, **more)

    @staticmethod
    def bare(pair: Any) -> Any:
        """The pair without its schema."""
        return pair.pair


AnyConfig = ModelConfig | TableConfig | TextConfig


def data_of(source: DataSource, model_config: AnyConfig | None) -> Data:
    """The data of a run; those of a table or of lines as the run's schema makes them."""
    if isinstance(model_config, TextConfig):
        return source.load_tokens(model_config.read())
    return source.load_rows(model_config.read()) if isinstance(model_config, TableConfig) else source.load()


def digest_of(data: Data, model_config: AnyConfig | None) -> str:
    """By which data are known again, labels and conditions among them."""
    known = describe_array(data.values)
    if model_config is None or model_config.annotation is None:
        return known
    return f"{known}, {describe_array(model_config.annotation.codes(data.annotations))}"
