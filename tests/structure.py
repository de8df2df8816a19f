"""What the checks of the package's shape are made of; each is tried on a small tree in test_structure.py."""

from __future__ import annotations

import ast
import functools
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

Graph = dict[str, set[str]]

parsed = functools.cache(ast.parse)


def modules(package: Path) -> dict[str, ast.Module]:
    """Dotted name below the package ("" is its `__init__`) -> parsed source."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join(parts)] = parsed(path.read_text(encoding="utf-8"), str(path))
    return found


def import_graph(package: Path, homes: dict[str, str] | None = None) -> Graph:
    """Module -> modules of the package that it imports anywhere, inside functions too.

    `homes` says where a lazy name of the package lives: `from package import Name` is an import of that module.
    """
    sources = modules(package)
    graph: Graph = {}
    for name, tree in sources.items():
        asked = {target for node in ast.walk(tree) for target in _targets(node, name, package, sources)}
        known = {(homes or {}).get(target, target) for target in asked}
        graph[name] = {_nearest(target, sources) for target in known} - {name, ""}
    return graph


def _targets(node: ast.AST, module: str, package: Path, sources: Iterable[str]) -> list[str]:
    """Dotted names below the package that a statement or a call of `import_module` asks for."""
    if isinstance(node, ast.Import):
        return [_below(alias.name, package) for alias in node.names if _is_below(alias.name, package)]
    if isinstance(node, ast.ImportFrom):
        base = _absolute(node, module, package)
        if not _is_below(base, package):
            return []
        start = _below(base, package)
        inner = [f"{start}.{alias.name}".lstrip(".") for alias in node.names]
        # `from package.module import name` asks for the module, `from package import module` for the second word.
        return [name if name in sources or not start else start for name in inner]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
        return [_below(text, package) for text in texts if isinstance(text, str) and _is_below(text, package)]
    return []


def _absolute(node: ast.ImportFrom, module: str, package: Path) -> str:
    if not node.level:
        return node.module or ""
    is_package = (package / Path(*module.split(".")) / "__init__.py").exists()
    parts = [package.name, *filter(None, module.split("."))]
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *filter(None, [node.module])])


def _is_below(name: str, package: Path) -> bool:
    return name == package.name or name.startswith(f"{package.name}.")


def _below(name: str, package: Path) -> str:
    return name.removeprefix(package.name).lstrip(".")


def _nearest(target: str, sources: Iterable[str]) -> str:
    while target and target not in sources:
        target = target.rpartition(".")[0]
    return target


def reachable(graph: Graph, start: Iterable[str]) -> dict[str, list[str]]:
    """Every module that the start modules need -> a way of imports that leads there."""
    ways = {name: [name] for name in start}
    waiting = list(ways)
    while waiting:
        name = waiting.pop()
        for target in graph.get(name, set()) - set(ways):
            ways[target] = [*ways[name], target]
            waiting.append(target)
    return ways


def members(graph: Graph, arm: set[str]) -> set[str]:
    return {name for name in graph if name.split(".")[0] in arm}


def trespasses(graph: Graph, own: set[str], other: set[str]) -> list[str]:
    """Ways of imports that lead from one arm into the other."""
    ways = reachable(graph, members(graph, own))
    return [" -> ".join(way) for name, way in sorted(ways.items()) if name in members(graph, other)]


def climbs(graph: Graph, order: tuple[str, ...]) -> list[str]:
    """Imports of a room that comes later in the order."""
    places = {room: place for place, room in enumerate(order)}
    return [
        f"{name} -> {target}"
        for name in sorted(graph)
        for target in sorted(graph[name])
        if name and places[name.split(".")[0]] < places[target.split(".")[0]]
    ]


def private_imports(package: Path) -> list[str]:
    """Names with a leading underscore that one module takes from another."""
    return [
        f"{module}: {alias.name}"
        for module, tree in modules(package).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and _is_below(_absolute(node, module, package), package)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]


def cycles(graph: Graph) -> list[str]:
    """Modules that need themselves, by one way of imports each."""
    found = []
    for name in sorted(graph):
        for target in graph[name]:
            ways = reachable(graph, [target])
            if name in ways:
                found.append(" -> ".join([name, *ways[name]]))
                break
    return found


def function_sizes(package: Path) -> dict[str, int]:
    """`module.function` -> its lines without the docstring."""
    sizes = {}
    for module, tree in modules(package).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                text = node.body[0] if ast.get_docstring(node) is not None else None
                docstring = text.end_lineno - text.lineno + 1 if text else 0
                sizes[f"{module}.{node.name}:{node.lineno}"] = node.end_lineno - node.lineno + 1 - docstring
    return sizes


def module_sizes(package: Path) -> dict[str, int]:
    return {
        str(path.relative_to(package)): len(path.read_text(encoding="utf-8").splitlines())
        for path in package.rglob("*.py")
    }


def machine_paths(paths: Iterable[Path]) -> list[str]:
    """Places that name a folder which only one machine has."""
    pattern = re.compile(r"(?<![\w.:/~-])/(?:root|home|work|Users|mnt)/[\w.]|[A-Z]:\\Users", re.ASCII)
    return [
        f"{path.name}:{number}: {line.strip()[:80]}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def report(title: str, sizes: dict[str, int], *, meant: int) -> None:
    print(f"\n{title}: {len(sizes)}, median {statistics.median(sizes.values()):g} lines; over {meant}:")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size > meant:
            print(f"  {size:4d}  {name}")


def misnamed(homes: dict[str, str]) -> list[str]:
    """Functions that stand in a file of another name, and that no other public name shares it with.

    Args:
        homes: public name -> the module that defines it.
    """
    by_home = defaultdict(list)
    for name, home in homes.items():
        by_home[home].append(name)
    alone = {home: names[0] for home, names in by_home.items() if len(names) == 1}
    return [f"{home}: {name}" for home, name in sorted(alone.items()) if home.rpartition(".")[2] != name]


def repeated(folders: Iterable[Path]) -> list[str]:
    """Functions of a module that stand word for word, under one name, in another; what tests assert may recur."""
    places = defaultdict(list)
    for folder in folders:
        for module, tree in modules(folder).items():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("test_"):
                    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                    places[node.name, "\n".join(map(ast.unparse, body))].append(module)
    return [f"{name}: {', '.join(found)}" for (name, _), found in places.items() if len(found) > 1]
