"""What `check_pair` says."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong, or probably wrong, with a pair.

    Attributes:
        clause: the clause of the contract that is broken, such as `to-event`.
        severity: `error` or `warning`.
        message: what is wrong, where, and how to mend it.
        where: the name of the site, plate, module or argument that it is about, or nothing.
    """

    clause: str
    severity: str
    message: str
    where: str = ""
