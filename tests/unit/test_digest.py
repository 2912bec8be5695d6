"""Digests of code: comments and docstrings do not count, code does, and so does what is imported."""

import ast
import shutil
from itertools import count
from pathlib import Path

import pytest

from collapse import digest

FRESH = count()
STORE = '''"""What it is for."""

import json

LIMIT = 3
"""What the limit means."""


class Box:
    """A box."""

    size: int = 1

    def open(self):
        """Open it."""
        # quietly
        return "a text that is code"

    async def close(self):
        """Close it."""
        return {"key": 1}
'''
PACKAGE = {
    "__init__.py": '"""A package."""\n',
    "store.py": STORE,
    "loop.py": "from collapse import store\nfrom collapse.store import Box\n",
    "lazy.py": "def run():\n    import collapse.store\n    from collapse.deep.inner import thing\n",
    "far.py": "from collapse.loop import store\nimport numpy as np\nfrom json import dumps\n",
    "alone.py": "X = 1\n",
    "deep/__init__.py": "from collapse.alone import X\n",
    "deep/inner.py": "thing = 1\n",
    "ring_a.py": "from collapse import ring_b\n",
    "ring_b.py": "from collapse import ring_a\n",
}


@pytest.fixture
def package(tmp_path):
    """A function that writes the package, with changed files, to a folder of its own and returns the folder."""

    def build(**changes):
        source = tmp_path / str(next(FRESH)) / "collapse"
        for name, text in {**PACKAGE, **{k.replace("__", "/") + ".py": v for k, v in changes.items()}}.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return source

    return build


def changed(package, old, new):
    """The digests of `store` before and after an edit."""
    assert old in STORE
    return [digest.code("collapse.store", source=s) for s in (package(), package(store=STORE.replace(old, new)))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# quietly", "# with a bang"),
        ('"""What it is for."""', '"""Something else."""'),
        ('"""What it is for."""\n', "# no docstring at all\n"),
        ('"""A box."""', '"""A bigger box,\n\n    described at length.\n    """'),
        ('"""Open it."""', '"""Open."""'),
        ('"""Close it."""', '"""Close."""'),
        ('"""What the limit means."""', '"""What it really means."""'),
        ("LIMIT = 3", "LIMIT = (3)  # the same"),
        ("\n\n\n", "\n\n\n\n\n"),
        ('{"key": 1}', "{'key': 1}"),
    ],
)
def test_comments_docstrings_and_layout_keep_the_digest(package, old, new):
    before, after = changed(package, old, new)
    assert before == after
    assert len(before) == 16


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("a text that is code", "another text that is code"),
        ("size: int = 1", "size: int = 2"),
        ("def open", "def reopen"),
        ("import json", "import json as j"),
        ('{"key": 1}', '{"key": True}'),
        ("    async def close", "    def close"),
    ],
)
def test_code_changes_the_digest(package, old, new):
    before, after = changed(package, old, new)
    assert before != after


def test_dependants_are_found(package):
    source = package()
    assert digest.modules("collapse.loop", source=source) == ["collapse", "collapse.loop", "collapse.store"]
    assert digest.modules("collapse.far", source=source) == [
        "collapse",
        "collapse.far",
        "collapse.loop",
        "collapse.store",
    ]
    # imports inside functions, too
    assert digest.modules("collapse.lazy", source=source) == [
        "collapse.deep.inner",
        "collapse.lazy",
        "collapse.store",
    ]
    assert digest.modules("collapse.deep", source=source) == ["collapse.alone", "collapse.deep"]
    assert digest.modules("collapse.ring_a", source=source)[-2:] == ["collapse.ring_a", "collapse.ring_b"]


def test_an_edit_changes_what_depends_on_it_and_nothing_else(package):
    names = ("store", "loop", "far", "lazy", "alone", "deep", "ring_a")
    before, after = package(), package(store=STORE.replace("3", "4"))
    touched = {
        n for n in names if digest.code(f"collapse.{n}", source=before) != digest.code(f"collapse.{n}", source=after)
    }
    assert touched == {"store", "loop", "far", "lazy"}


def test_the_order_of_names_does_not_matter_but_the_names_do(package):
    source = package()
    both = digest.code("collapse.alone", "collapse.store", source=source)
    assert both == digest.code("collapse.store", "collapse.alone", source=source)
    assert both != digest.code("collapse.store", source=source)
    moved = package(other=PACKAGE["alone.py"])
    assert digest.code("collapse.alone", source=moved) != digest.code("collapse.other", source=moved)


