"""A section of the report."""

from __future__ import annotations

from typing import NamedTuple


class Section(NamedTuple):
    """A heading, a figure, and how to read it."""

    heading: str
    body: str
    reading: str
