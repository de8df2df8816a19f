"""The pair that a configuration describes, whoever wrote it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.cli.table_config import AnyConfig
from pyrovae.data.check_memory import check_memory
from pyrovae.errors import FileError, PyrovaeError
from pyrovae.pairs.pair import unwrapped


def built_pair(model_config: AnyConfig, described_by: str, rows: np.ndarray | None = None) -> Any:
    """Build it, once it is known to fit into memory.

    Args:
        model_config: what it is.
        described_by: where that stands, for errors.
        rows: of the data, for what begins with them.

    Raises:
        FileError: it does not fit, or cannot be built.
    """
    try:
        with torch.device("meta"):
            parts: Any = unwrapped(model_config.build())
            size = sum(tensor.numel() * tensor.element_size() for tensor in parts.state_dict().values())
        check_memory(size, f"the pair that {described_by} describes", "Train a smaller one.")
        return model_config.build(rows)
    except PyrovaeError:
        raise
    except Exception as error:  # strange numbers fail anywhere
        raise FileError(f"{described_by} describes a pair that cannot be built: {error}.") from error
