"""Gaussian chains beside real items, with weights, in KL divergence, and how long half of their spread lasts."""

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from collapse.errors import ConfigError
from collapse.seeding import stream
from collapse.theory import gaussian, passage
from tests.simulated import CHECKED, G, M, close, normal


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("draw", ["redrawn", "anchored"])
def test_real_items_of_the_first_generation(draw, ddof):
    found = normal("real_fraction", ddof, chains=600, share=0.2, draw=draw)
    expected = gaussian.real_fraction(G, M, 0.2, ddof, draw)
    close(found["mean_error"][CHECKED] ** 2, expected.drift[CHECKED])
    close(found["sd"][CHECKED] ** 2, expected.variance[CHECKED])


def test_identities_of_real_items():
    for draw in ("redrawn", "anchored"):
        for ddof in (0, 1):
            none, all_ = (gaussian.real_fraction(G, M, share, ddof, draw) for share in (0.0, 1.0))
            np.testing.assert_allclose(none, gaussian.replace(G, M, ddof))
            np.testing.assert_allclose(all_.drift, 1 / M)
            np.testing.assert_allclose(all_.variance, (M - 1) / (M - ddof))
    for share, size in ((0.1, 100), (0.1, 20), (0.5, 12)):
        last = [v[-1] for v in gaussian.real_fraction(600, size, share, 0)]
        np.testing.assert_allclose(last, gaussian.real_limit(size, share), rtol=1e-9)
        fresh, anchored = gaussian.fresh_limit(size, share), gaussian.real_fraction(600, size, share, 0, "anchored")
        assert fresh.drift < last[0] < anchored.drift[-1]  # the less new information, the worse
    for real in (1, 2, 5):  # 2R / (2R + 1) whatever their share, to order 1/M
        for size in (1000, 10_000):
            limit = float(gaussian.real_limit(size, real / size).variance)
            assert limit == pytest.approx(2 * real / (2 * real + 1), abs=2 / size)
    with pytest.raises(ConfigError, match="redrawn"):
        gaussian.real_fraction(G, M, 0.1, draw="first")


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("options", [{}, {"ratio": 0.5}, {"weight": 0.5}])
def test_weighted_real_items(options, ddof):
    found, expected = (
        normal("golden_ratio", ddof, chains=600, **options),
        gaussian.golden_ratio(G, M, ddof=ddof, **options),
    )
    close(found["mean_error"][CHECKED] ** 2, expected.drift[CHECKED])
    close(found["sd"][CHECKED] ** 2, expected.variance[CHECKED])


def test_the_golden_ratio_is_the_best_weight():
    """The limiting variance is w*/k in units of 1/M (0.618 at k = 1; naive pooling 0.667), to order 1/M^2."""
    for ratio, best, naive in ((0.25, 0.390, 0.556), (1.0, 0.618, 0.667)):
        for size in (1000, 4000):
            limit = gaussian.golden_limit(size, ratio)
            assert limit * size * ratio == pytest.approx(best, abs=5e-4)
            exact = gaussian.golden_ratio(200, size, ratio, ddof=0).drift[-1]
            assert abs(exact - limit) < 2 * limit / size
            pooled = gaussian.golden_ratio(200, size, ratio, ratio / (1 + ratio), ddof=0).drift[-1]
            assert pooled * size * ratio == pytest.approx(naive, abs=5e-3)
            others = [gaussian.golden_ratio(200, size, ratio, best + s, ddof=0).drift[-1] for s in (-0.02, 0.02)]
            assert exact < min(others)


@pytest.mark.parametrize(("d", "ddof"), [(1, 0), (1, 1), (3, 0), (3, 1)])
def test_kl_divergence(d, ddof):
    found, expected = normal("replace", ddof, 60, d=d, chains=1000), gaussian.kl(G, 60, ddof, d)
    close(found["kl_divergence"][CHECKED], expected[CHECKED])
    for size in (1000, 4000):  # a half for each parameter, to order 1/M
        leading = np.arange(1, G + 1) * d * (d + 3) / 4 / size
        assert (abs(gaussian.kl(G, size, ddof, d) - leading) < 4 * d**2 * (G / size) ** 2).all()
    with pytest.raises(ConfigError, match="infinite unless M > d"):
        gaussian.kl(G, d + 2, ddof, d)


# half of the spread


def _first_passages(size, real, chains, generations, ddof=0):
    """First generations with sd <= 1/2 of chains with ``real`` fresh items, from sufficient statistics."""
    g = stream("passages", size, real, ddof)
    mean, variance = g.normal(size=chains) / sqrt(size), g.chisquare(size - 1, chains) / (size - ddof)
    first = np.where(variance <= 0.25, 1.0, np.inf)
    for n in range(2, generations + 1):
        rest = size - real
        synthetic, scatter = mean + np.sqrt(variance / rest) * g.normal(size=chains), g.chisquare(rest - 1, chains)
        scatter, mean = scatter * variance, synthetic
        if real:
            true = g.normal(size=chains) / sqrt(real)
            scatter += g.chisquare(real - 1, chains) if real > 1 else 0
            scatter += real * rest / size * (true - synthetic) ** 2
            mean = (real * true + rest * synthetic) / size
        variance = scatter / (size - ddof)
        first = np.where(np.isinf(first) & (variance <= 0.25), n, first)
    return first


@pytest.mark.parametrize(("real", "ddof"), [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1)])
def test_half_life(real, ddof):
    """Medians come near the limit of many items, by about 1 / sqrt(M)."""
    limit, size = passage.half_life(real, ddof), 400
    first = _first_passages(size, real, 1500, int(2.2 * limit * size), ddof)
    below, above = np.quantile(first, [0.45, 0.55]) / size  # four standard errors of a median of 1500
    assert limit * (1 - 1 / sqrt(size)) < above
    assert below < limit * (1 + 3 / sqrt(size))


def test_half_lives_grow_with_the_number_of_real_items():
    found = [passage.half_life(real) for real in (0, 0.5, 1, 2, 3, 4)]
    assert found == sorted(found)
    assert (np.diff(np.log(found[2:])) > 0.5).all()
    assert passage.half_life(0) == pytest.approx(0.51404, abs=1e-5)
    times = np.array([passage.half_life(0), passage.half_life(0, 1)])
    law = stats.invgauss  # a Brownian motion of variance 2 and drift -2 or -1 falls by log 4
    fall = np.log(4)
    exact = [law(mu=fall / drift / (fall**2 / 2), scale=fall**2 / 2).median() for drift in (2, 1)]
    np.testing.assert_allclose(times, exact, rtol=1e-6)
    assert passage.half_life(1e-6) == pytest.approx(exact[0], rel=2e-3)  # the grid beside the exact law
    assert passage.half_life(1e-6, 1) == pytest.approx(exact[1], rel=2e-3)
    assert passage.half_life(20) == np.inf


def test_survival_is_a_chance_that_falls():
    times, alive = passage.survival(1.0)
    assert alive[0] == 1
    assert (np.diff(alive) < 1e-9).all()
    assert ((alive >= 0) & (alive <= 1)).all()
    assert times[-1] == pytest.approx(passage.LAST)
