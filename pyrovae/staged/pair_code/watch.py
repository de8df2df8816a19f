"""What passes and users change of all that a pair's code can reach."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

import torch

from pyrovae.staged.pair_code.fields import KEYED, PLAIN, Field, WatchedEntries, all_same, equal
from pyrovae.staged.pair_code.reachable import Reachable


def difference(last: Reachable, before: Reachable, after: Reachable) -> str | None:
    """The first value of a pair's own that a pass makes another one each time, in words.

    Args:
        last: after the pass before on this kind of batch.
        before: before this pass; passes on other kinds, or the user, may have changed something since.
        after: after it. What is then as it was after the last one counts nothing: `self.rows = len(x)`.
    """
    for place, mark in before.marks.items():
        now = after.marks.get(place, mark)
        if now != mark and now != last.marks.get(place):
            return f"{place[0]}{_shown(mark, now)}"
    return None


def _shown(mark: Any, now: Any) -> str:
    if isinstance(mark, tuple) and isinstance(now, tuple):
        return f" was {mark[1]!r} before a pass and is {now[1]!r} after it"
    if isinstance(mark, int | str) and len(f"{mark}{now}") < 60:
        return f" was {mark} before a pass and is {now} after it"
    return " is another one after each pass"


def moved_numbers(before: Reachable, after: Reachable) -> str | None:
    """The first tensor of a pair's own behind which a pass has put other numbers, in words."""
    for key, (words, _, pointer) in before.storages.items():
        if after.storages.get(key, (words, None, pointer))[2] != pointer:
            return words
    return None


def rebound(before: Reachable, after: Reachable) -> list[Field]:
    """Where a pass puts tensors in the place of others."""
    old = before.values()
    return [
        field
        for field in after.fields
        if isinstance(field.value, torch.Tensor) and old.get(field.place, field.value) is not field.value
    ]


def steady(before: Reachable, after: Reachable) -> list[Field]:
    """What a pass has left alone."""
    old = before.values()
    return [field for field in after.fields if old.get(field.place, field.value) is field.value]


def steady_contents(before: Reachable, after: Reachable) -> list[WatchedEntries]:
    """The containers that a pass has left alone."""
    old = {id(one.held): one.entries for one in before.contents}
    return [one for one in after.contents if all_same(old.get(id(one.held), one.entries), one.entries)]


class Watch:
    """Looks, before each step, whether what a pair reads is still what it was."""

    def __init__(
        self,
        fields: Iterable[Field],
        registries: Iterable[tuple[str, dict]] = (),
        contents: Iterable[WatchedEntries] = (),
    ):
        self._registries = list(registries)
        self._take(fields, contents)

    def _take(self, fields: Iterable[Field], contents: Iterable[WatchedEntries]) -> None:
        self._contents = list(contents)
        self._dictionaries = [held for _, held in self._registries]
        self._sizes = list(map(len, self._dictionaries))
        self.fields = [field for field in fields if not isinstance(field.holder, tuple)]  # which cannot change
        by_holder: dict[int, list[Field]] = {}
        for field in self.fields:
            by_holder.setdefault(id(field.holder), []).append(field)
        many = [held for held in by_holder.values() if len(held) > 1 and isinstance(held[0].holder, KEYED)]
        # All entries of a dictionary at once: tuples are compared in C, by identity first.
        self._many = [
            (itemgetter(*(field.key for field in held)), held[0].holder, tuple(field.value for field in held))
            for held in many
        ]
        taken = {id(field) for held in many for field in held}
        single = [field for field in self.fields if id(field) not in taken]
        self._keyed = [(field.holder, field.key, field.value) for field in single if isinstance(field.holder, KEYED)]
        self._others = [field for field in single if not isinstance(field.holder, KEYED)]

    def moved(self) -> bool:
        """Whether any value is another one now."""
        try:
            return (
                self._sizes != list(map(len, self._dictionaries))
                or any(get(holder) != values for get, holder, values in self._many)
                or any(holder[key] is not value for holder, key, value in self._keyed)
                or any(field.now() is not field.value for field in self._others)
                or any(one.moved() for one in self._contents)
            )
        except Exception:
            return True  # an entry is gone, or is a tensor that was another tensor

    def changed(self) -> str | None:
        """The first value that is another one now, in words."""
        if not self.moved():
            return None
        for field in self.fields:
            now = field.now()
            if now is not field.value and not equal(now, field.value):
                shown = isinstance(now, PLAIN) and isinstance(field.value, PLAIN)
                return f"{field.words} was {field.value!r} and is {now!r}" if shown else f"{field.words} is another one"
        for one in self._contents:
            if one.differs():
                return f"{one.words} holds other entries"
        grown = [name for (name, held), size in zip(self._registries, self._sizes, strict=True) if len(held) != size]
        return f"a part, a hook or an attribute of {grown[0]} has come or gone" if grown else None

    def forget_changes(self) -> None:
        """Leave alone from now on what is another one now: a pass has changed it, not the user."""
        if self.moved():
            kept = [field for field in self.fields if field.now() is field.value]
            self._take(kept, [one for one in self._contents if not one.moved()])
