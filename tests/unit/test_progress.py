import io
import subprocess
import sys

import pytest

from collapse.progress import Status, bar, duration


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (-1, "0.0 s"),
        (4.24, "4.2 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (500, "8 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock):
    out = io.StringIO()
    with bar(1000, "fit gpt2", "steps", stream=out, clock=clock) as steps:
        for _ in range(100):
            clock.now += 0.25
            steps.update(10)
    assert out.getvalue().splitlines() == [
        "fit gpt2: 400/1,000 steps, 40.0 steps/s, elapsed 10 s, remaining 15 s",
        "fit gpt2: 800/1,000 steps, 40.0 steps/s, elapsed 20 s, remaining 5.0 s",
        "fit gpt2: 1,000/1,000 steps, 40.0 steps/s, elapsed 25 s, remaining 0.0 s",
    ]


def test_a_bar_gives_every_item_and_counts_it(clock):
    out = io.StringIO()
    assert list(bar("abc", "letters", stream=out, clock=clock)) == ["a", "b", "c"]
    assert out.getvalue().startswith("letters: 3/3 items")


def test_without_a_total_nothing_is_said_to_remain(clock):
    out = io.StringIO()
    for _ in bar((x for x in range(5)), "stories", "stories", stream=out, clock=clock):
        clock.now += 1
    assert out.getvalue() == "stories: 5 stories, 1.0 stories/s, elapsed 5.0 s\n"


def test_work_that_fails_is_not_said_to_be_done(clock):
    def fail(out):
        with bar(10, "fit", "steps", stream=out, clock=clock) as steps:
            clock.now += 2
            steps.update(4, note="loss 3.21")
            raise KeyError

    out = io.StringIO()
    with pytest.raises(KeyError):
        fail(out)
    assert out.getvalue() == "fit: 4/10 steps, 2.0 steps/s, elapsed 2.0 s, remaining 3.0 s, loss 3.21, stopped\n"


def test_a_bar_that_counts_cannot_be_iterated_over():
    with pytest.raises(TypeError, match="update"):
        list(bar(3, "fit", stream=io.StringIO()))


def test_a_terminal_gets_a_tqdm_bar():
    out = Terminal()
    with bar(10, "fit", "steps", stream=out) as steps:
        steps.update(10, note="loss 3.21")
    assert "\r" in out.getvalue()
    assert "fit: 100%" in out.getvalue()
    assert "10/10" in out.getvalue()
    assert "loss 3.21" in out.getvalue()


def test_a_dumb_terminal_is_a_log(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with bar(1, "fit", stream=out) as items:
        items.update()
    assert "\r" not in out.getvalue()
    assert "1/1" in out.getvalue()


def test_importing_it_is_cheap():
    code = "import sys, collapse.progress; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "collapse.progress" in modules
    assert not {"tqdm", "numpy", "torch", "pandas"} & set(modules)


def test_a_status_in_a_log_is_not_repeated_too_often(clock):
    out = io.StringIO()
    status = Status(out, clock)
    for second in range(7):
        status.show(f"second {second}", every=3.0)
        clock.now += 1
    status.say("an error")
    status.clear()
    assert out.getvalue().splitlines() == ["second 0", "second 3", "second 6", "an error"]


def test_a_status_on_a_terminal_is_one_line_below_what_stays():
    out = Terminal()
    status = Status(out)
    status.show("x" * 200)
    status.show("working")
    status.say("an error")
    status.clear()
    first, *rest = out.getvalue().split("\r\x1b[K")[1:]
    assert first == "x" * 76 + "..."  # cut to 80 columns, less one
    assert rest == ["working", "an error\nworking", ""]
