"""Sentences are for people: they call arguments through `argument`, and no code reads words out of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from structure import parsed

import pyrovae
from pyrovae.cli.option_names import _OPTIONS

PACKAGE = Path(pyrovae.__file__).parent
# An argument written out: `patience=`, but not as part of code such as `fit(seed=...)` or `plate(..., size=...)`.
_WRITTEN = re.compile(rf"(?<![\w.$-])({'|'.join(_OPTIONS)})=")
_CODE = re.compile(r"\w\([^()]*(\([^()]*\)[^()]*)*\)?")
_READING = ("startswith", "endswith", "removeprefix", "removesuffix", "partition", "split", "find", "index")


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), parsed(path.read_text(encoding="utf-8"), str(path))


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a file that are no docstrings, those of an f-string in one piece."""
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant):
        return
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    elif isinstance(tree, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in tree.values)  # type: ignore[misc]
    else:
        for child in ast.iter_child_nodes(tree):
            yield from texts(child)


def written_out(tree: ast.Module) -> list[str]:
    return [text for text in texts(tree) if _WRITTEN.search(_CODE.sub("", text))]


def of_an_error(node: ast.AST) -> bool:
    """Whether an expression is the text of an error: str(error), error.args, or words made of these."""
    return any(
        isinstance(part, ast.Call) and ast.unparse(part.func) == "str" and "error" in ast.unparse(part)
        for part in ast.walk(node)
    )


def readings(tree: ast.Module) -> list[str]:
    """Where words are looked for in the text of an error."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(one, ast.In | ast.NotIn) for one in node.ops):
            found += [ast.unparse(node)] if any(of_an_error(part) for part in node.comparators) else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _READING:
            found += [ast.unparse(node)] if of_an_error(node.func.value) and node.args else []
    return found


# Arguments of the same name that no option sets.
_OTHERS = {"models/priors/vamp_prior.py", "trust/epistemic/whole_data.py"}


@pytest.mark.slow
def test_arguments_that_have_options_are_not_written_out():
    found = {name: written_out(tree) for name, tree in trees() if not name.startswith("cli/")}
    assert {name for name, texts in found.items() if texts} <= _OTHERS, found


# Of other libraries' errors alone: Pyro appends the shapes of a trace to its messages.
_FOREIGN = {"checks/exceptions.py", "sampling/capabilities.py"}


def test_no_word_is_looked_for_in_an_error():
    found = {name: readings(tree) for name, tree in trees()}
    assert {name for name, places in found.items() if places} <= _FOREIGN, found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('raise ValueError(f"epochs={n}; give more")', 1),
        ('raise ValueError("Stop early (patience=).")', 1),
        ("raise ValueError(f\"{argument('epochs', n)}; give more, or fit(seed=...)\")", 0),
        ('def f():\n    "One of: mode=."', 0),
    ],
)
def test_what_is_written_out_is_seen(code, count):
    assert len(written_out(ast.parse(code))) == count


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('x = "newer" in str(error)', 1),
        ('x = str(error).startswith("Diverged")', 1),
        ('x = " ".join(str(error).split())', 0),
        ('x = "a" in names', 0),
    ],
)
def test_words_looked_for_are_seen(code, count):
    assert len(readings(ast.parse(code))) == count
