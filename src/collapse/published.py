"""Published test cross-entropies of language models on TinyStories, in nats per token: data, and where each comes from.

Models go by the recipes of ``config/paper.yaml``. Tokenizer and settings of training are not known in full, so that
levels need not be met to the precision given here. Shown at paper scale alone.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

PAPER = "arXiv 2404.01413"
FOLLOW_UP = "arXiv 2410.16713"


@dataclass(frozen=True)
class Values:
    """A set of published values.

    Attributes:
        source: paper, and where in it the values stand.
        precision: how they were obtained, and how exact that is.
        of: what a value belongs to -> {generation or other place on the x axis: value}.
    """

    source: str
    precision: str
    of: MappingProxyType[Any, dict[Any, float]]


def _generations(*values: float) -> dict[int, float]:
    return dict(enumerate(values, 1))


def _sparse(*values: float | None, last: int) -> dict[int, float]:
    """Values of generations 1 to 5, 10, 20 and ``last``; None where there is none."""
    return {n: v for n, v in zip((1, 2, 3, 4, 5, 10, 20, last), values, strict=True) if v is not None}


FIGURE_2 = Values(
    f"{PAPER}, figure 2",
    "read off the plot, to 0.003 (the last value of GPT-2 (9M), accumulate: to 0.006); one run each",
    MappingProxyType(
        {
            ("gpt2_9m", "replace"): _generations(1.816, 2.111, 2.270, 2.394, 2.495),
            ("gpt2_9m", "accumulate"): _generations(1.816, 1.763, 1.748, 1.743, 1.742),
            ("llama2_12m", "replace"): _generations(2.057, 2.346, 2.541, 2.716, 2.873),
            ("llama2_12m", "accumulate"): _generations(2.057, 1.976, 1.950, 1.938, 1.932),
            ("llama2_42m", "replace"): _generations(1.900, 2.159, 2.347, 2.522, 2.648),
            ("llama2_42m", "accumulate"): _generations(1.900, 1.810, 1.776, 1.760, 1.749),
            ("llama2_126m", "replace"): _generations(1.706, 1.927, 2.103, 2.233, 2.369),
            ("llama2_126m", "accumulate"): _generations(1.706, 1.630, 1.601, 1.585, 1.573),
        }
    ),
)
"""(recipe, policy) -> {generation: test cross-entropy}; temperature 1."""

LONG = Values(
    f"{FOLLOW_UP}, its figure of language models (temperature 1, stories begin with a real first token)",
    "read off the vector plot, to 0.001; one run each",
    MappingProxyType(
        {
            ("gpt2_9m", "replace"): _sparse(1.815, 2.072, 2.205, 2.304, 2.394, 2.790, 3.602, 6.052, last=50),
            ("gpt2_9m", "accumulate_subsample"): _sparse(
                1.816, 1.908, 1.958, 1.995, 2.023, 2.099, 2.172, 2.246, last=44
            ),
            ("gpt2_9m", "accumulate"): _sparse(1.815, 1.781, 1.777, 1.779, 1.782, 1.796, None, 1.803, last=13),
            ("llama2_12m", "replace"): _sparse(2.057, 2.349, 2.488, 2.577, 2.652, 2.892, 3.167, 3.680, last=50),
            ("llama2_12m", "accumulate_subsample"): _sparse(
                2.056, 2.143, 2.200, 2.233, 2.263, 2.341, 2.411, 2.485, last=45
            ),
            ("llama2_12m", "accumulate"): _sparse(2.057, 1.998, 1.986, 1.983, 1.984, 1.990, None, 2.000, last=16),
            ("llama2_42m", "replace"): _sparse(1.863, 2.138, 2.250, 2.334, 2.407, 2.648, 2.949, 3.521, last=50),
            ("llama2_42m", "accumulate_subsample"): _sparse(
                1.863, 1.941, 1.989, 2.023, 2.047, 2.119, 2.186, 2.198, last=23
            ),
            ("llama2_42m", "accumulate"): _sparse(1.863, 1.808, 1.796, 1.791, 1.791, 1.794, None, 1.796, last=13),
            ("llama2_126m", "replace"): _sparse(1.710, 1.953, 2.065, 2.141, 2.219, 2.451, 2.755, 3.219, last=43),
            ("llama2_126m", "accumulate_subsample"): _sparse(
                1.709, 1.780, 1.826, 1.856, 1.879, 1.948, 2.009, 2.053, last=34
            ),
            ("llama2_126m", "accumulate"): _sparse(1.710, 1.661, 1.649, 1.645, 1.643, 1.643, None, None, last=10),
        }
    ),
)
"""(recipe, policy) -> {generation: test cross-entropy}."""

TABLE_2 = Values(
    f"{PAPER}, table 2",
    "recollected, not read from the paper; two decimals. Where figure 2 has the cell, both agree to 0.01",
    MappingProxyType(
        {
            ("gpt2_9m", "base"): {"first": 1.82, "accumulate": 1.74, "replace": 2.39, "late": 2.91, "multiple": 2.18},
            ("gpt2_9m", "temperature 0.3"): {"first": 1.82, "accumulate": 1.75, "replace": 5.82, "late": 9.85},
            ("gpt2_9m", "1/5 of the data"): {"first": 2.56, "accumulate": 2.28, "replace": 3.21, "late": 3.72},
            ("gpt2_9m", "1/5 of the data, 3 × the passes"): {"first": 1.99, "accumulate": 1.87, "replace": 2.62},
            ("llama2_12m", "base"): {"first": 2.06, "accumulate": 1.94, "replace": 2.72},
            ("llama2_42m", "base"): {"first": 1.90, "accumulate": 1.76, "replace": 2.52},
            ("llama2_126m", "base"): {"first": 1.71, "accumulate": 1.59, "replace": 2.23},
        }
    ),
)
"""(recipe, setting as table 2 here calls it) -> {column: test cross-entropy}: generation 1, 4, 4, 10 and 4."""

LEARNING = Values(
    f"{FOLLOW_UP}, its learning curves",
    "read off the vector plot, to 0.001; one run each, on the whole test set",
    MappingProxyType(
        {
            "gpt2_9m": {
                0.01: 4.204, 0.02: 3.707, 0.03: 3.439, 0.05: 3.091, 0.1: 2.660, 0.2: 2.280, 0.3: 2.100, 0.5: 1.939,
                0.7: 1.861, 0.9: 1.822, 1.0: 1.815,
            },
            "llama2_12m": {0.01: 4.921, 0.1: 3.038, 0.5: 2.198, 1.0: 2.057},
            "llama2_42m": {0.01: 4.406, 0.1: 2.702, 0.5: 1.995, 1.0: 1.863},
            "llama2_126m": {0.01: 4.053, 0.1: 2.444, 0.5: 1.840, 1.0: 1.710},
        }
    ),
)  # fmt: skip
"""recipe -> {share of the only pass over the data: test cross-entropy} of generation 1."""


def shown(values: Values, scale: str) -> dict[Any, dict[Any, float]]:
    """Return the values where a figure may show them: at paper scale; an empty mapping elsewhere."""
    return dict(values.of) if scale == "paper" else {}
