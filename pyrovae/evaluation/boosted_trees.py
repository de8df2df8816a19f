"""The classifier of rows of any scale that two-sample tests begin with."""

from __future__ import annotations

from typing import Any


def boosted_trees(seed: int) -> Any:
    """Gradient-boosted trees: they see what moments do not, take any scale, and see holes."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    settings: dict[str, Any] = {"max_iter": 50, "early_stopping": False, "random_state": seed % 2**32}
    return HistGradientBoostingClassifier(**settings)
