"""Whether what a file promises fits into memory, asked before anything of it is unpacked."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from pyrovae.errors import FileError

# Of what is free: what is read is looked at, scaled and copied, too.
_SHARE = 0.5


def check_memory(needed: int, label: str, mend: str) -> None:
    """Refuse what takes more than half of the memory that is free.

    Args:
        needed: bytes.
        label: what they are of.
        mend: how to go on, a sentence.

    Raises:
        FileError: with the size and the limit.

    Examples:
        >>> check_memory(10**15, "x.npz", "Give fewer rows.")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        pyrovae.errors.FileError: x.npz takes 931,322.6 GiB of memory, and the limit is ... GiB, ... Give fewer rows.
    """
    limit = int(_SHARE * free_memory())
    if needed > limit:
        raise FileError(
            f"{label} takes {needed / 2**30:,.1f} GiB of memory, and the limit is {limit / 2**30:,.1f} GiB, half of "
            f"what is free now. {mend}"
        )


def free_memory() -> int:
    """Bytes that this process could have: of the machine, or of the container that it runs in."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, TypeError, ValueError):  # other systems than Linux, or no container
        found.append(1024 * int(re.search(r"MemAvailable:\s+(\d+)", _text("/proc/meminfo"))[1]))  # type: ignore[index]
    with suppress(OSError, ValueError):
        group = "/sys/fs/cgroup/memory"
        found.append(int(_text(f"{group}.max")) - int(_text(f"{group}.current")))
    return max(0, min(found))


def _text(path: str) -> str:
    return Path(path).read_text(encoding="ascii")
