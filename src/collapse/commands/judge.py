"""`collapse judge`: gates of generation 1, then every claim of the papers: estimate, interval, verdict."""

from pathlib import Path
from typing import Any

import pandas as pd

from collapse import store, table
from collapse.errors import DataError
from collapse.judging import claims
from collapse.judging.verdicts import NOT_JUDGED
from collapse.judging.verdicts import judge as weigh


def gates(config: dict[str, Any], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Check each gate on generation 1, recipe by recipe: mean over seeds of its metric.

    A metric that the data set does not have (it needs a known source) makes the gate not applicable: value and passed
    are None. With ``against``, the value is the relative gain 1 - (mean over that block's rows) / (mean over its own).

    Raises:
        DataError: a gate has no rows.
    """
    found = []
    for name, gate in config["gates"].items():
        block = config["cells"][gate["block"]]
        for recipe in [gate["recipe"]] if gate["recipe"] else block["recipe"]:
            for dataset in block["dataset"]:
                low, high = gate["at_least"], gate["at_most"]
                about = {"gate": name, "statement": gate["statement"], "dataset": dataset, "recipe": recipe}
                about |= {"at_least": low, "at_most": high}
                if not _known(rows, dataset, recipe, gate["metric"]):  # e.g. the excess over a source that is not known
                    found.append({**about, "value": None, "passed": None})
                    continue
                value = _mean(rows, dataset, recipe, block["seed"], gate["metric"], name)
                if gate["against"]:
                    other = config["cells"][gate["against"]]
                    value = 1 - _mean(rows, dataset, other["recipe"][0], other["seed"], gate["metric"], name) / value
                passed = (low is None or value >= low) and (high is None or value <= high)
                found.append({**about, "value": value, "passed": bool(passed)})
    return found


def _known(rows: pd.DataFrame, dataset: str, recipe: str, metric: str) -> bool:
    """Whether any row of generation 1 has the metric: some need a source that is known."""
    here = rows[(rows["dataset"] == dataset) & (rows["recipe"] == recipe) & (rows["generation"] == 1)]
    return here.empty or (metric in here and bool(here[metric].notna().any()))


def _mean(rows: pd.DataFrame, dataset: str, recipe: str, seeds: list[int], metric: str, gate: str) -> float:
    here = rows[(rows["dataset"] == dataset) & (rows["recipe"] == recipe) & (rows["generation"] == 1)]
    values = here[here["seed"].isin(seeds)].drop_duplicates("seed").get(metric)
    if values is None or len(values) != len(seeds) or values.isna().any():
        raise DataError(f"gate {gate!r}: no {metric} of generation 1 of {recipe} on {dataset} for every seed")
    return float(values.mean())


def judge(files: list[Path], root: Path, config: dict[str, Any]) -> str:
    """Write ``verdicts.json``, ``verdicts.csv`` and ``gates.json``; return the verdicts as text.

    Args:
        files: claims (yaml) and tables of rows (parquet).
        root: ``results/<scale>``.
        config: ``{cells, chains, gates}`` of the scale.

    Raises:
        CollapseError: a claim is malformed, or a row is missing or doubled.
    """
    stated = [c for f in files if f.suffix in (".yaml", ".yml") for c in claims.parse(f)]
    tables = [f for f in files if f.suffix == ".parquet"]
    rows = table.read_tables(tables) if tables else pd.DataFrame()  # a scale may hold the rows of no claim
    checked = gates(config, rows)
    records = weigh(stated, rows, config)
    for record in records:
        for gate in checked:
            if gate["passed"] is False and (record["dataset"], record["recipe"]) == (gate["dataset"], gate["recipe"]):
                reason = f"quality gate {gate['gate']!r} of generation 1 failed: {gate['value']:.4g}"
                record |= {"verdict": NOT_JUDGED, "reason": reason}
    out = root / "verdicts"
    store.write_json(out / "gates.json", checked)
    store.write_bytes(out / "verdicts.csv", _csv(records).encode())
    store.write_json(out / "verdicts.json", records)
    return as_text(records, checked)


def _csv(records: list[dict[str, Any]]) -> str:
    columns = ["claim", "paper", "figure", "statement", "published", "estimate", "low", "high", "n", "p_adjusted"]
    return pd.DataFrame(records)[[*columns, "verdict", "reason"]].to_csv(index=False, lineterminator="\n")


def as_text(records: list[dict[str, Any]], checked: list[dict[str, Any]]) -> str:
    """Return gates and verdicts as lines for a terminal."""
    lines = [f"gate {g['gate']} ({g['recipe']}): {_outcome(g)}" for g in checked]
    for r in records:
        shown = "" if r["estimate"] is None else f"  {r['estimate']:.4g} [{r['low']:.4g}, {r['high']:.4g}] n={r['n']}"
        lines.append(f"{r['claim']:<28} {r['verdict']:<26}{shown}  {r['statement']}")
    return "\n".join(lines)


def _outcome(gate: dict[str, Any]) -> str:
    if gate["passed"] is None:
        return "not applicable: the data set has no such metric"
    return f"{gate['value']:.4g} {'ok' if gate['passed'] else 'FAILED'}"
