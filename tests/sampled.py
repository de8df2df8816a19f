"""The part of the suite that `make test` runs: some cases of each test, all of those that are quick.

A test over all styles of pair has sixty cases, and most faults break many of them. So `--part sample` takes `CASES` of
each parametrised test, spread over its cases from a place that differs by test, so that every style is met by many
tests; what is marked slow, or a trial, is left out. `--part rest` is everything else: together they are the suite.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from zlib import crc32

import pytest

CASES = 8


def parted(items: Iterable[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The sample and the rest, each in the order of the suite."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        tests[item.nodeid.split("[")[0]].append(item)
    taken = {cases[place] for name, cases in tests.items() for place in places(name, len(cases))}
    taken = {item for item in taken if not any(item.get_closest_marker(name) for name in ("slow", "trial"))}
    ordered = [item for cases in tests.values() for item in cases]
    return [item for item in ordered if item in taken], [item for item in ordered if item not in taken]


def places(name: str, cases: int) -> list[int]:
    """Which cases of a test are in the sample."""
    if cases <= CASES:
        return list(range(cases))
    return [(crc32(name.encode()) + number * cases // CASES) % cases for number in range(CASES)]
