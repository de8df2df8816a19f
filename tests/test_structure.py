"""The shape of the package: rooms in their order, two arms, no cycles, small pieces, one list of names.

Sizes are reported (`pytest tests/test_structure.py -s`), and fail only where they are far beyond what was meant.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from structure import (
    Graph,
    climbs,
    cycles,
    function_sizes,
    import_graph,
    machine_paths,
    members,
    misnamed,
    module_sizes,
    modules,
    private_imports,
    repeated,
    report,
    trespasses,
)

import pyrovae as pv

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyrovae"

# Rooms in import order: each may import those before it, never one after it.
ROOMS = (
    "errors",
    "pairs",
    "data",
    "plots",
    "objectives",
    "checks",
    "sampling",
    "prediction",
    "evaluation",
    "staged",
    "training",
    "trust",
    "export",
    "models",
    "tables",
    "report",
    "cli",
    "__main__",
)
# What the building arm may take of the using arm: a Bayesian decoder needs the posteriors over weights.
ARMS_MEET = ("models.recipes",)
SHARED = {"errors", "pairs"}
# Modules that are used by their own name (pv.objectives.IWAE, ...): they alone re-export.
PUBLIC_MODULES = {
    "data.datasets",
    "models.recipes",
    "models.truth",
    "objectives",
    "plots",
    "tables",
    "tables.estimators",
    "tables.text",
    "training.trackers",
    "trust.epistemic",
}

MODULE_MEANT, MODULE_CAP = 300, 400  # lines
TESTS_MEANT, TESTS_CAP = 400, 750
FUNCTION_MEANT, FUNCTION_CAP = 30, 60  # lines without the docstring
CLASS_DEPTH = 2
# Names that say nothing of what stands in a file.
NAMELESS = {"base", "utils", "util", "helpers", "helper", "misc", "common", "core", "tools", "stuff", "lib"}

# The package


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(PACKAGE, homes=lazy_homes())


def lazy_homes() -> dict[str, str]:
    return {name: home.removeprefix("pyrovae").lstrip(".") for name, home in pv._HOMES.items()}


def test_the_rooms_are_those_that_the_order_knows(graph):
    rooms = {name.split(".")[0] for name in graph} - {""}
    assert rooms <= set(ROOMS)
    assert (
        len({path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()} - {"__pycache__"}) <= 19
    )


def test_a_room_imports_only_rooms_before_it(graph):
    assert climbs(graph, ROOMS) == []


def test_the_building_arm_takes_little_of_the_using_arm(graph):
    found = {
        f"{name} -> {target}"
        for name in members(graph, {"models"})
        for target in graph[name]
        if target.split(".")[0] not in SHARED | {"models"}
    }
    assert {line for line in found if not line.startswith(ARMS_MEET)} == set()


def test_no_two_files_share_a_name():
    names = [path.stem for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_two_classes_share_a_name():
    found = [node.name for tree in modules(PACKAGE).values() for node in tree.body if isinstance(node, ast.ClassDef)]
    assert sorted({name for name in found if found.count(name) > 1}) == []


def test_nobody_takes_what_another_file_keeps_to_itself():
    assert private_imports(PACKAGE) == []


def test_a_rooms_door_holds_a_docstring_alone():
    doors = {
        str(path.parent.relative_to(PACKAGE)).replace("/", "."): ast.parse(path.read_text(encoding="utf-8")).body
        for path in PACKAGE.rglob("*/__init__.py")
    }
    assert {room for room, body in doors.items() if len(body) != 1 and room not in PUBLIC_MODULES} == set()
    logic = (ast.FunctionDef, ast.ClassDef)
    assert {room for room in PUBLIC_MODULES if any(isinstance(node, logic) for node in doors[room])} == set()


def test_no_import_cycles(graph):
    assert cycles(graph) == []


def test_modules_are_rooms_not_halls():
    sizes = module_sizes(PACKAGE)
    report("modules", sizes, meant=MODULE_MEANT)
    assert {name: size for name, size in sizes.items() if size > MODULE_CAP} == {}


def test_files_of_tests_can_be_read():
    sizes = module_sizes(ROOT / "tests")
    report("tests", sizes, meant=TESTS_MEANT)
    assert {name: size for name, size in sizes.items() if size > TESTS_CAP} == {}


def test_a_file_bears_the_name_of_the_one_public_function_in_it():
    functions = {name: home for name, home in pv._HOMES.items() if inspect.isfunction(getattr(pv, name))}
    shared = {home for name, home in pv._HOMES.items() if name not in functions}
    assert misnamed({name: home for name, home in functions.items() if home not in shared}) == []


def test_names_of_files_say_something():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    assert [path.name for path in files if path.stem.removeprefix("test_") in NAMELESS] == []


@pytest.mark.slow
def test_no_function_is_written_twice():
    assert repeated([PACKAGE, ROOT / "tests"]) == []


def test_functions_fit_on_a_screen():
    sizes = function_sizes(PACKAGE)
    report("functions", sizes, meant=FUNCTION_MEANT)
    assert {name: size for name, size in sizes.items() if size > FUNCTION_CAP} == {}


def test_classes_are_not_deep():
    depths = {}
    for name in modules(PACKAGE):
        module = importlib.import_module(f"pyrovae.{name}".rstrip("."))
        for _, kind in inspect.getmembers(module, inspect.isclass):
            depths[kind] = sum(base.__module__.split(".")[0] == "pyrovae" for base in kind.__mro__)
    assert {kind.__qualname__: depth for kind, depth in depths.items() if depth > CLASS_DEPTH} == {}


def test_no_public_name_is_the_name_of_a_room():
    public = {name for name in pv.__all__ if inspect.ismodule(getattr(pv, name))}
    assert set(pv.__all__) & set(ROOMS) <= public


def test_the_list_of_names_leads_straight_to_the_files():
    """The stub is the one list: each name is imported from the file that defines it."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    listed = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted([*listed, "__version__"]) == sorted(pv.__all__)
    assert len(set(listed)) == len(listed)
    astray = {
        name: getattr(pv, name).__module__
        for name, home in pv._HOMES.items()
        if not inspect.ismodule(getattr(pv, name)) and getattr(pv, name).__module__ != home
    }
    assert astray == {}


