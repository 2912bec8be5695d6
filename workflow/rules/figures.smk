rule figure:
    input:
        rows=figure_rows,
        extra=figure_extra,
        script=lambda w: f"figures/{w.paper}/{CONFIG.figures[w.paper][w.figure].script or w.figure}.py",
    output:
        pdf=report(
            at("figures/{paper}/{figure}.pdf"),
            caption="../report/figure.rst",
            category="{paper}",
            labels={"figure": "{figure}", "scale": CONFIG.scale},
        ),
        png=at("figures/{paper}/{figure}.png"),
        csv=at("figures/{paper}/{figure}.csv"),
        caption=at("figures/{paper}/{figure}.txt"),
    log:
        at("logs/figures/{paper}/{figure}.log"),
    benchmark:
        at("benchmarks/figures/{paper}/{figure}.tsv")
    priority: 60
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        root=root,
        options=lambda w: as_json(CONFIG.figures[w.paper][w.figure].options),
        code=lambda w: digest.code("collapse.commands.figure")
        + digest.script(
            Path(workflow.basedir, "figures", w.paper, f"{CONFIG.figures[w.paper][w.figure].script or w.figure}.py")
        ),
    shell:
        "PYTHONPATH=src python -m collapse figure {wildcards.paper} {wildcards.figure} --script {input.script} --root {params.root}"
        " --options {params.options:q} {input.rows} {input.extra} > {log} 2>&1"


for _paper, _figures in CONFIG.figures.items():

    rule:
        name:
            _paper
        input:
            figures(_paper),
        localrule: True

    if set(_figures) - set(USUAL.figures[_paper]):

        rule:
            name:
                f"{_paper}_full"
            input:
                [at("figures", _paper, f"{_figure}.pdf") for _figure in _figures],
            localrule: True

    for _figure in _figures:

        rule:
            name:
                f"{_paper}_{_figure}"
            input:
                at("figures", _paper, f"{_figure}.pdf"),
            localrule: True


if "figure_calibration" in CONFIG.figures.get("accumulation", {}):

    rule calibrate:
        input:
            at("figures/accumulation/figure_calibration.pdf"),
        localrule: True
