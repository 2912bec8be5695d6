"""Where everything lies under ``results/<scale>``. The workflow and the command line use the same functions.

    data/{dataset}/                                             prepared splits, tokenizer, facts
    runs/{dataset}/{recipe}/real/seed{seed}/gen1/               the shared generation 1, and its samples per sampler
    runs/{dataset}/{recipe}/{policy}/{sampler}/{selector}/seed{seed}/gen{n}/     generation n >= 2
    runs/{dataset}/{recipe}/{policy}/{sampler}/{selector}/seed{seed}/to{last}/   its rows, to generation `last`
    chains/{dataset}/{recipe}/{policy}.parquet                  chains run in memory, all seeds
    pretrained/{pretrained}/model.safetensors                   weights from elsewhere that recipes start from
    tables/ figures/<paper>/ verdicts/

Functions take wildcards (or any mapping with these names) and return a path relative to ``results/<scale>``.
"""

DATA = "data/{dataset}/data.safetensors"
DATA_FACTS = "data/{dataset}/facts.json"
FIRST = "runs/{dataset}/{recipe}/real/seed{seed}/gen1"
FIRST_SAMPLES = FIRST + "/{sampler}/part{part}.safetensors"
SERIES_DIR = "runs/{dataset}/{recipe}/{policy}/{sampler}/{selector}/seed{seed}"
NEXT = SERIES_DIR + "/gen{n}"
TABLES = SERIES_DIR + "/to{last}"
PRETRAINED = "pretrained/{pretrained}/model.safetensors"
CHAIN = "chains/{dataset}/{recipe}/{policy}.parquet"


def generation(n: int, **names) -> str:
    """Folder of generation ``n``; generation 1 is shared by every policy, sampler and selector."""
    return (FIRST if n == 1 else NEXT).format(n=n, **names)


def model(n: int, **names) -> str:
    """File of the model of generation ``n``."""
    return generation(n, **names) + "/model.safetensors"


def samples(k: int, parts: int, **names) -> list[str]:
    """Files of what was drawn from model ``k``: one per part for generation 1, one in all for later ones."""
    if k == 1:
        return [FIRST_SAMPLES.format(part=part, **names) for part in range(parts)]
    return [generation(k, **names) + "/samples.safetensors"]


def series(name: str, **names) -> str:
    """A table of a series to its generation ``last``: ``rows``, ``curves`` (parquet) or ``examples`` (json)."""
    return f"{TABLES.format(**names)}/{name}"