def test_the_reference_lists_the_same_names():
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: pyrovae\.(\S+)$", text, flags=re.MULTILINE)
    assert sorted(listed) == sorted(set(pv.__all__) - {"__version__"})


@pytest.mark.parametrize("name", sorted(set(pv.__all__) - {"__version__"}))
def test_every_public_name_is_explained(name):
    thing = getattr(pv, name)
    text = inspect.getdoc(thing) or ""
    own = thing.__doc__ if inspect.isclass(thing) else text
    assert own, f"{name} has no docstring"
    simple = inspect.ismodule(thing) or (isinstance(thing, type) and issubclass(thing, Exception | Warning))
    assert simple or any(part in text for part in (">>> ", "Args:", "Attributes:")), (
        f"{name} shows neither an example nor its arguments"
    )


def test_examples_stand_under_the_heading_that_the_documentation_knows():
    """Under `Example:` the lines of an example become quotations instead of code."""
    heading = re.compile(r"^\s+Example:$", re.MULTILINE)
    found = [p.relative_to(ROOT) for p in PACKAGE.rglob("*.py") if heading.search(p.read_text(encoding="utf-8"))]
    assert [str(path) for path in found] == []


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned_for_both_interpreters():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {canonical(re.match(r"[\w.-]+", line)[0]) for line in required}
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    pins = [re.fullmatch(r'([\w.-]+)==([\w.]+)(; python_version (<|>=) "3\.12")?', line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
    held = [(canonical(pin[1]), half) for pin in pins for half in ("<", ">=") if pin[4] in (None, half)]
    assert len(held) == len(set(held)), "one version for each interpreter"
    assert {(name, half) for name in names for half in ("<", ">=")} <= set(held)
    assert "torch==2.13.0" in lines


def tree_texts() -> list[Path]:
    kinds = {".py", ".pyi", ".md", ".toml", ".txt", ".yml", ".ipynb"}
    folders = ("pyrovae", "tests", "docs", "examples", "benchmarks", ".ci")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    return [*inside, ROOT / "Makefile", ROOT / ".ci" / "run", *(p for p in ROOT.glob("*") if p.suffix in kinds)]


def test_nothing_names_a_folder_of_one_machine():
    assert machine_paths(path for path in tree_texts() if path != Path(__file__)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pyrovae; dir(pyrovae); pyrovae.__version__",
        "import sys; sys.argv = ['pyrovae', '--help']; from pyrovae.cli.main import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code",
    ],
    ids=["import pyrovae", "pyrovae --help"],
)
def test_a_quick_answer_imports_neither_torch_nor_pyro(code):
    # Time of the processor, not of the clock: other tests run beside this one.
    closing = (
        "\nimport sys, time"
        "\nnames = ('torch', 'pyro', 'arviz', 'pyarrow', 'matplotlib', 'sklearn', 'pandas')"
        "\nheavy = [n for n in names if n in sys.modules]"
        "\nprint(heavy, time.process_time(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code + closing], capture_output=True, text=True, check=True)
    heavy, seconds = done.stderr.strip().splitlines()[-1].rsplit(maxsplit=1)
    assert heavy == "[]"
    assert float(seconds) < 0.5


# The checks themselves, on trees where something is wrong


@pytest.fixture
def tree(tmp_path):
    def write(**files: str) -> Path:
        for name, text in {"__init__": "", **files}.items():
            path = tmp_path / "package" / f"{name.replace('__slash__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "package"

    return write


@pytest.mark.parametrize(
    "statement",
    [
        "import package.nets",
        "import package.nets as n",
        "from package import nets",
        "from package.nets import MLP",
        "from .nets import MLP",
        "from . import nets",
        "def lazily():\n    from package.nets import MLP",
        "if TYPE_CHECKING:\n    from .nets import MLP",
        "import importlib\nimportlib.import_module('package.nets')",
        "from package import MLP",
    ],
)
def test_an_import_of_the_other_arm_is_seen(tree, statement):
    package = tree(nets="", training=statement)
    graph = import_graph(package, homes={"MLP": "nets"})
    assert trespasses(graph, {"training"}, {"nets"}) == ["training -> nets"]
    assert trespasses(graph, {"nets"}, {"training"}) == []


def test_a_way_round_into_the_other_arm_is_seen(tree):
    package = tree(
        conditionals__slash____init__="from package.conditionals.base import Base",
        conditionals__slash__base="",
        middle="def f():\n    from .conditionals.base import Base",
        training__slash____init__="",
        training__slash__loop="from ..middle import f",
    )
    graph = import_graph(package)
    assert graph["conditionals"] == {"conditionals.base"}
    ways = trespasses(graph, {"training"}, {"conditionals"})
    assert ways == ["training.loop -> middle -> conditionals.base"]


def test_an_import_of_a_later_room_is_seen(tree):
    package = tree(a="from package.b import f", b="def f(): ...", c="from package import a")
    assert climbs(import_graph(package), ("a", "b", "c")) == ["a -> b"]
    assert climbs(import_graph(package), ("b", "a", "c")) == []


def test_what_a_file_keeps_to_itself_is_seen(tree):
    package = tree(a="from package.b import _f, g\nfrom .b import _h as h", b="", c="from os import _exit")
    assert private_imports(package) == ["a: _f", "a: _h"]


def test_a_cycle_is_seen(tree):
    package = tree(
        a="from . import b", b="def f():\n    from package import c", c="import package.a", d="from . import a"
    )
    assert cycles(import_graph(package)) == ["a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"]
    assert cycles({"a": {"b"}, "b": set()}) == []


def test_a_file_of_another_name_is_seen():
    homes = {"fit": "p.training.fit", "steps": "p.training.loop", "prior": "p.draws", "posterior": "p.draws"}
    assert misnamed(homes) == ["p.training.loop: steps"]


def test_a_function_that_stands_twice_is_seen(tree):
    package = tree(
        a='def f(x):\n    """Once."""\n    return x + 1\n\n\ndef g(): ...\n\n\ndef test_it(): ...\n',
        b="def f(y):\n    return x + 1\n\n\ndef h(): ...\n\n\ndef test_it(): ...\n",
    )
    assert repeated([package]) == ["f: a, b"]


def test_sizes_are_counted(tree):
    package = tree(a='def f():\n    """Two\n    lines."""\n    return 1\n\n\nasync def g():\n    pass\n')
    assert module_sizes(package) == {"__init__.py": 0, "a.py": 8}
    assert function_sizes(package) == {"a.f:1": 2, "a.g:7": 2}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("path = '/" + "home/someone/data'", 1),
        ("see /" + "root/.cache", 1),
        ("C:" + "\\Users\\someone", 1),
        ("https://example.org/" + "home/page", 0),
        ("docs/" + "work/flow", 0),
        ("a / home / b", 0),
    ],
)
def test_folders_of_one_machine_are_seen(tmp_path, line, found):
    (tmp_path / "page.md").write_text(f"first\n{line}\n")
    assert len(machine_paths([tmp_path / "page.md"])) == found
