"""Seeding: golden values, and independence of order, process and neighbours."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from collapse.seeding import Streams, digest, stream, torch_seed


def test_a_name_is_hashed_as_json():
    assert digest("a", 1, 0.5, None) == hashlib.sha256(b'["a",1,0.5,null]').digest()


def test_golden_values():
    """They may never change: every result hangs on them."""
    assert digest("a", 1, 0.5, None).hex() == "17b71729aa9e49e8c4cf817f2f09c877237a3c996c70329bc7a823cd6f47a2d2"
    assert stream("fit", "stories", 0).integers(0, 2**32, 4).tolist() == [1218316709, 1486458189, 1182581589, 99785117]
    assert stream("fit", "stories", 0).standard_normal(2).tolist() == [-1.38319177924726, -0.23154737678072093]
    assert torch_seed("fit", "stories", 0) == 6713148326272270838
    assert Streams(("fit", "stories"), [0]).normal(2)[0].tolist() == [-1.38319177924726, -0.23154737678072093]


def test_another_process_draws_the_same():
    program = "from collapse.seeding import stream; print(stream('x', 'y', 3).random())"
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(p for p in sys.path if p)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert float(run.stdout) == stream("x", "y", 3).random()


def test_names_that_differ_give_other_numbers():
    names = [
        ("a",),
        ("a", 1),
        ("a", "1"),
        ("a", 1.0),
        ("a", 1, None),
        ("b", 1),
        (1, "a"),
        ("a", 12),
        ("a", 1, 2),
        ("a1",),
    ]
    assert len({stream(*name).random() for name in names}) == len(names)
    assert len({torch_seed(*name) for name in names}) == len(names)


def test_names_are_exact():
    with pytest.raises(TypeError):
        stream("fit", np.int64(3))
    with pytest.raises(TypeError):
        stream("fit", object())


def test_torch_seed_fits_a_generator():
    seeds = [torch_seed("s", i) for i in range(200)]
    assert all(0 <= s < 2**63 for s in seeds)
    assert max(seeds) > 2**62
    assert torch_seed("s", 3) != int.from_bytes(digest("s", 3)[:8], "little") >> 1  # not the key of the numpy stream


def test_order_of_streams_does_not_matter():
    a, b = stream("a"), stream("b")
    mixed = [a.random(), b.random(), a.random(), b.random()]
    b, a = stream("b"), stream("a")
    later = [b.random(), b.random(), a.random(), a.random()]
    assert mixed == [later[2], later[0], later[3], later[1]]


def test_a_chain_draws_the_same_alone_and_among_others():
    for draw in (lambda r: r.normal(3, 2), lambda r: r.each(lambda g: g.permutation(9))):
        together = draw(Streams(("fit", 2), (5, 0, 8)))
        assert together.shape[0] == 3
        for row, seed in zip(together, (5, 0, 8), strict=True):
            assert np.array_equal(row, draw(Streams(("fit", 2), (seed,)))[0])


def test_a_stream_goes_on_where_it_was():
    rng, whole = Streams(("a",), (0, 1)), Streams(("a",), (0, 1)).normal(6)
    assert np.array_equal(np.concatenate([rng.normal(2), rng.normal(4)], axis=1), whole)


def test_alone():
    assert Streams(("a",), (3,)).alone.random() == stream("a", 3).random()
    for several in (Streams(("a",), (0, 1)), Streams(("a",), ())):
        with pytest.raises(ValueError, match="side by side, not one"):
            _ = several.alone
        with pytest.raises(ValueError, match="side by side, not one"):
            several.torch()


def test_torch_generator():
    import torch

    def draw(purpose, seed=3):
        return torch.rand(3, generator=Streams(("a",), (seed,)).torch(purpose)).tolist()

    before = torch.random.get_rng_state()
    assert draw("order") == draw("order")
    assert len({tuple(draw(p, s)) for p in ("order", "torch") for s in (3, 4)}) == 4
    assert torch.equal(torch.random.get_rng_state(), before)


def test_normal_has_the_law_it_says():
    values = Streams(("law",), range(50)).normal(2000)
    assert values.dtype == np.float64
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / values.size)
    assert abs(np.corrcoef(values)[np.triu_indices(50, 1)]).max() < 5.5 / np.sqrt(2000)
