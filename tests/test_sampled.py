"""The sample of the suite: each test stands in it or in the rest, and every case can be met; faults on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutations import FAULTS
from sampled import CASES, parted, places, shared


@pytest.mark.parametrize("cases", [1, CASES, CASES + 1, 57])
def test_as_many_different_cases_as_there_may_be(cases):
    found = places("tests/test_x.py::test_of_all", cases)
    assert len(set(found)) == len(found) == min(cases, CASES)
    assert set(found) <= set(range(cases))


def test_tests_differ_in_what_they_take():
    met = {place for number in range(200) for place in places(f"tests/test_x.py::test_{number}", 57)}
    assert met == set(range(57))


def test_what_is_slow_and_what_is_too_many_is_the_rest(items):
    sample, rest = parted(items)
    assert [item.nodeid for item in sample if "many" not in item.nodeid] == ["t.py::test_quick"]
    assert sum("many" in item.nodeid for item in sample) == CASES
    assert len(sample) + len(rest) == len(items)
    assert {*sample}.isdisjoint(rest)


def test_shares_meet_every_case_once_and_some_of_each_test(items):
    shares = [shared(items, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(item.nodeid for share in shares for item in share) == sorted(item.nodeid for item in items)
    assert [sum("many" in item.nodeid for item in share) for share in shares] == [10, 10, 10]
    assert shared(items, "1/1") == items
    with pytest.raises(pytest.UsageError, match="not 4/3"):
        shared(items, "4/3")


class _Item:
    def __init__(self, nodeid: str, *marks: str):
        self.nodeid, self.marks = nodeid, marks

    def get_closest_marker(self, name: str):
        return name if name in self.marks else None


@pytest.fixture
def items():
    many = [_Item(f"t.py::test_many[{number}]") for number in range(30)]
    return [_Item("t.py::test_quick"), _Item("t.py::test_slow", "slow"), *many, _Item("t.py::test_trial", "trial")]


@pytest.mark.parametrize(("line", "fault", "names"), FAULTS)
def test_every_fault_on_purpose_has_its_line_and_its_tests(line, fault, names, sources):
    assert sum(text.count(line) for text in sources) == 1
    assert line != fault
    assert all(list(Path(__file__).parent.glob(f"test_{name}.py")) for name in names.split())


@pytest.fixture(scope="module")
def sources():
    return [path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].glob("pyrovae/**/*.py")]


def test_trials_are_what_users_and_strangers_do():
    """So that `make trial` stays short; what else is slow is marked so."""
    tests = Path(__file__).parent
    marked = [
        path for path in tests.rglob("test_*.py") if "@pytest.mark." + "trial" in path.read_text(encoding="utf-8")
    ]
    assert {path.relative_to(tests).parts[0] for path in marked} <= {
        "attacks",
        "styles",
        "test_docs.py",
        "test_examples.py",
    }
