"""The environments: conda's have the same versions as pip's, and hold what the code imports.

What cannot be checked without a channel: that conda's solver finds these versions.
"""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = sorted(ROOT.glob("envs/*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}
OWNERS = packages_distributions()
COMMAND_LINE = {"pydantic", "pyyaml", "typer", "tqdm", "numpy", "safetensors"}
"""What every verb needs, whatever it does."""


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


PINS = {canonical(name): version for name, version in constraints().items()}


def specs(path):
    """Package, by its name on PyPI -> version, of a conda environment."""
    found = {}
    for spec in yaml.safe_load(path.read_text())["dependencies"]:
        match = re.fullmatch(r"([a-z0-9_.-]+) *={1,2}([0-9][0-9a-z.]*)", spec)
        assert match, f"{path.name}: {spec!r} is not a package with a version"
        name = canonical(CONDA_NAMES.get(match[1], match[1]))
        assert name not in found, f"{path.name}: {name} twice"
        found[name] = match[2]
    return found


def imports(path):
    """Distributions of the third-party packages that a module imports, at its top or inside its functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    foreign = names - sys.stdlib_module_names - {"collapse"}
    return {canonical(OWNERS[name][0]) if name in OWNERS else name for name in foreign}


def requirements(extra=None):
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda p: p.name)
def test_conda_environments_have_the_versions_of_the_constraints(path):
    content = yaml.safe_load(path.read_text())
    assert set(content) == {"channels", "dependencies"}
    assert content["channels"] == ["conda-forge", "nodefaults"]
    found = specs(path)
    python = found.pop("python")
    assert Version(python) in SpecifierSet(PROJECT["requires-python"])
    assert found == {name: PINS.get(name) for name in found}


def test_the_environments_hold_what_the_command_line_needs():
    assert [p.stem for p in ENVIRONMENTS] == ["analysis", "torch"]
    for path in ENVIRONMENTS:
        assert specs(path).keys() >= COMMAND_LINE, path.name


def test_the_environments_hold_what_the_code_imports():
    analysis, torch = (set(specs(ROOT / f"envs/{name}.yaml")) for name in ("analysis", "torch"))
    modules = sorted((ROOT / "src/collapse").rglob("*.py"))
    assert modules
    for path in modules:
        needed = imports(path)
        if path.name.startswith("bench"):  # no rule runs them: they compare with a library that only developers install
            needed -= {"transformers"}
        assert needed <= analysis | torch, f"{path}: {needed - analysis - torch} in neither environment"
        if needed & {"torch", "tokenizers", "huggingface-hub"}:  # then it runs in the torch environment
            assert needed <= torch, f"{path}: {needed - torch} is not in envs/torch.yaml"
    for path in sorted((ROOT / "figures").rglob("*.py")):
        assert imports(path) <= analysis, f"{path}: {imports(path) - analysis} is not in envs/analysis.yaml"


def test_every_environment_file_of_a_rule_exists():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for name in re.findall(r"conda:\s+\"([^\"]+)\"", path.read_text()):
            assert (path.parent / name).resolve() in ENVIRONMENTS, f"{path.name}: {name}"


def test_the_project_admits_the_constraints():
    for requirement in requirements() + requirements("dev"):
        pin = PINS.get(canonical(requirement.name))
        assert pin is not None, f"{requirement.name} is not pinned"
        assert Version(pin) in requirement.specifier, f"{requirement} does not admit {pin}"


def test_torch_is_pinned_below_what_was_not_tried():
    torch = next(r for r in requirements() if r.name == "torch")
    assert PINS["torch"] == "2.13.0"
    assert Version("2.14") not in torch.specifier
    assert not any("+" in pin for pin in PINS.values())  # a local tag would shut out the CUDA or the CPU build


def test_the_constraints_are_sorted_and_without_the_project():
    lines = [f"{name}=={version}" for name, version in constraints().items()]
    assert lines == sorted(lines, key=str.upper)
    assert len(PINS) == len(lines)
    assert not {"collapse", "pip", "setuptools"} & PINS.keys()
