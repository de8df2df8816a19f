"""Names of parameters: unique in a process, and as files and users know them."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable

_counter = itertools.count()

_FRESH = re.compile(r"@[0-9a-f]+")


def fresh_name(prefix: str) -> str:
    """A name for `pyro.module` that no other object of this process has.

    What follows the `@` never reaches a file: see `canonical`.

    Examples:
        >>> name = fresh_name("vae")
        >>> canonical([name + "$$$likelihood.net.0.weight"])
        ['vae.likelihood.net.0.weight']
    """
    return f"{prefix}@{next(_counter):x}{secrets.token_hex(4)}"


def canonical(names: Iterable[str]) -> list[str]:
    """The names as files and users know them, in the same order.

    Fresh parts are dropped and `pyro.module`'s divider becomes a dot; where two objects then share a
    prefix, the second is called `prefix_2`, and so on in the order of appearance.
    """
    known: dict[str, dict[str, int]] = {}
    result = []
    for name in names:
        fresh = _FRESH.search(name)
        if fresh:
            stem = name[: fresh.start()]
            numbers = known.setdefault(stem, {})
            number = numbers.setdefault(fresh.group(), len(numbers) + 1)
            name = stem + (f"_{number}" if number > 1 else "") + name[fresh.end() :]
        result.append(name.replace("$$$", "."))
    return result
