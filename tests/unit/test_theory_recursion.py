"""Closed forms of the discrete and the Gaussian chain against simulation: 4 standard errors, and neglected orders."""

from math import lgamma, pi, sqrt

import numpy as np
import pytest
from scipy import stats

from collapse.datasets import discrete as discrete_data
from collapse.theory import discrete, gaussian
from tests.simulated import CHAINS, CHECKED, G, M, close, empirical, normal

# discrete

HETEROZYGOSITY = {
    "replace": (discrete.replace, {}),
    "replace_multiple": (discrete.replace_multiple, {}),
    "accumulate": (discrete.accumulate, {}),
    "accumulate_subsample": (discrete.accumulate_subsample, {}),
    "real_fraction": (discrete.real_fraction, {"share": 0.2}),
    "fresh_real": (discrete.fresh_real, {"share": 0.3}),
}


@pytest.mark.parametrize("law", ["uniform", "zipf"])
@pytest.mark.parametrize("kind", HETEROZYGOSITY)
def test_heterozygosity(kind, law):
    theory, options = HETEROZYGOSITY[kind]
    found = empirical(kind, law, chains=800, **options)["heterozygosity_ratio"]
    close(found[CHECKED], theory(G, M, **options)[CHECKED])


def test_identities_of_heterozygosity():
    np.testing.assert_allclose(discrete.real_fraction(G, M, 0.0), discrete.replace(G, M))
    np.testing.assert_allclose(discrete.real_fraction(G, M, 1.0), 1 - 1 / M)
    np.testing.assert_allclose(discrete.fresh_real(G, M, 0.0), discrete.replace(G, M))
    np.testing.assert_allclose(discrete.fresh_real(G, M, 1.0), 1 - 1 / M)
    limit = (1 - 0.7**2 - 0.3 / M) / (1 - 0.7**2 + 0.7 / M)
    np.testing.assert_allclose(discrete.fresh_real(400, M, 0.3)[-1], limit)
    np.testing.assert_allclose(discrete.accumulate(100_000, 50)[-1], np.sin(pi / sqrt(50)) / (pi / sqrt(50)), rtol=1e-4)
    assert discrete.accumulate(1000, 50)[-1] > 1 - pi**2 / 6 / 50
    ends = [HETEROZYGOSITY[kind][0](50, M)[-1] for kind in ("replace", "accumulate_subsample", "accumulate")]
    assert ends == sorted(ends)


def test_extinction_in_one_generation():
    p = discrete_data.Config(states=15, law="zipf").probabilities
    expected = discrete.extinction(p, M)
    np.testing.assert_allclose(expected, (1 - p) ** M)
    found = empirical("replace")
    close(found["states_alive"][0], 15 - expected.sum())
    deciles = discrete_data.Truth(p).deciles
    for decile in (1, 5, 10):
        close(found[f"alive_decile_{decile}"][0], 1 - expected[deciles == decile].mean())


def test_fates_of_states():
    config = discrete_data.Config(states=15, law="zipf")
    found, fates = empirical("replace"), discrete.fates(config.probabilities, M, G)
    assert fates.alive.shape == fates.fixed.shape == (G, 15)
    np.testing.assert_allclose(1 - fates.alive[0], discrete.extinction(config.probabilities, M))
    np.testing.assert_allclose(fates.fixed[0], config.probabilities**M)
    close(found["states_alive"][CHECKED], fates.alive.sum(axis=1)[CHECKED])
    deciles = discrete_data.Truth(config.probabilities).deciles
    for decile in range(1, 11):
        close(found[f"alive_decile_{decile}"][CHECKED], fates.alive[:, deciles == decile].mean(axis=1)[CHECKED])


def test_absorption():
    config = discrete_data.Config(states=4, T=8, law="zipf")
    fates = discrete.fates(config.probabilities, 8, 200)
    np.testing.assert_allclose(fates.fixed[-1], config.probabilities, atol=1e-9)
    found = empirical("replace", size=8, states=4, generations=30)
    close(found["absorbed"], fates.fixed.sum(axis=1)[:30], slack=1e-12)
    for state in range(4):
        here = found["absorbed"] * (found["top_state"] == state)
        close(here[9:], fates.fixed[9:30, state])


# Gaussian: moments


def test_c4():
    for k in (1, 2, 9, 99):
        assert gaussian.c4(k) == pytest.approx(sqrt(2 / k) * np.exp(lgamma((k + 1) / 2) - lgamma(k / 2)), rel=1e-12)
    k = np.array([1e4, 1e5, 1e7])
    np.testing.assert_allclose((1 - gaussian.c4(k)) * 4 * k, 1, rtol=1e-4)  # the next term is 1/8k of it
    close(np.sqrt(stats.chi2.rvs(9, size=20_000, random_state=1) / 9), gaussian.c4(9))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("kind", ["replace", "accumulate", "accumulate_subsample", "fresh_real"])
