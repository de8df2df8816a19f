"""A process that ends, or whose disk fails, at the n-th thing that it asks of the disk."""

from __future__ import annotations

import os

# What is asked of a disk, each a moment at which a process can end.
CALLS = ("replace", "fsync", "open", "mkdir", "ftruncate", "unlink")


def hooked(number: int | None, act) -> list[int]:
    """Let the `number`-th call act, whichever function it is; how many there have been."""
    count = [0]

    def wrapped(real):
        def call(*given, **more):
            count[0] += 1
            if count[0] == number:
                act()
            return real(*given, **more)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))
    return count


def in_a_child(act) -> int:
    """What `act` returns, in a process of its own; 9 where it killed itself."""
    child = os.fork()
    if not child:
        code = 77
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed() -> None:
    os._exit(9)


def full() -> None:
    raise OSError(28, "No space left on device")
