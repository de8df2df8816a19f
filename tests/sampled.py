"""The part of the suite that `make test` runs: some cases of each test, all of those that are quick.

A test over all styles of pair has sixty cases, and most faults break many of them. So `--part sample` takes `CASES` of
each parametrised test, spread over its cases from a place that differs by test, so that every style is met by many
tests; what is marked slow, or a trial, is left out. `--part rest` is everything else: together they are the suite.

The rest takes most of an hour on two cores. `--share 2/3` takes every third case of each test in it, so that three runs
in a row, each with the next share, have met them all: `.ci/run` turns to another share with each commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from zlib import crc32

import pytest

CASES = 3


def parted(items: Iterable[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The sample and the rest, each in the order of the suite."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        tests[item.nodeid.split("[")[0]].append(item)
    taken = {cases[place] for name, cases in tests.items() for place in places(name, len(cases))}
    taken = {item for item in taken if not any(item.get_closest_marker(name) for name in ("slow", "trial"))}
    ordered = [item for cases in tests.values() for item in cases]
    return [item for item in ordered if item in taken], [item for item in ordered if item not in taken]


def shared(items: Iterable[pytest.Item], share: str) -> list[pytest.Item]:
    """A share of these, "2/3" say: of each test its cases in turn, from one that differs by test."""
    number, shares = map(int, share.split("/"))
    if not 1 <= number <= shares:
        raise pytest.UsageError(f"--share is a number and of how many, 2/3 say, not {share}")
    met: dict[str, int] = defaultdict(int)
    taken = []
    for item in items:
        name = item.nodeid.split("[")[0]
        if (crc32(name.encode()) + met[name]) % shares == number - 1:
            taken.append(item)
        met[name] += 1
    return taken


def places(name: str, cases: int) -> list[int]:
    """Which cases of a test are in the sample."""
    if cases <= CASES:
        return list(range(cases))
    return [(crc32(name.encode()) + number * cases // CASES) % cases for number in range(CASES)]