def test_second_moments(kind, ddof):
    options = {"share": 0.25} if kind == "fresh_real" else {}
    found = normal(kind, ddof, **options)
    expected = getattr(gaussian, kind)(G, M, *options.values(), ddof=ddof)
    close(found["mean_error"][CHECKED] ** 2, expected.drift[CHECKED])
    close(found["sd"][CHECKED] ** 2, expected.variance[CHECKED])
    close(found["mean"][CHECKED], 0)


@pytest.mark.parametrize(("kind", "ddof"), [("replace", 0), ("replace", 1), ("accumulate", 0)])
def test_second_moments_hold_in_each_coordinate(kind, ddof):
    found, expected = normal(kind, ddof, d=3, chains=1000), getattr(gaussian, kind)(G, M, ddof=ddof)
    close(found["mean_error"][CHECKED] ** 2, 3 * expected.drift[CHECKED])
    close(found["trace_ratio"][CHECKED], expected.variance[CHECKED])


def test_replace_in_closed_form():
    n = np.arange(1, G + 1)
    unbiased, likeliest = gaussian.replace(G, M), gaussian.replace(G, M, 0)
    np.testing.assert_allclose(unbiased.drift, n / M)
    np.testing.assert_allclose(unbiased.variance, 1)
    np.testing.assert_allclose(likeliest.variance, (1 - 1 / M) ** n)
    np.testing.assert_allclose(likeliest.drift, 1 - (1 - 1 / M) ** n)
    growing = gaussian.replace(3, [10, 20, 40])
    np.testing.assert_allclose(growing.drift, [0.1, 0.15, 0.175])


def test_fresh_real_items_hold_mean_and_variance_at_a_fixed_point():
    """1/D and 1 - 1/D, D = 1 - a + a n (2 - a): 0.0503 and 0.9497 at a = 0.1, n = 100; 0.213 and 0.787 at n = 20."""
    for share, size in ((0.1, 100), (0.1, 20), (0.5, 12)):
        limit = gaussian.fresh_limit(size, share)
        expected = gaussian.fresh_real(600, size, share, ddof=0)
        np.testing.assert_allclose([expected.drift[-1], expected.variance[-1]], limit, rtol=1e-9)
    np.testing.assert_allclose(gaussian.fresh_limit(100, 0.1), [0.0503, 0.9497], atol=5e-5)
    np.testing.assert_allclose(gaussian.fresh_limit(20, 0.1), [0.213, 0.787], atol=5e-4)
    left = gaussian.fresh_real(20, 100, 0.1, ddof=0).drift - gaussian.fresh_limit(100, 0.1).drift
    np.testing.assert_allclose(left[1:] / left[:-1], 0.9 * (0.9 - 1 / 100), rtol=1e-9)
    np.testing.assert_allclose(gaussian.fresh_real(G, M, 0.0), gaussian.replace(G, M))
    np.testing.assert_allclose(gaussian.fresh_real(G, M, 1.0).drift, 1 / M)


def test_accumulate_is_bounded():
    for size in (20, 100, 1000):
        exact, leading = gaussian.accumulate(200, size, 0).drift, gaussian.accumulate_leading(200, size)
        assert (exact <= leading * (1 + 1e-12)).all()
        assert (leading - exact <= 1 / size**2).all()
        assert leading[-1] < pi**2 / 6 / size
    # 100 items, ddof = 0, 200 generations after the first: 1.612 in a simulation, E s^2 = 0.9836
    drift, variance = (v[-1] for v in gaussian.accumulate(201, 100, 0))
    assert (drift * 100, variance) == (pytest.approx(1.612, abs=0.02), pytest.approx(0.9836, abs=1e-3))


def test_accumulate_subsample_falls_to_a_plateau():
    """20 items, ddof = 0: E s^2 falls from 0.95 to 0.873 at generation 11 and to 0.863 at 101, and hardly further."""
    variance = gaussian.accumulate_subsample(1001, 20, 0).variance
    assert (np.diff(variance) < 0).all()
    assert variance[[0, 10, 100]] == pytest.approx([0.95, 0.8728, 0.8629], abs=1e-4)
    assert variance[-1] == pytest.approx(variance[100], abs=2e-3)
    found = normal("accumulate_subsample", 0, generations=40, chains=400)
    close(found["sd"][[19, 39]] ** 2, variance[[19, 39]])
    drift = [gaussian.accumulate(G, M).drift, gaussian.accumulate_subsample(G, M).drift, gaussian.replace(G, M).drift]
    assert (np.diff(drift, axis=0)[:, 1:] > 0).all()


# Gaussian: the walk of log sigma, risk


@pytest.mark.parametrize(("d", "ddof"), [(1, 0), (1, 1), (3, 0), (3, 1)])
def test_log_sigma_is_a_random_walk(d, ddof):
    found = normal("replace", ddof, d=d, chains=CHAINS if d == 1 else 1000)["log_sigma"]
    walk = gaussian.log_sigma(G, M, ddof, d)
    close(found, walk.mean)
    close((found - walk.mean[:, None]) ** 2, walk.variance)


