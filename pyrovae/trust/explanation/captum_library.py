"""The library that attributes figures to cells, where it is installed."""

from __future__ import annotations

from typing import Any

from pyrovae.errors import ArgumentError


def captum() -> Any:
    """Captum's methods of attribution, or an error that says where they are from."""
    try:
        import captum.attr as library
    except ImportError as error:
        raise ArgumentError("explain needs captum, which is an extra: pip install 'pyrovae[explain]'.") from error
    return library
