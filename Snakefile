# Three papers, one loop: fit a model, sample from it, select what to keep, mix it with what came before, fit again.
#
#   snakemake --cores 2                                        everything, at laptop scale (config/laptop.yaml)
#   snakemake --cores 2 accumulation_figure_2                  one figure, from its own cells alone
#   snakemake --cores 8 --configfile config/paper.yaml -- all  the papers' data sets and hyper-parameters
#
# results/<scale>/  data/ runs/ chains/ tables/ figures/<paper>/ verdicts/      (paths: src/collapse/paths.py)
from snakemake.utils import min_version

min_version("9.20")


configfile: "config/policies.yaml"


if "scale" not in config:

    configfile: "config/laptop.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/generations.smk"
include: "workflow/rules/chains.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/verdicts.smk"


rule all:
    default_target: True
    input:
        figures(),
        at("tables", "runs.parquet"),
        at("verdicts", "verdicts.json"),
