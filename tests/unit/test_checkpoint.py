"""Checkpoints: files that are right or refused, signals that are heard, and fits that go on to the same bits."""

import signal
from dataclasses import replace

import numpy as np
import pytest

from collapse import checkpoint as module
from collapse.checkpoint import Checkpoint, StoppedError
from collapse.errors import DataError
from collapse.families import gpt2, training
from collapse.items import Items, Ragged
from collapse.loop import Budget
from collapse.seeding import Streams, stream
from collapse.store import save_arrays

NEVER = 1e9
IDENTITY = {"cell": ("stories", "recipe", "real", 1), "seed": 3, "code": lambda: "abc"}
STATE = {"weights": np.arange(3.0, dtype=np.float32), "clock": np.array(2.5, np.float32), "step": 7, "loss": 0.1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gen1" / "checkpoint.safetensors"


# files ---------------------------------------------------------------------------------------------------------------


def test_a_state_comes_back_with_its_notes(path):
    assert Checkpoint(path, IDENTITY, NEVER).load() is None
    Checkpoint(path, IDENTITY, NEVER, {"curve": [{"loss": 1 / 3}]}).save(STATE)
    notes = {"curve": []}
    state = Checkpoint(path, IDENTITY, NEVER, notes).load()
    assert notes == {"curve": [{"loss": 1 / 3}]}
    assert state.keys() == STATE.keys()
    for name, value in STATE.items():
        assert np.array_equal(state[name], value), name
        assert not isinstance(value, np.ndarray) or state[name].dtype == value.dtype


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 4}, "other seed"),
        ({"code": lambda: "abd"}, "other code"),
        ({"training_sha256": "0"}, "other train"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_and_kept(path, other, named):
    Checkpoint(path, IDENTITY, NEVER).save(STATE)
    before, notes = path.read_bytes(), {"curve": []}
    mine = Checkpoint(path, IDENTITY, NEVER, notes)
    mine.identify(**other)
    with pytest.raises(
        DataError, match=rf"checkpoint\.safetensors is the checkpoint of another fit \({named}.*delete it"
    ):
        mine.load()
    assert path.read_bytes() == before
    assert notes == {"curve": []}


def test_a_broken_checkpoint_is_refused_and_kept(path):
    Checkpoint(path, IDENTITY, NEVER).save(STATE)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-2] ^= 1
    for content, message in ((whole[:-3], "is truncated"), (bytes(flipped), "is corrupted"), (b"", "is truncated")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"checkpoint\.safetensors {message}.*delete it"):
            Checkpoint(path, IDENTITY, NEVER).load()
        assert path.read_bytes() == content
    save_arrays(path, {"w": np.zeros(3)})
    with pytest.raises(DataError, match=r"is not a checkpoint .*delete it"):
        Checkpoint(path, IDENTITY, NEVER).load()


