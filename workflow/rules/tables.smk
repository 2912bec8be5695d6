rule runs:
    input:
        rows_files([checked.Selection(block=b) for b in [*USUAL.cells, *USUAL.chains]]),
    output:
        at("tables", "runs.parquet"),
    log:
        at("logs", "runs.log"),
    benchmark:
        at("benchmarks", "runs.tsv")
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=digest.code("collapse.commands.runs"),
    shell:
        "PYTHONPATH=src python -m collapse runs --out {output} {input} > {log} 2>&1"