def test_a_module_that_does_not_exist(package):
    with pytest.raises(FileNotFoundError, match=r"no module collapse\.none"):
        digest.code("collapse.none", source=package())


def test_scripts(package, tmp_path):
    source, other = package(), package(alone="X = 2\n")
    script = tmp_path / "figure.py"
    script.write_text('"""Figure."""\nfrom collapse.deep import X\nprint(X)  # shown\n')
    renamed = tmp_path / "same.py"
    renamed.write_text("from collapse.deep import X\n\nprint(X)\n")
    edited = tmp_path / "edited.py"
    edited.write_text("from collapse.deep import X\n\nprint(X + 1)\n")
    assert digest.script(script, source) == digest.script(renamed, source)
    assert digest.script(script, source) != digest.script(edited, source)
    assert digest.script(script, source) != digest.script(script, other)


def test_fields_are_read_without_importing(package):
    model = "import no_such_package\n\nclass Config:\n    a: int\n    b: str = 'x'\n    C = 1\n\n    def f(self): ...\n"
    source = package(model=model)
    assert digest.dataclass_fields("collapse.model", source=source) == ["a", "b"]
    with pytest.raises(LookupError, match="no class Other"):
        digest.dataclass_fields("collapse.model", "Other", source=source)
    with pytest.raises(FileNotFoundError, match=r"no module collapse\.none"):
        digest.dataclass_fields("collapse.none", source=source)


BASE = """
import no_such_package


class First:
    a: int
    b: int = 2


class Settings(First, no_such_package.Thing):
    c: int = 3
"""


@pytest.mark.parametrize(
    ("imports", "base"),
    [
        ("from collapse.base import Settings", "Settings"),
        ("from collapse.base import Settings as S", "S"),
        ("from collapse import base", "base.Settings"),
        ("import collapse.base", "collapse.base.Settings"),
        ("import collapse.base as there", "there.Settings"),
    ],
)
def test_fields_of_a_base_come_first(package, imports, base):
    model = f"{imports}\nfrom typing import Protocol\n\n\nclass Config({base}, Protocol):\n    d: int\n    a: float\n"
    source = package(base=BASE, model=model)
    assert digest.dataclass_fields("collapse.model", source=source) == ["a", "b", "c", "d"]
    assert digest.dataclass_fields("collapse.base", "Settings", source=source) == ["a", "b", "c"]


def test_fields_are_those_of_dataclasses_whatever_the_bases(package):
    """Two bases, a field in both, a chain of three."""
    text = """
from dataclasses import dataclass

@dataclass
class A:
    a: int = 0
    b: int = 0

@dataclass
class B:
    b: int = 0
    c: int = 0

@dataclass
class C(A):
    d: int = 0

@dataclass
class Config(C, B):
    e: int = 0
    c: int = 1
"""
    from dataclasses import fields

    module = {}
    exec(text, module)
    expected = [f.name for f in fields(module["Config"])]
    assert digest.dataclass_fields("collapse.model", source=package(model=text)) == expected


def test_a_base_that_is_not_there(package):
    source = package(base=BASE, model="from collapse.base import Other\n\n\nclass Config(Other):\n    a: int\n")
    with pytest.raises(LookupError, match=r"no class Other in collapse\.base"):
        digest.dataclass_fields("collapse.model", source=source)


def test_functions_are_found_without_importing(package):
    text = (
        'import no_such_package\n\ndef details(items):\n    """Of items."""\n    def inner(): ...\n\n'
        'def only_text():\n    """A docstring alone."""\n\nclass Box:\n    def method(self): ...\n\nmeasure = 1\n'
    )
    source = package(model=text)
    for name, there in {
        "details": True, "only_text": True, "inner": False, "method": False, "measure": False, "Box": False,
        "detail": False,
    }.items():  # fmt: skip
        assert digest.defines("collapse.model", name, source=source) is there
    with pytest.raises(FileNotFoundError, match=r"no module collapse\.none"):
        digest.defines("collapse.none", "details", source=source)


# the package itself


