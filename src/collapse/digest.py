"""Digests of code: of the syntax trees, without comments and docstrings, of a module and all that it imports.

A rule carries the digest of what it runs, so that an edit re-runs what depends on it and a comment re-runs nothing.
Standard library only; nothing is imported, files are parsed.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent
NEUTRAL = frozenset({"collapse.progress"})
"""Modules that show and compute nothing: they do not count where others import them."""


def _path(module: str, source: Path) -> Path | None:
    base = source.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a bare string: a docstring, or the note below a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _strip(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return tree


@cache
def _parsed(path: Path) -> ast.Module:
    return _strip(ast.parse(path.read_bytes(), filename=str(path)))


def _is_other_rule(node: ast.AST, rules: frozenset[str]) -> bool:
    """Whether a statement registers a mixing policy (``@kind``) that is not among ``rules``."""
    decorators = [d.id for d in getattr(node, "decorator_list", []) if isinstance(d, ast.Name)]
    return "kind" in decorators and node.name not in rules


@cache
def _dumped(path: Path, rules: frozenset[str] | None = None) -> str:
    tree = _parsed(path)
    if rules is not None:
        tree = ast.Module([node for node in tree.body if not _is_other_rule(node, rules)], [])
    return ast.dump(tree)


@cache
def _imports(path: Path, source: Path) -> frozenset[str]:
    found = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(name for name in found if name.split(".")[0] == "collapse" and _path(name, source))


def modules(*names: str, source: Path = SOURCE) -> list[str]:
    """Return the named modules and all modules of the package that they import, directly or not, sorted.

    Raises:
        FileNotFoundError: a named module does not exist.
    """
    seen, todo = set(), list(names)
    while todo:
        name = todo.pop()
        path = _path(name, source)
        if path is None:
            raise FileNotFoundError(f"no module {name}")
        if name not in seen:
            seen.add(name)
            todo += _imports(path, source) - NEUTRAL
    return sorted(seen)


def code(*names: str, rules: Iterable[str] | None = None, source: Path = SOURCE) -> str:
    """Return the digest (16 hexadecimal characters) of modules and of all that they import.

    Args:
        names: modules.
        rules: the mixing policies that are used; the functions of others do not count, so that adding a policy re-runs
            nothing. All count by default.
        source: folder of the package.
    """
    total, rules = hashlib.sha256(), None if rules is None else frozenset(rules)
    for name in modules(*names, source=source):
        total.update(f"{name}\n{_dumped(_path(name, source), rules)}\n".encode())
    return total.hexdigest()[:16]


def script(path: str | Path, source: Path = SOURCE) -> str:
    """Return the digest of a script outside the package and of the package's modules that it imports."""
    path = Path(path).resolve()
    tree = hashlib.sha256(_dumped(path).encode()).hexdigest()[:16]
    return tree + code(*_imports(path, source), source=source)


def _imported(tree: ast.Module, name: str, source: Path) -> tuple[str, str] | None:
    """Return the module and the class that a dotted name stands for, or None where it is not of the package.

    Args:
        tree: the module in which the name is used.
        name: ``Settings``, ``transformer.Settings`` or ``collapse.families.transformer.Settings``.
        source: folder of the package.
    """
    meant = {}  # what each name at the top of the module stands for, dotted
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            meant |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            meant |= {alias.asname: alias.name for alias in node.names if alias.asname}
    first, *rest = name.split(".")
    module, _, cls = ".".join([meant.get(first, first), *rest]).rpartition(".")
    return (module, cls) if module.split(".")[0] == "collapse" and _path(module, source) else None


def defines(module: str, function: str, source: Path = SOURCE) -> bool:
    """Whether a module defines a function of this name. Raises FileNotFoundError where there is no such module."""
    path = _path(module, source)
    if path is None:
        raise FileNotFoundError(f"no module {module}")
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in _parsed(path).body)


def dataclass_fields(module: str, name: str = "Config", source: Path = SOURCE) -> list[str]:
    """Return the field names of a dataclass without importing its module: settings are checked before torch loads.

    Fields of base classes come first, as in `dataclasses.fields`; bases from outside the package have none.

    Raises:
        FileNotFoundError: no such module.
        LookupError: no such class in it, or no such class where it takes a base from.
    """
    path = _path(module, source)
    if path is None:
        raise FileNotFoundError(f"no module {module}")
    tree = _parsed(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        raise LookupError(f"no class {name} in {module}")
    found: list[str] = []
    for base in reversed(classes[name].bases):  # the order of dataclasses: the last base first
        text = ast.unparse(base)
        if where := (module, text) if text in classes else _imported(tree, text, source):
            found += dataclass_fields(*where, source=source)
    found += [
        n.target.id for n in classes[name].body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    ]
    return list(dict.fromkeys(found))
