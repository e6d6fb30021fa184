"""Docstrings of public names, read from the source: what they raise, the shapes of tensors, the source of a formula.

Public is what stands in an `__all__`. What the reference of the site shows (docs/api) has to say more than the rest:
the errors of the functions it calls, shapes, and where a measure or closed form comes from. A docstring may leave this
to another one by naming it ("errors as `hessian_nullity`").
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
AXIS = r"(?:\.\.\.|[\w{}+*/-]{1,9}(?: or 1)?)"
SHAPE = re.compile(rf"\({AXIS}(?:, {AXIS})+\)|\(\w+,\)|\(\.\.\.\)|\b[A-Z]\w* x \w|scalar|shape|dimensional")
SOURCE = re.compile(
    r"arXiv|[Ee]quation|Theorem|Definition|Section|Table|Figure|Proposition|Lemma|Remark|et al|\b\d{4}\)|[Dd]erived"
    r"|\b\w+/[\w-]*[Cc]ollapse|Papyan"
)
# Linear algebra and calculus, for which no paper has to be asked.
NO_FORMULA = {
    "gradient_norm",
    "hessian_nullity",
    "hessian_shape",
    "is_local_minimum",
    "ncc_labels",
    "one_sided_descent",
}
NO_FORMULA |= {"random_directions", "schatten", "singular_value", "singular_values", "smallest_eigenvalues"}


def trees(root):
    """Module -> its syntax tree."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = trees(ROOT / "ncbench")
PAGES = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
FACES = re.findall(r"^::: ([\w.]+)", PAGES, re.M)


@cache
def own(module):
    """What a module defines: functions and classes by name."""
    return {node.name: node for node in MODULES[module].body if isinstance(node, (*FUNCTION, ast.ClassDef))}


@cache
def imported(module):
    """Local name -> (module, name) of what a module imports from ncbench."""
    statements = [node for node in ast.walk(MODULES[module]) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in statements if (node.module or "").split(".")[0] == "ncbench"]
    return {alias.asname or alias.name: (node.module, alias.name) for node in ours for alias in node.names}


def resolved(module, name):
    """(module, node) that defines a name, None for a constant and what is not ours."""
    while (
        module in MODULES and name not in own(module) and imported(module).get(name, (module, name)) != (module, name)
    ):
        module, name = imported(module)[name]
    return (module, own(module)[name]) if module in MODULES and name in own(module) else None


def public(module):
    """The names of `__all__`."""
    for node in MODULES[module].body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return ast.literal_eval(node.value)
    return []


def bodies(node):
    """The functions that run when it is called."""
    if isinstance(node, ast.ClassDef):
        return [part for part in node.body if isinstance(part, FUNCTION) and part.name in ("__init__", "__post_init__")]
    return [node]


def raised(node):
    """Names of the exceptions that it raises itself."""
    statements = [part.exc for body in bodies(node) for part in ast.walk(body) if isinstance(part, ast.Raise)]
    names = {getattr(getattr(exc, "func", exc), "id", "") for exc in statements}
    return {name for name in names if name[:1].isupper()}


def raised_below(module, node):
    """ValueError where a function of ours that it calls by its name raises it."""
    calls = [part.func for body in bodies(node) for part in ast.walk(body) if isinstance(part, ast.Call)]
    called = [resolved(module, call.id) for call in calls if isinstance(call, ast.Name)]
    return (
        {"ValueError"}
        if any("ValueError" in raised(f[1]) for f in called if f and isinstance(f[1], FUNCTION))
        else set()
    )


def text(module, node):
    """Its docstring, that of its constructor, and those that they refer to by "as `name`"."""
    said = " ".join(filter(None, map(ast.get_docstring, (node, *bodies(node)))))
    others = [resolved(module, name) for name in re.findall(r"as\s+`(\w+)`", said)]
    return " ".join([said, *(ast.get_docstring(other[1]) or "" for other in others if other and other[1] is not node)])


def tensors(node):
    """Names of the arguments that are tensors."""
    arguments = [a for body in bodies(node) for a in (*body.args.posonlyargs, *body.args.args, *body.args.kwonlyargs)]
    return [a.arg for a in arguments if a.annotation is not None and "Tensor" in ast.unparse(a.annotation)]


EVERY = {(name, *found) for m in MODULES for name in public(m) if (found := resolved(m, name))}
SHOWN = {(name, face) for face in FACES for name in (public(face) if face in MODULES else ())}
SHOWN |= {(face.rpartition(".")[2], face.rpartition(".")[0]) for face in FACES if face not in MODULES}  # one name
REFERENCE = {(name, face, *found) for name, face in SHOWN if (found := resolved(face, name))}


def test_every_public_name_has_a_docstring_that_names_what_it_raises():
    assert len(EVERY) > 500
    assert {name for name, _, node in EVERY if not ast.get_docstring(node)} == set()
    assert {
        n for n, module, node in EVERY if "ValueError" in raised(node) and "ValueError" not in text(module, node)
    } == set()


def test_the_reference_tells_every_error():
    """Also those of the functions that are called directly; all figures have theirs in the head of `figure`."""
    assert len(REFERENCE) > 200
    missing = set()
    for name, face, module, node in REFERENCE:
        said = text(module, node) + (ast.get_docstring(MODULES[face]) or "") * (face == "ncbench.report.figure")
        missing |= {(name, error) for error in raised(node) | raised_below(module, node) if error not in said}
    assert missing == set()


def test_the_reference_tells_the_shapes_of_tensors():
    assert {
        name for name, _, module, node in REFERENCE if tensors(node) and not SHAPE.search(text(module, node))
    } == set()


def test_the_reference_tells_where_measures_and_closed_forms_come_from():
    """In the docstring, in the head of the module with its letters, or in that of a function that is named."""
    silent = set()
    for name, face, module, node in REFERENCE:
        if face.split(".")[1:2] in (["core"], ["theory"], ["analysis"]) and isinstance(node, FUNCTION):
            said = text(module, node)
            others = [resolved(module, other) for other in re.findall(r"`(?:[\w.]+\.)?(\w+)`", said)]
            heads = [ast.get_docstring(MODULES[m]) or "" for m in (module, *(other[0] for other in others if other))]
            heads += [ast.get_docstring(other[1]) or "" for other in others if other]
            if not SOURCE.search(" ".join([said, *heads])):
                silent.add(name)
    assert silent == NO_FORMULA


@pytest.mark.parametrize(
    ("source", "errors", "below", "has_shape"),
    [
        (
            'def f(x: Tensor):\n    """Raises TypeError; x (N, d)."""\n    raise ValueError("x")',
            {"ValueError"},
            set(),
            True,
        ),
        ('def f(x: Tensor):\n    """Of x."""\n    g(x)\ndef g(x):\n    raise ValueError', set(), {"ValueError"}, False),
        ('def f(n: int):\n    """As `g`, n."""\ndef g(n):\n    """Of shape (n,)."""', set(), set(), True),
    ],
)
def test_what_is_missing_would_be_seen(source, errors, below, has_shape, monkeypatch):
    monkeypatch.setitem(MODULES, "planted", ast.parse(source.replace("As `g`", "as `g`")))
    node = own("planted")["f"]
    own_errors, called = raised(node), raised_below("planted", node)
    said = text("planted", node)
    own.cache_clear(), imported.cache_clear()
    assert (own_errors, called, bool(SHAPE.search(said))) == (errors, below, has_shape)
    assert "ValueError" not in said
