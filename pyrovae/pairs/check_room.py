"""Whether results fit into memory, asked before anything of them is made."""

from __future__ import annotations

import os

from pyrovae.errors import ArgumentError


def check_room(needed: int, label: str, mend: str) -> None:
    """Refuse what takes more than all of this machine's memory.

    Args:
        needed: bytes.
        label: what they are of, in the plural.
        mend: how to go on, a sentence.

    Raises:
        ArgumentError: with the size.

    Examples:
        >>> check_room(2**80, "the weights", "Ask for fewer draws.")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        pyrovae.errors.ArgumentError: the weights take 1,125,899,906,842,624 GiB, more than this machine's memory...
    """
    if needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise ArgumentError(f"{label} take {needed / 2**30:,.0f} GiB, more than this machine's memory. {mend}")
