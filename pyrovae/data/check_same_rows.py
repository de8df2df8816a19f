"""Rows that have labels, and are taken by their place."""

from __future__ import annotations

from typing import Any

from pyrovae.errors import ArgumentError


def check_same_rows(frame: Any, given: Any, words: str) -> None:
    """Refuse what has the labels of a frame's rows in another order: each row would be put beside another one.

    Labels that the frame does not have say nothing: they are what is left of another table, or were counted anew.

    Args:
        frame: whose rows they are; one without labels has its places alone.
        given: something for each of its rows.
        words: how to call that in an error.
    """
    own, other = _labels(frame), _labels(given)
    if own is None or other is None or len(own) != len(other) or own.equals(other):
        return
    if set(own) == set(other):
        raise ArgumentError(
            f"{words} has the labels of the frame's rows in another order, and rows are taken by their place. Put it "
            "into the order of the frame, such as by .loc[frame.index], or take the labels off (.reset_index(drop="
            "True)) where the places are right."
        )


def _labels(thing: Any) -> Any:
    """Those of pandas; a list has a method of that name, and frames of other libraries have none."""
    labels = getattr(thing, "index", None)
    return labels if hasattr(labels, "equals") else None
