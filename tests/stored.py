"""What tests of results in files share."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest

ENDINGS = pytest.mark.parametrize("ending", [".nc", ".zarr"])


@contextmanager
def largest_file(size: int):
    """Files that cannot grow beyond a size: what a full disk does, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
