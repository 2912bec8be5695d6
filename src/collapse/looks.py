"""What policies and models are called and look like, the same in every figure."""

import pandas as pd

# policy -> label, colour, marker; the same in every figure. Hue and marker tell the kind: real data alone is black or
# grey, replace is red, accumulate is blue, real data beside the newest synthetic data is green.
LOOKS: dict[str, tuple[str, str, str]] = {
    "replace": ("Replace", "#D55E00", "s"),
    "replace_multiple": ("Replace-Multiple", "#F0925A", "s"),
    "growing": ("Growing", "#8C3A1B", "s"),
    "accumulate": ("Accumulate", "#0072B2", "o"),
    "accumulate_subsample": ("Accumulate-Subsample", "#56B4E9", "o"),
    "real_fraction_10": ("10 % real", "#009E73", "^"),
    "real_fraction_10_anchored": ("10 % real, anchored", "#5CC49F", "^"),
    "real_fraction_10_added": ("10 % real, added", "#00694D", "^"),
    "fresh_real_50": ("50 % fresh real", "#7A9A01", "^"),
    "augment": ("Augment", "#3F7F3F", "^"),
    "golden_ratio": ("Golden ratio", "#A3B84B", "^"),
    "real_only": ("Real only", "#000000", "D"),
    "real_repeat": ("Real, n times", "#555555", "D"),
    "real_corrupted": ("Real, corrupted", "#999999", "D"),
    "replace_first": ("Replace, from model 1", "#C1440E", "s"),
    "real_fraction_10_first": ("10 % real, from model 1", "#13875F", "^"),
    "stream": ("Endless stream", "#E58B88", "s"),
    "oracle_10": ("Oracle corrects 10 %", "#C9A227", "^"),
    "oracle_30": ("Oracle corrects 30 %", "#8F6B00", "^"),
}
# sampler -> label, colour, marker, where lines are samplers; the paper's own is red, pure sampling blue
SAMPLERS: dict[str, tuple[str, str, str]] = {
    "beam5": ("beam 5", "#C1440E", "s"),
    "greedy_next": ("greedy", "#E69F00", "^"),
    "top_p0.9_next": ("top-p 0.9", "#56B4E9", "D"),
    "temp1.0_next": ("temperature 1", "#0072B2", "o"),
    "beam5_penalty2": ("beam 5, repetition penalty 2", "#B565A7", "P"),
    "beam5_penalty3": ("beam 5, repetition penalty 3", "#6A1B6A", "X"),
    "beam5_synthetic": ("beam 5, synthetic prompts", "#6B4A2B", "v"),
    "prior_mean": ("decoder means", "#C1440E", "s"),
    "prior_bernoulli": ("Bernoulli pixels", "#0072B2", "o"),
}
BUDGETS = {"epochs": "equal passes over each training set", "items": "N items each", "steps": "equal optimiser steps"}
FAMILIES = {"gpt2": "GPT-2", "llama2": "Llama-2", "opt": "OPT", "vae": "VAE"}
# recipe -> colour, matplotlib's tab10 in the papers' order; a model has the same one wherever it is shown
COLOURS = {
    "gpt2_9m": "tab:blue",
    "llama2_12m": "tab:orange",
    "llama2_42m": "tab:green",
    "llama2_126m": "tab:red",
    "gpt2_xs": "tab:blue",
    "llama2_xs": "tab:orange",
    "llama2_s": "tab:green",
    "llama2_m": "tab:red",
}
OTHERS = ("tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan", "tab:gray")
GENERATION = "generation n (n = 1: real data)"
CROSS_ENTROPY = "test cross-entropy (nats per token)"
TEST_ERROR = "test error $E\\,(x'\\hat{w}_n - x'w^*)^2$"


def look(policy: str) -> tuple[str, str, str]:
    """Return label, colour and marker of a policy; one that was added since is purple, and called by its name."""
    base, _, budget = policy.rpartition("_")
    if policy not in LOOKS and budget in BUDGETS and base in LOOKS:
        label, colour, marker = LOOKS[base]
        return f"{label}, {BUDGETS[budget]}", colour, marker
    return LOOKS.get(policy, (policy.replace("_", " "), "#AA3377", "v"))


def sampler_look(sampler: str) -> tuple[str, str, str]:
    """Return label, colour and marker of a sampler; one that was added since is purple, and called by its name."""
    return SAMPLERS.get(sampler, (sampler.replace("_", " "), "#AA3377", "v"))


def model_name(recipe: str) -> str:
    """Return what the papers call a model: ``gpt2_9m`` is GPT-2 (9M). Other recipes keep their name."""
    family, _, size = recipe.partition("_")
    sized = size.endswith("m") and size[:-1].isdigit()
    return f"{FAMILIES[family]} ({size.upper()})" if family in FAMILIES and sized else recipe


def model_names(rows: pd.DataFrame) -> dict[str, str]:
    """Return recipe -> what figures call its model, in the order of the rows.

    That is what the papers call it; for other recipes the family and the number of parameters, where the rows hold
    them (``fit_parameters``): GPT-2 (0.16M). Recipes that would share a name carry their own besides.
    """
    names = {}
    for recipe in rows["recipe"].unique():
        family, counts = recipe.partition("_")[0], set()
        if "fit_parameters" in rows:
            counts = set(rows.loc[rows["recipe"] == recipe, "fit_parameters"].dropna())
        sized = family in FAMILIES and len(counts) == 1 and model_name(recipe) == recipe
        names[recipe] = f"{FAMILIES[family]} ({_millions(counts.pop())})" if sized else model_name(recipe)
    shared = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {recipe: f"{name}, {recipe}" if name in shared else name for recipe, name in names.items()}


def base_recipes(rows: pd.DataFrame) -> dict[str, str]:
    """Return recipe -> the first recipe of the rows that is the same model: of its family, with as many parameters.

    A recipe whose number of parameters the rows do not hold is a model of its own.
    """
    first, bases = {}, {}
    keys = [column for column in ("family", "fit_parameters") if column in rows]
    for recipe, *key in rows[["recipe", *keys]].drop_duplicates("recipe").itertuples(index=False):
        known = len(key) == 2 and not any(pd.isna(part) for part in key)
        bases[recipe] = first.setdefault(tuple(key), recipe) if known else recipe
    return bases


def model_colours(recipes) -> dict[str, str]:
    """Return recipe -> colour; recipes that are not among `COLOURS` get further ones in the order given."""
    others = [recipe for recipe in recipes if recipe not in COLOURS]
    return {r: COLOURS[r] if r in COLOURS else OTHERS[others.index(r) % len(OTHERS)] for r in recipes}


def _millions(count: float) -> str:
    """Write a number of parameters as the papers do: 126M, 12M; with decimals where it is small."""
    return f"{count / 1e6:.{0 if count >= 1e7 else 1 if count >= 1e6 else 2}f}M"
