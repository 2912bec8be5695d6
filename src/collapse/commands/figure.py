"""`collapse figure`: run one figure's script on its rows; write pdf, png, csv and caption without dates."""

import importlib.util
from pathlib import Path
from typing import Any

from collapse import store, table
from collapse.errors import ConfigError, unknown
from collapse.plotting import Drawing, Inputs, save


def figure(
    paper: str, name: str, files: list[Path], root: Path, options: dict[str, Any], scripts: Path = Path("figures"),
    script: Path | None = None,
):  # fmt: skip
    """Draw ``figures/<paper>/<name>.py`` into ``<root>/figures/<paper>/<name>.{pdf,png,csv,txt}``.

    Args:
        paper, name: which script.
        files: tables of rows and curves (parquet), examples and facts (json).
        root: ``results/<scale>``.
        options: keyword arguments of the script's ``draw``.
        scripts: folder of the scripts.
        script: the script, where it is not that of the figure's name.

    Raises:
        ConfigError: no such figure, or an option that its script does not take.
        DataError: a table is broken, or a row is missing or doubled.
    """
    path = script or scripts / paper / f"{name}.py"
    if not path.is_file():
        raise unknown(f"figure of {paper}", name, sorted(p.stem for p in path.parent.glob("*.py")))
    spec = importlib.util.spec_from_file_location(f"{paper}_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawing = module.draw(_inputs(files, root), **options)
    if not isinstance(drawing, Drawing):
        raise ConfigError(f"{path}: draw must return a Drawing, not {type(drawing).__name__}")
    save(drawing, root / "figures" / paper / name)


def _inputs(files: list[Path], root: Path) -> Inputs:
    named = {name: [f for f in files if f.name == f"{name}.parquet"] for name in ("curves", "details")}
    rows = [f for f in files if f.suffix == ".parquet" and f not in (*named["curves"], *named["details"])]
    joined = table.read_tables(rows) if rows else None
    if joined is not None:
        table.check(joined, "rows of the figure")
    # runs/{dataset}/{recipe}/{policy}/{sampler}/{selector}/seed{seed}/to{last}/examples.json
    examples = {f.parts[-8:-2]: store.read_json(f) for f in files if f.name == "examples.json"}
    facts = {f.parent.name: store.read_json(f) for f in files if f.name == "facts.json"}
    extra = {name: table.read_tables(found) if found else None for name, found in named.items()}
    return Inputs(root.name, joined, examples=examples, facts=facts, **extra)
