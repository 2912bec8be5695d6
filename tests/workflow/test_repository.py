"""The repository: what is in it, what is not, and where things are."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOME = re.compile(rb"/(?:home|Users)/\w|/root/\w")
LIGHT = ("policies", "config", "errors", "seeding")
HEAVY = {"torch", "pandas", "numpy", "scipy", "matplotlib", "seaborn", "transformers", "pyarrow"}


@pytest.fixture(scope="module")
def files():
    """The files of the project: tracked, or new and not ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    found = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    assert len(found) > 20
    return found


def imports(path):
    """Modules that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_file_is_large(files):
    assert [str(p) for p in files if p.stat().st_size > 1_000_000] == []


def test_nothing_that_is_built_is_kept(files):
    built = {"results", ".snakemake", ".venv", "wheelhouse", "logs", "benchmarks", "__pycache__"}
    assert [str(p) for p in files if built & set(p.relative_to(ROOT).parts[:-1])] == []
    assert [str(p) for p in files if p.suffix in (".pyc", ".pkl", ".pickle", ".pt", ".ckpt")] == []


def test_no_file_names_somebodys_home(files):
    assert [str(p) for p in files if HOME.search(p.read_bytes())] == []


def test_every_yaml_file_parses(files):
    paths = [p for p in files if p.suffix in (".yaml", ".yml", ".cff")]
    assert len(paths) > 5
    for path in paths:
        assert yaml.safe_load(path.read_text()), path


def test_licence():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n")
    assert "Copyright (c) 2026 The collapse authors" in text


def test_citation_names_the_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version"} <= citation.keys()
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert citation["version"] == version
    papers = citation["references"]
    assert [i["value"] for p in papers for i in p["identifiers"]] == [
        "arXiv:2305.17493",
        "arXiv:2404.01413",
        "arXiv:2406.07515",
    ]
    for paper in papers:
        assert {"type", "title", "authors", "year"} <= paper.keys()
        assert all({"family-names", "given-names"} == author.keys() for author in paper["authors"])


def test_the_library_knows_nothing_of_snakemake():
    for path in sorted((ROOT / "src").rglob("*.py")):
        assert not [m for m in imports(path) if m.split(".")[0] == "snakemake"], path


def test_what_the_workflow_reads_is_light():
    for name in LIGHT:
        path = ROOT / f"src/collapse/{name}.py"
        allowed = {"numpy"} if name == "seeding" else set()
        top = {m for node in ast.parse(path.read_text()).body for m in _top(node)}
        assert not (top & HEAVY) - allowed, path


def _top(node):
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [node.module.split(".")[0]] if isinstance(node, ast.ImportFrom) and node.module else []


def test_every_folder_of_the_library_is_a_package():
    folders = {path.parent for path in (ROOT / "src/collapse").rglob("*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


def test_a_figures_script_is_named_as_in_its_paper(files):
    scripts = [p.relative_to(ROOT / "figures") for p in files if p.is_relative_to(ROOT / "figures")]
    assert [str(p) for p in scripts if not re.fullmatch(r"[a-z]+/(figure|table)_[a-z0-9_]+\.py", str(p))] == []


def test_tests_lie_where_they_belong(files):
    tests = [p.relative_to(ROOT / "tests") for p in files if p.is_relative_to(ROOT / "tests")]
    found = [p for p in tests if p.name.startswith("test_")]
    assert {p.parts[0] for p in found} <= {"unit", "workflow", "endtoend"}
    assert len({p.name for p in found}) == len(found)


def test_every_scale_has_its_claims_and_config():
    assert {p.stem for p in (ROOT / "config").glob("*.yaml")} >= {"laptop", "smoke", "paper"}
    for claims in (ROOT / "config/claims").glob("*.yaml"):
        assert (ROOT / "figures" / claims.stem).is_dir(), f"{claims.name}: its paper has no folder in figures"


def test_the_checks_run_what_a_user_runs():
    assert re.search(r"^make test$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"figures", "test", "bench", "wheelhouse", "help", "clean"} <= targets
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert set(re.findall(r"- run: make (\w+)", workflow)) <= targets
