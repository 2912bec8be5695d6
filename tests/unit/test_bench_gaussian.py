"""The bench of recursive Gaussians at a tiny size: both sides do the same work. No test looks at a time."""

import re

import numpy as np
import pytest

from collapse.commands import bench_gaussian
from collapse.theory.gaussian import log_sigma


@pytest.mark.parametrize("run", [bench_gaussian.plain, bench_gaussian.ours, lambda *a: bench_gaussian.ours(*a, True)])
def test_contenders_run_the_same_chains(run):
    """As many of them, of the same law: log sigma with ddof = 0 after four generations, not three."""
    sd = run(400, 12, 4)
    assert sd.shape == (400,)
    walk = log_sigma(4, 12, 0)
    assert abs(np.log(sd).mean() - walk.mean[-1]) < 4 * np.sqrt(walk.variance[-1] / 400)
    assert abs(np.log(sd).mean() - walk.mean[-2]) > np.sqrt(walk.variance[-1] / 400)


def test_lines():
    head, *lines = bench_gaussian.gaussian(((3, 10), (20, 10)), generations=2, turns=1)
    assert "replace, 2 generations" in head
    ratio = r"\d+\.\d \(\d+\.\d to \d+\.\d\) x the loop"
    for line, seeds in zip(lines, (3, 20), strict=True):
        text = rf" +{seeds} seeds, n = +10 +[\d,]+ fits/s   whole sets {ratio}, items one by one {ratio}"
        assert re.fullmatch(text, line)
