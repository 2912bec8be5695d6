# One job makes one generation. Generation 1 is fitted once and sampled once per sampler, whatever policies follow.


rule pretrained:
    input:
        lambda w: CONFIG.pretrained[w.pretrained].path or [],
    output:
        at(paths.PRETRAINED),
    log:
        at("logs/pretrained/{pretrained}.log"),
    benchmark:
        at("benchmarks/pretrained/{pretrained}.tsv")
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        settings=lambda w: as_json(CONFIG.pretrained[w.pretrained].model_dump(exclude_none=True)),
        code=lambda w: digest.code(
            "collapse.commands.pretrained",
            f"collapse.families.{CONFIG.pretrained[w.pretrained].family}",
            rules=[],
        ),
    shell:
        "PYTHONPATH=src python -m collapse pretrained --out {output} --settings {params.settings:q} > {log} 2>&1"


rule fit_first:
    input:
        first_inputs,
        data=at(paths.DATA),
        facts=at(paths.DATA_FACTS),
    output:
        model=at(paths.FIRST, "model.safetensors"),
        metrics=at(paths.FIRST, "metrics.json"),
    log:
        at("logs/fit_first/{dataset}/{recipe}/seed{seed}.log"),
    benchmark:
        at("benchmarks/fit_first/{dataset}/{recipe}/seed{seed}.tsv")
    priority: 100
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpu,
        mem_mb=memory(4000, 0.0025),
        runtime=720,
    params:
        root=root,
        settings=lambda w: settings(
            w, "dataset", "recipe", device=CONFIG.device, curve_items=CONFIG.curve_items, **start(w)
        ),
        code=code("fit"),
    shell:
        "PYTHONPATH=src python -m collapse fit --root {params.root} --dataset {wildcards.dataset}"
        " --recipe {wildcards.recipe} --seed {wildcards.seed} --generation 1 --threads {threads}"
        " --settings {params.settings:q} > {log} 2>&1"


rule sample:
    input:
        model=at(paths.FIRST, "model.safetensors"),
        data=at(paths.DATA),
        facts=at(paths.DATA_FACTS),
    output:
        samples=at(paths.FIRST_SAMPLES),
    log:
        at("logs/sample/{dataset}/{recipe}/seed{seed}/{sampler}/part{part}.log"),
    benchmark:
        at("benchmarks/sample/{dataset}/{recipe}/seed{seed}/{sampler}/part{part}.tsv")
    priority: 100
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpu,
        mem_mb=memory(4000, 0.0025),
        runtime=720,
    params:
        root=root,
        settings=lambda w: settings(w, "dataset", "recipe", "sampler", device=CONFIG.device),
        code=code("fit"),
    shell:
        "PYTHONPATH=src python -m collapse sample --root {params.root} --dataset {wildcards.dataset}"
        " --recipe {wildcards.recipe} --sampler {wildcards.sampler} --seed {wildcards.seed}"
        " --part {wildcards.part} --threads {threads} --settings {params.settings:q} > {log} 2>&1"


rule fit:
    input:
        training_inputs,
        data=at(paths.DATA),
        facts=at(paths.DATA_FACTS),
    output:
        model=at(paths.NEXT, "model.safetensors"),
        metrics=at(paths.NEXT, "metrics.json"),
        samples=at(paths.NEXT, "samples.safetensors"),
    log:
        at("logs/fit", paths.NEXT).replace("logs/fit/runs/", "logs/fit/") + ".log",
    benchmark:
        at("benchmarks/fit", paths.NEXT).replace("benchmarks/fit/runs/", "benchmarks/fit/") + ".tsv"
    priority: lambda w: int(w.n)
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpu,
        mem_mb=memory(4000, 0.0025),
        runtime=1440,
    params:
        root=root,
        plan=plan,
        settings=lambda w: settings(
            w,
            "dataset",
            "recipe",
            "policy",
            "sampler",
            "selector",
            count=drawn(w),
            device=CONFIG.device,
            curve_items=CONFIG.curve_items,
            **start(w),
        ),
        code=code("fit"),
    shell:
        "PYTHONPATH=src python -m collapse fit --root {params.root} --dataset {wildcards.dataset}"
        " --recipe {wildcards.recipe} --policy {wildcards.policy} --sampler {wildcards.sampler}"
        " --selector {wildcards.selector} --seed {wildcards.seed} --generation {wildcards.n}"
        " --threads {threads} --settings {params.settings:q} > {log} 2>&1"


rule measure:
    input:
        generation_files,
        data=at(paths.DATA),
        facts=at(paths.DATA_FACTS),
    output:
        rows=at(paths.TABLES, "rows.parquet"),
        curves=at(paths.TABLES, "curves.parquet"),
        details=at(paths.TABLES, "details.parquet"),
        examples=at(paths.TABLES, "examples.json"),
    log:
        at(paths.TABLES.replace("runs/", "logs/measure/"), "measure.log"),
    benchmark:
        at(paths.TABLES.replace("runs/", "benchmarks/measure/"), "measure.tsv")
    priority: 50
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        gpu=lambda w: gpu(w) * digest.defines(f"collapse.metrics.{dataset_entry(w)['kind']}", "details"),
        mem_mb=memory(2000, 0.0025),
        runtime=120,
    params:
        root=root,
        settings=lambda w: settings(w, "dataset", "recipe", "policy", "sampler", "selector", generations=int(w.last)),
        code=code("measure"),
    shell:
        "PYTHONPATH=src python -m collapse measure --root {params.root} --dataset {wildcards.dataset}"
        " --recipe {wildcards.recipe} --policy {wildcards.policy} --sampler {wildcards.sampler}"
        " --selector {wildcards.selector} --seed {wildcards.seed}"
        " --settings {params.settings:q} > {log} 2>&1"
