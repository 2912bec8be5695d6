"""The bench at a tiny size: it runs, it compares equal work, it says what it measured. No test looks at a time."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch

from collapse import config as configs
from collapse.commands import bench, bench_library, bench_opt
from collapse.commands.settings import dataset_config
from collapse.errors import ConfigError
from collapse.families import gpt2, llama2
from collapse.items import Items, Ragged

SMOKE = Path(__file__).parents[2] / "config/smoke.yaml"
FAMILIES = {"gpt2": gpt2, "llama2": llama2}


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_bench_prints_its_lines(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no build here
    monkeypatch.setattr(bench_opt, "SHAPES", ((16, 1),))
    bench.bench(SMOKE, sizes=bench.Sizes(turns=1, sampled=9, searched=4, continued=3, chains=((4, 10),)))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("one thread, CPU time, medians of 1 turns")
    per_model = ["train", "evaluate", "sample", "beam 5"]
    heads = ["gpt2_xs:", *per_model, "llama2_xs:", *per_model, "opt 16 x 1:", "sample", "beam 5", "beam 5"]
    heads += ["recursive Gaussians", "4 seeds, n =     10", "start-up", "there is no smoke build here"]
    assert len(lines) == len(heads)
    for line, expected in zip(lines, heads, strict=True):
        assert line.strip().startswith(expected)
    for i in (1, 6):
        train, evaluate, sample, beam = lines[i : i + 4]
        for line in (train, evaluate, sample, beam):
            assert re.search(r" [1-9][\d,]* tokens/s +\d+\.\d GFLOP/s", line)
        ratio = r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\) x "
        assert re.search(f"{ratio}Trainer by length, {ratio}a plain loop$", train)
        assert re.search(f"{ratio}generate$", sample)
        assert re.search(f"{ratio}generate, 4 of 4 outputs equal$", beam)
    assert lines[10].endswith(" parameters, 3 prompts of 64 tokens, each continued by 64")
    for text, end in zip(lines[11:14], ("$", ", penalty 1, 3 of 3 outputs equal$", ", penalty 2, 3 of 3"), strict=True):
        assert re.search(rf" [1-9][\d,]* tokens/s +\d+\.\d GFLOP/s +{ratio}generate{end}", text)
    assert re.search(r"^start-up +\d+\.\d\d CPU seconds: a process that makes one step of gpt2_xs", lines[-2])


def test_turns_alternate_and_the_first_does_not_count():
    calls = []

    def made(name):
        calls.append(f"prepare {name}")
        return partial(calls.append, name)

    found = bench.take_turns({name: partial(made, name) for name in ("ours", "theirs")}, turns=2)
    assert calls == ["prepare ours", "ours", "prepare theirs", "theirs"] * 3
    assert {name: len(runs) for name, runs in found.items()} == {"ours": 2, "theirs": 2}
    assert all(seconds >= 0 and result is None for runs in found.values() for seconds, result in runs)


def test_tokens_count_up_to_the_end_of_each_story():
    tokens = torch.tensor([[5, 6, 0, 0, 0], [0, 0, 0, 0, 0], [5, 6, 7, 8, 9], [5, 6, 7, 8, 0]])
    assert bench._told(tokens, 0) == 3 + 1 + 5 + 5


def test_blocks_are_cut_from_stories_between_ends():
    items = Items.make(Ragged.of([[5] * 40, [], [6] * 50, [7] * 60]), generation=0)
    blocks = bench_opt._blocks(items, 0)
    assert blocks.ravel().tolist() == [0, *[5] * 40, 0, 0, *[6] * 50, 0, *[7] * 34]
    assert blocks.shape == (2, 64)


@pytest.mark.parametrize("kind", ["gpt2", "llama2"])
def test_the_other_side_is_the_same_model_and_does_the_same_steps(kind, tmp_path):
    """Same size, same predictions, and a Trainer that makes as many steps as ours."""
    config = configs.load(SMOKE)
    entry = configs.recipe(config, f"{kind}_xs")
    family = FAMILIES[entry.pop("family")]
    module, settings = dataset_config(config.datasets["stories"])
    data = module.load(settings, *module.prepare(settings, "stories"))
    made = family.Config(**{**data.provides, **entry})
    theirs = bench.LIBRARY[kind](made)
    assert theirs.num_parameters() == family.parameters(made)
    items = data.real()
    trainer = bench_library.trainer(
        theirs, [items.output[i].tolist() for i in range(len(items))], made, 1.0, str(tmp_path)
    )
    trainer.train()
    assert trainer.state.global_step == family.steps(len(items), made, bench.Budget(passes=1.0))
    ours = type(bench._fit(family, items, made, bench.Budget(passes=1.0)))(made)
    ours.load_state_dict(family.from_transformers(theirs.state_dict()))
    tokens = torch.from_numpy(items.output[0].astype("int64"))[None, :20]
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs.eval()(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("missing", ["transformers", "accelerate"])
def test_a_missing_library_is_told(missing, monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ConfigError, match=f"bench compares with {missing}, which is missing: pip install"):
        bench.bench(SMOKE)
