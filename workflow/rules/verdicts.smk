rule judge:
    input:
        claims=claims_files(),
        rows=judged_rows(),
    output:
        verdicts=at("verdicts", "verdicts.json"),
        gates=at("verdicts", "gates.json"),
        table=at("verdicts", "verdicts.csv"),
    log:
        at("logs", "judge.log"),
    benchmark:
        at("benchmarks", "judge.tsv")
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        root=root,
        settings=as_json(USUAL.model_dump(include={"cells", "chains", "gates"})),
        code=digest.code("collapse.commands.judge", rules=[]),
    shell:
        "PYTHONPATH=src python -m collapse judge --root {params.root} --settings {params.settings:q}"
        " {input.claims} {input.rows} > {log} 2>&1"
