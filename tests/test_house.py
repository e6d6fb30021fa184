"""The shape of the package: import floors, no circles, short files and functions, nothing loose at its root."""

import ast
from functools import cache
from pathlib import Path

import pytest

import ncbench

PACKAGE = Path(ncbench.__file__).parent
FACES = {"__init__.py", "__main__.py", "train.py", "_cli.py", "_safe_path.py"}
LONGEST_FILE, LONGEST_FUNCTION = 244, 69
TABLE = 100  # lines from which on one assignment is a table
MOST_FLOORS = 5  # modules in the longest chain of imports inside ncbench.report
# `python -m ncbench.measure` loads a run: an entry point that has its name from the package, which does not know runs.
ENTRY_POINTS = {"ncbench.measure.__main__"}
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def graph():
    """The import graph without what only a type checker sees, as the contracts in pyproject.toml count it."""
    grimp = pytest.importorskip("grimp", reason="the graph of imports comes with import-linter")
    return grimp.build_graph("ncbench", exclude_type_checking_imports=True, cache_dir=None)


def longest_chain(graph, room):
    """The longest path of imports among the modules of a room; AssertionError for a circle."""

    @cache
    def below(module):
        imported = [m for m in graph.find_modules_directly_imported_by(module) if f"{m}.".startswith(f"{room}.")]
        return (module, *max((chain(m, module) for m in imported), key=len, default=()))

    under_way = []

    def chain(module, importer):
        assert module not in under_way, f"imports in a circle: {under_way} -> {module}"
        under_way.append(module)
        try:
            return below(module)
        finally:
            under_way.pop()

    modules = [m for m in graph.modules if f"{m}.".startswith(f"{room}.")]
    return max((chain(module, None) for module in modules), key=len)


def test_report_stands_on_few_floors(graph):
    chain = longest_chain(graph, "ncbench.report")
    assert "ncbench.report.__main__" in graph.modules
    assert len(chain) <= MOST_FLOORS, " -> ".join(chain)


def test_no_module_imports_itself_through_others(graph):
    assert len(longest_chain(graph, "ncbench")) > MOST_FLOORS


def test_no_room_imports_itself_through_others(graph):
    """A room is a package directly under ncbench, or a loose module there."""
    rooms = {module: ".".join(module.split(".")[:2]) for module in graph.modules if module != "ncbench"}
    arrows = {
        (rooms[module], rooms[imported])
        for module in rooms
        if module not in ENTRY_POINTS
        for imported in graph.find_modules_directly_imported_by(module)
        if imported in rooms and rooms[imported] != rooms[module]
    }
    reachable = {room: {b for a, b in arrows if a == room} for room in set(rooms.values())}
    for _ in reachable:
        for room, targets in reachable.items():
            reachable[room] = targets | {further for target in targets for further in reachable[target]}
    assert {room for room, targets in reachable.items() if room in targets} == set()


def test_nothing_stands_loose_but_the_faces():
    assert {path.name for path in PACKAGE.glob("*.py")} == FACES


def test_a_circle_would_be_seen():
    class Graph:
        modules = ("room.a", "room.b")

        def find_modules_directly_imported_by(self, module):
            return {"room.a": ["room.b"], "room.b": ["room.a"]}[module]

    with pytest.raises(AssertionError, match="imports in a circle"):
        longest_chain(Graph(), "room")


def outside_the_table(source, tree):
    """Lines of a file without its longest assignment, which may be a table, such as the catalogue of figures."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    longest = max((node.end_lineno - node.lineno + 1 for node in assigned), default=0)
    return len(source.splitlines()) - (longest if longest >= TABLE else 0)


def code_lines(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    return lines - (first.end_lineno - first.lineno + 1) if ast.get_docstring(function) else lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert outside_the_table(source, tree) <= LONGEST_FILE
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: code_lines(f) for f in functions if code_lines(f) > LONGEST_FUNCTION}
    assert not long, f"at most {LONGEST_FUNCTION} lines without the docstring"