def test_fields_of_the_package_are_those_of_its_dataclasses():
    from dataclasses import fields

    from collapse.datasets import gaussian, linear
    from collapse.families import gaussian as family
    from collapse.families import gpt2, llama2

    for module in (gaussian, linear, family, gpt2, llama2):
        assert digest.dataclass_fields(module.__name__) == [f.name for f in fields(module.Config)]


VERBS = {
    "prepare": ("datasets.stories",),
    "fit": ("datasets.stories", "families.gpt2"),
    "pretrained": ("families.gpt2",),
    "measure": ("datasets.stories", "metrics.stories", "families.gpt2"),
    "simulate": ("datasets.linear", "families.linear"),
    "runs": (),
    "figure": (),
    "judge": (),
}
"""A rule's digest is that of its command, and of the data set and the family that it is run for."""


@pytest.mark.parametrize(
    ("edited", "touched", "untouched"),
    [
        ("policies", {"fit", "simulate"}, {"prepare", "runs", "figure"}),
        ("store", set(VERBS), set()),
        ("families/decoding", {"fit", "measure", "pretrained"}, {"prepare", "simulate", "runs", "figure", "judge"}),
        ("families/linear", {"simulate"}, set(VERBS) - {"simulate"}),
        ("datasets/hub", {"prepare", "fit", "pretrained"}, {"simulate", "runs", "figure", "judge"}),
        ("judging/inference", {"judge"}, set(VERBS) - {"judge"}),
        ("metrics/text", {"measure"}, set(VERBS) - {"measure"}),  # a new measure trains nothing anew
        ("plotting", {"figure"}, set(VERBS) - {"figure"}),
    ],
)
def test_an_edit_of_the_package_reaches_the_rules_that_run_it(tmp_path, edited, touched, untouched):
    source = tmp_path / "collapse"
    shutil.copytree(digest.SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    path = source / f"{edited}.py"
    path.write_text(path.read_text() + "\nNOTHING = None\n")
    found = set()
    for verb, more in VERBS.items():
        modules = [f"collapse.{name}" for name in (f"commands.{verb}", *more)]
        if digest.code(*modules) != digest.code(*modules, source=source):
            found.add(verb)
    assert touched <= found
    assert not untouched & found


def test_imports_can_be_seen():
    """Relative imports would be missed; modules named at run time must be among what a rule names itself."""
    no_rules = {digest.SOURCE / "commands/check.py"}
    dynamic = set()
    for path in set(digest.SOURCE.rglob("*.py")) - no_rules:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module"
            ):
                dynamic.add(ast.unparse(node.args[0]).split("{")[0].strip("f'\""))
    assert dynamic == {"collapse.datasets.", "collapse.families.", "collapse.metrics."}


def test_every_import_of_a_module_exists():
    for path in sorted(digest.SOURCE.rglob("*.py")):
        name = ".".join(("collapse", *path.relative_to(digest.SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        assert name in digest.modules(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("collapse"):
                assert digest._path(node.module, Path(digest.SOURCE)), f"{path}: no module {node.module}"


@pytest.mark.parametrize(
    ("old", "new", "same", "other"),
    [
        ("@kind\ndef replace(", "@kind\ndef new(n, size):\n    return ()\n\n\n@kind\ndef replace(", ["replace"], []),
        (
            "n * size),)\n\n\n@kind\ndef accumulate_s",
            "n * size + 0),)\n\n\n@kind\ndef accumulate_s",
            ["replace"],
            ["accumulate"],
        ),
        ("def plan(", "def other():\n    pass\n\n\ndef plan(", [], ["replace", "accumulate"]),
    ],
)
def test_a_policy_counts_for_the_jobs_that_use_it(tmp_path, old, new, same, other):
    source = tmp_path / "collapse"
    shutil.copytree(digest.SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    text = (source / "policies.py").read_text()
    assert text.count(old) == 1
    (source / "policies.py").write_text(text.replace(old, new))

    def kept(rule):
        return digest.code("collapse.loop", rules=[rule], source=source) == digest.code("collapse.loop", rules=[rule])

    assert all(map(kept, same))
    assert not any(map(kept, other))
    assert digest.code("collapse.loop", source=source) != digest.code("collapse.loop")


def test_how_progress_is_shown_does_not_count():
    assert "collapse.progress" not in digest.modules("collapse.commands.fit", "collapse.families.gpt2")
    assert "collapse.progress" in digest.modules("collapse.progress")