def test_it_is_due_by_the_monotonic_clock(path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    checkpoint = Checkpoint(path, IDENTITY, 2)
    for seconds, due in ((0, False), (119, False), (120, True)):
        now[0] = 100 + seconds
        assert checkpoint.due() is due
    checkpoint.save(STATE)
    assert not checkpoint.due()
    now[0] += 120
    assert checkpoint.due()
    assert Checkpoint(path, IDENTITY, 0).due()


def test_clearing_leaves_nothing(path):
    checkpoint = Checkpoint(path, IDENTITY, NEVER)
    checkpoint.clear()  # nothing there: a short fit
    checkpoint.save(STATE)
    (path.parent / f".checkpoint.{2**22 + 1}.part.safetensors").write_bytes(b"of a killed process")
    (path.parent / "model.safetensors").write_bytes(b"")
    checkpoint.clear()
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


# signals -------------------------------------------------------------------------------------------------------------


class Heard(Exception):  # noqa: N818
    """What the handlers of before do."""


@pytest.fixture
def handlers():
    def hear(number, frame):
        raise Heard(number)

    before = {number: signal.signal(number, hear) for number in module.STOPS}
    yield hear
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", module.STOPS)
def test_a_signal_makes_the_state_due_and_ends_the_fit_once_it_is_saved(path, handlers, number):
    def work(checkpoint):
        with checkpoint.stoppable():
            assert not checkpoint.due()
            signal.raise_signal(number)
            assert checkpoint.due()
            assert not path.exists()
            checkpoint.save(STATE)

    with pytest.raises(StoppedError, match=rf"by {number.name}; .*checkpoint\.safetensors: run the same command"):
        work(Checkpoint(path, IDENTITY, NEVER))
    assert all(signal.getsignal(n) is handlers for n in module.STOPS)
    assert Checkpoint(path, IDENTITY, NEVER).load()["step"] == 7


@pytest.mark.parametrize(("numbers", "expected"), [(module.STOPS, "SIGINT"), (module.STOPS[:1], "SIGTERM at the end")])
def test_a_second_signal_acts_at_once_and_one_with_nothing_to_save_at_the_end(path, handlers, numbers, expected):
    heard = []

    def work():
        with Checkpoint(path, IDENTITY, NEVER).stoppable():
            for number in numbers:
                signal.raise_signal(number)
            heard.append("the end")

    with pytest.raises(Heard) as caught:
        work()
    assert " at ".join([signal.Signals(caught.value.args[0]).name, *heard]) == expected
    assert not path.exists()


def test_without_a_signal_nothing_happens(path, handlers):
    with Checkpoint(path, IDENTITY, NEVER).stoppable():
        assert signal.getsignal(signal.SIGTERM) is not handlers
    assert all(signal.getsignal(n) is handlers for n in module.STOPS)


def test_what_is_ignored_stays_ignored(path, handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nohup, a shell's background job
    checkpoint = Checkpoint(path, IDENTITY, NEVER)
    with checkpoint.stoppable():
        signal.raise_signal(signal.SIGINT)
        assert not checkpoint.due()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


# fits that go on -----------------------------------------------------------------------------------------------------

CONFIG = gpt2.Config(
    vocabulary=13, end=3, hidden=16, layers=2, heads=2, positions=20, batch=8, warmup_steps=2, learning_rate=0.01,
    dropout=0.1, weight_decay=0.1, evaluations=(0.1, 0.55),
)  # fmt: skip
PASS, STEPS = 8, 20  # batches of a pass; two and a half passes


class Stops(Checkpoint):
    """Is asked to stop after some steps of this process."""

    def __init__(self, *arguments, after=None):
        super().__init__(*arguments)
        self.after, self.saved = after, 0

    def due(self):
        if self.after is not None:
            self.after -= 1
            if self.after == 0:
                self._stop = signal.SIGTERM
        return super().due()

    def save(self, state):
        self.saved += 1
        super().save(state)


def fit(to, checkpoint=None, notes=None, config=CONFIG):
    """Fit with dropout and loss weights; return the bytes of the model and the learning curve."""
    rng, notes = stream("items"), {"curve": []} if notes is None else notes
    tokens = [t for t in range(config.vocabulary) if t != config.end]
    items = Items.make(Ragged.of([rng.choice(tokens, n) for n in rng.integers(0, 20, 8 * PASS - 3)]), generation=0)
    model = gpt2.fit(
        items, config=config, weights=1 + rng.random((1, len(items))), budget=Budget(steps=STEPS), init=None,
        validation=None, observer=lambda m, p: notes["curve"].append(p), rng=Streams(("fit",), (0,)),
        checkpoint=checkpoint,
    )  # fmt: skip
    gpt2.save(model, to)
    return to.read_bytes(), notes["curve"], model.pace["train_steps"]


@pytest.mark.parametrize("after", [1, 2, 3, PASS - 1, PASS, PASS + 1, 2 * PASS, STEPS - 1, STEPS])
def test_a_resumed_fit_gives_the_same_bits(tmp_path, path, one_thread, after):
    expected = fit(tmp_path / "model")
    notes = {"curve": []}
    with pytest.raises(StoppedError):
        fit(tmp_path / "model", Stops(path, IDENTITY, NEVER, notes, after=after), notes)
    notes = {"curve": []}  # another process
    found = fit(tmp_path / "model", Checkpoint(path, IDENTITY, NEVER, notes), notes)
    assert found[:2] == expected[:2]
    assert [p["step"] for p in found[1]] == [2, 11, STEPS]
    assert found[2] == STEPS - after  # only what was left


@pytest.mark.parametrize("every", [1, 7])  # steps after which losses are fetched
def test_a_fit_may_be_stopped_again_and_again(tmp_path, path, one_thread, monkeypatch, every):
    expected, stops = fit(tmp_path / "model"), 0
    monkeypatch.setitem(training.FETCH, "cpu", every)
    while True:
        notes = {"curve": []}
        try:
            found = fit(tmp_path / "model", Stops(path, IDENTITY, NEVER, notes, after=3), notes)
            break
        except StoppedError:
            stops += 1
    assert stops == STEPS // 3
    assert found[:2] == expected[:2]


def test_saving_changes_nothing_and_a_short_fit_saves_nothing(tmp_path, path, one_thread):
    expected = fit(tmp_path / "model")
    always, never = Stops(path, IDENTITY, 0), Stops(path.with_name("other"), IDENTITY, 10)
    assert fit(tmp_path / "model", always)[:2] == expected[:2]
    assert always.saved == STEPS
    path.unlink()
    assert fit(tmp_path / "model", never)[:2] == expected[:2]
    assert never.saved == 0
    assert not list(path.parent.iterdir())


def test_without_dropout_there_is_no_noise_to_go_on_with(tmp_path, path, one_thread):
    config = replace(CONFIG, dropout=0.0)
    expected = fit(tmp_path / "model", config=config)
    with pytest.raises(StoppedError):
        fit(tmp_path / "model", Stops(path, IDENTITY, NEVER, after=5), config=config)
    assert "noise" not in Checkpoint(path, IDENTITY, NEVER).load()
    assert fit(tmp_path / "model", Checkpoint(path, IDENTITY, NEVER), config=config)[0] == expected[0]
