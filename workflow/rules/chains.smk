# Chains cheap enough to run whole, in memory, all seeds side by side: the same loop, many rows to a file.


rule simulate:
    output:
        rows=at(paths.CHAIN),
    log:
        at("logs", paths.CHAIN.replace(".parquet", ".log")),
    benchmark:
        at("benchmarks", paths.CHAIN.replace(".parquet", ".tsv"))
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        root=root,
        settings=lambda w: settings(w, "dataset", "recipe", "policy", **CHAINS[w.dataset, w.recipe, w.policy]),
        code=code("simulate"),
    shell:
        "PYTHONPATH=src OPENBLAS_NUM_THREADS={threads} OMP_NUM_THREADS={threads} python -m collapse simulate"
        " --root {params.root} --dataset {wildcards.dataset} --recipe {wildcards.recipe}"
        " --policy {wildcards.policy} --settings {params.settings:q} > {log} 2>&1"
