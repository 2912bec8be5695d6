"""`collapse judge`: gates of generation 1, then every claim of the papers: estimate, interval, verdict."""

from pathlib import Path
from typing import Any

import pandas as pd

from collapse import store, table
from collapse.errors import ConfigError, DataError, unknown
from collapse.judging import claims, columns
from collapse.judging.verdicts import judge as weigh


def gates(config: dict[str, Any], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Check each gate on generation 1, data set by data set and recipe by recipe: mean over seeds of its metric.

    A metric that the data set does not have (it needs a known source) makes the gate not applicable: value and passed
    are None. With ``against``, the value is the relative gain 1 - (mean over that block's rows) / (mean over its own),
    of one recipe over one other: ``recipe`` and ``against_recipe`` name them where their blocks have several. With
    ``over``, it is 1 - (mean of the metric) / (mean of that column), of the same rows.

    Raises:
        ConfigError: a gate with ``against`` does not say which recipes it compares, or names one that is not there.
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
                value = _mean(rows, dataset, recipe, block, gate["metric"], name)
                if gate["against"]:
                    other, longer = config["cells"][gate["against"]], _against(name, gate, config["cells"])
                    value = 1 - _mean(rows, dataset, longer, other, gate["metric"], name) / value
                if gate.get("over"):
                    value = 1 - value / _mean(rows, dataset, recipe, block, gate["over"], name)
                passed = (low is None or value >= low) and (high is None or value <= high)
                found.append({**about, "value": value, "passed": bool(passed)})
    return found


def _against(name: str, gate: dict[str, Any], cells: dict[str, Any]) -> str:
    """The recipe of the block ``against`` that a gate compares with; both sides must be one recipe."""
    for block, key in ((gate["block"], "recipe"), (gate["against"], "against_recipe")):
        recipes, named = cells[block]["recipe"], gate.get(key)
        if named is None and len(recipes) > 1:
            raise ConfigError(f"gate {name!r}: block {block!r} has the recipes {', '.join(recipes)}: set {key!r}")
        if named is not None and named not in recipes:
            raise ConfigError(f"gate {name!r}: {unknown(f'{key} of block {block!r}', named, recipes)}")
    return named or recipes[0]


def _known(rows: pd.DataFrame, dataset: str, recipe: str, metric: str) -> bool:
    """Whether any row of generation 1 has the metric: some need a source that is known."""
    here = rows[(rows["dataset"] == dataset) & (rows["recipe"] == recipe) & (rows["generation"] == 1)]
    return here.empty or (metric in here and bool(here[metric].notna().any()))


def _mean(rows: pd.DataFrame, dataset: str, recipe: str, block: dict[str, Any], metric: str, gate: str) -> float:
    """Mean over the seeds of a block, with its samplers and selectors; its policies share generation 1."""
    here = rows[(rows["dataset"] == dataset) & (rows["recipe"] == recipe) & (rows["generation"] == 1)]
    for axis in ("sampler", "selector", "seed"):
        here = here[here[axis].isin(block[axis])]
    values = None if metric not in here else here.groupby("seed")[metric].agg(["first", "nunique"])
    if values is None or len(values) != len(block["seed"]) or values["first"].isna().any():
        raise DataError(f"gate {gate!r}: no {metric} of generation 1 of {recipe} on {dataset} for every seed")
    if (values["nunique"] > 1).any():
        raise DataError(f"gate {gate!r}: {metric} of generation 1 differs between samplers: give it a block of one")
    return float(values["first"].mean())


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
    named = {gate[key] for gate in config["gates"].values() for key in ("metric", "over") if gate.get(key)}
    wanted = {*columns(stated), *named, *table.KEY, *table.GRID}  # rows of chains are many, and have many columns
    rows = table.read_tables(tables, wanted) if tables else pd.DataFrame()  # a scale may hold the rows of no claim
    checked = gates(config, rows)
    closed: dict[tuple[str, str], str] = {}
    for gate in checked:
        if gate["passed"] is False:
            reason = f"generation 1 of {gate['recipe']} failed the quality gate {gate['gate']!r}: {gate['value']:.4g}"
            for pair in _closed(gate, config):
                closed[pair] = "; ".join([closed[pair], reason] if pair in closed else [reason])
    records = weigh(stated, rows, config, closed)
    out = root / "verdicts"
    store.write_json(out / "gates.json", checked)
    store.write_bytes(out / "verdicts.csv", _csv(records).encode())
    store.write_json(out / "verdicts.json", records)
    return as_text(records, checked)


def _closed(gate: dict[str, Any], config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs of data set and recipe that a failed gate closes to claims: its own, those of ``closes``."""
    blocks = [config["cells"][name] for name in config["gates"][gate["gate"]].get("closes", ())]
    others = [(dataset, recipe) for block in blocks for dataset in block["dataset"] for recipe in block["recipe"]]
    return list(dict.fromkeys([(gate["dataset"], gate["recipe"]), *others]))


def _csv(records: list[dict[str, Any]]) -> str:
    columns = ["claim", "paper", "figure", "statement", "published", "estimate", "low", "high", "n", "p_adjusted"]
    table = pd.DataFrame(records, columns=[*columns, "verdict", "reason"])  # a scale may judge nothing
    return table.to_csv(index=False, lineterminator="\n")


def as_text(records: list[dict[str, Any]], checked: list[dict[str, Any]]) -> str:
    """Return gates and verdicts as lines for a terminal, in columns; a claim's last is its statement or its reason."""
    kept = [[f"gate {g['gate']}", f"{g['recipe']} on {g['dataset']}", _outcome(g), g["statement"]] for g in checked]
    judged = [[r["claim"], r["verdict"], _estimate(r), r["reason"] or r["statement"]] for r in records]
    return "\n".join([*_columns(kept), *_columns(judged)])


def _columns(cells: list[list[str]]) -> list[str]:
    """Rows as lines, every column but the last padded to its widest entry."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    return ["  ".join([*(f"{c:<{w}}" for c, w in zip(row, widths, strict=False)), row[-1]]) for row in cells]


def _estimate(record: dict[str, Any]) -> str:
    if record["estimate"] is None:
        return "-"
    return f"{record['estimate']:.4g} [{record['low']:.4g}, {record['high']:.4g}] n={record['n']}"


def _outcome(gate: dict[str, Any]) -> str:
    if gate["passed"] is None:
        return "not applicable: no such metric"
    return f"{gate['value']:.4g} {'ok' if gate['passed'] else 'FAILED'}"
