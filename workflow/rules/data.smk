rule prepare:
    input:
        lambda w: dataset_entry(w).get("path") or [],
    output:
        data=at(paths.DATA),
        facts=at(paths.DATA_FACTS),
    log:
        at("logs/prepare/{dataset}.log"),
    benchmark:
        at("benchmarks/prepare/{dataset}.tsv")
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=lambda w: 2000 if "train" not in dataset_entry(w) else memory(2000, 0.005)(w),
        runtime=60,
    params:
        root=root,
        settings=lambda w: settings(w, "dataset"),
        code=code("prepare"),
    shell:
        "PYTHONPATH=src RAYON_NUM_THREADS={threads} python -m collapse prepare --root {params.root} --dataset {wildcards.dataset}"
        " --settings {params.settings:q} > {log} 2>&1"