def test_rates_of_collapse():
    """-1/2M without bias and -1/M with ddof = 0, to order 1/M; -0.005068 at M = 100."""
    assert gaussian.log_sigma(1, 100).mean[0] == pytest.approx(-0.005068, abs=1e-6)
    for size in (50, 500):
        assert abs(gaussian.log_sigma(1, size).mean[0] + 1 / (2 * size)) < 1 / size**2
        assert abs(gaussian.log_sigma(1, size, 0).mean[0] + 1 / size) < 1.2 / size**2
    assert np.exp(gaussian.log_sigma(50, 100).mean[-1]) == pytest.approx(0.776, abs=5e-4)


def test_the_trap_of_the_mean_variance():
    """E s_n^2 = 1 for ever, and the median falls: the mean over chains is carried by a few of them."""
    found = normal("replace", size=10, generations=60, chains=2000)
    median = np.median(found["sd"][-1])
    walk = gaussian.log_sigma(60, 10)
    half = 2.5 * sqrt(walk.variance[-1] / 2000)  # of the median of a normal law, two standard errors
    assert abs(np.log(median) - walk.mean[-1]) < half
    assert gaussian.replace(60, 10).variance[-1] == 1
    square = np.sort(found["sd"][-1] ** 2)
    assert square[-20:].sum() > 0.5 * square.sum()


@pytest.mark.parametrize("ddof", [0, 1])
def test_risk(ddof):
    found = normal("replace", ddof)
    close(found["risk"][CHECKED], gaussian.risk(G, M, ddof)[CHECKED])
    close(found["wasserstein2"][CHECKED], gaussian.risk(G, M, ddof)[CHECKED])


def test_risk_of_the_literature():
    """M = 10, n = 10: 1.4842; M = 100, n = 50: 0.7372; M = 1000, n = 50: 0.07487; leading order (3/2) n/M."""
    for size, n, value in ((10, 10, 1.4842), (100, 50, 0.7372), (1000, 50, 0.07487)):
        assert gaussian.risk(n, size)[-1] == pytest.approx(value, rel=1e-4)
        assert abs(gaussian.risk(n, size) - gaussian.risk_leading(n, size)).max() < (n / size) ** 2
    n = np.arange(1, 51)
    np.testing.assert_allclose(gaussian.risk(50, 100), n / 100 + 2 * (1 - gaussian.c4(99) ** n))
    np.testing.assert_allclose(gaussian.risk_leading(2, [10, 20]), [0.15, 0.225])


def test_variance_of_the_risk_is_five_halves_of_the_squared_sum():
    """(5/2) (sum 1/M)^2 to leading order, and not (1/2)(3 sum 1/M^2 + 4 sum_(i != j) 1/M^2) = 1.95e-4 here."""
    risk = normal("replace", size=1000, generations=10, chains=4000)["risk"][-1]
    square = (risk - risk.mean()) ** 2
    error = square.std() / sqrt(4000)
    assert abs(square.mean() - 2.5e-4) < 4 * error
    assert abs(square.mean() - 1.95e-4) > 4 * error


@pytest.mark.parametrize("ddof", [0, 1])
def test_quantiles_of_the_error_of_the_standard_deviation(ddof):
    found = normal("replace", ddof, size=100, generations=40, chains=2000)["sd_error"]
    for q in (0.25, 0.5, 0.9):
        below = (found < gaussian.sd_error_quantile(q, 40, 100, ddof)[:, None]).astype(float)
        close(below[[0, 9, 39]], q, slack=0.01)


@pytest.mark.parametrize("n", [10, 1000])
def test_estimates_of_generation_1(n):
    found = normal("replace", 0, size=n, generations=1, chains=4000)
    for metric, expected in (("mean_error", gaussian.mean_error(n)), ("sd", gaussian.sd_estimate(n))):
        close(found[metric][0], expected.mean)
        close((found[metric][0] - expected.mean) ** 2, expected.sd**2)


def test_published_values_of_figure_s3_are_those_of_the_standard_deviation():
    """Means and spreads that the paper's code stores, over 1,000 repeats: 4 standard errors and their rounding."""
    from collapse.theory.gaussian import sd_estimate

    n = np.array([10, 30, 100, 500, 1e3, 1e4, 1e5, 1e6, 1e7])
    mean = np.array([0.9206, 0.9831, 0.9916, 0.9978, 0.9995, 0.9997, 1, 1, 1])
    spread = np.array([0.2212, 0.1320, 0.0676, 0.0310, 0.0222, 0.0073, 0.0022, 0.00073, 0.00023])
    expected = sd_estimate(n)
    assert (abs(mean - expected.mean) < 4 * expected.sd / sqrt(1000) + 5e-5).all()
    assert (abs(spread / expected.sd - 1) < 4 / sqrt(2000) + 0.03).all()
