"""Progress: what a line says, and when a time left is known."""

import io

import pytest
from rich.console import Console

from cambench import progress as module


@pytest.fixture
def lines(monkeypatch):
    """``(clock, lines())`` of bars that write plain lines; ``clock[0]`` is the time."""
    stream, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(module, "console", Console(file=stream))
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock, lambda: stream.getvalue().splitlines()


def test_the_time_left_is_of_what_follows_the_first_unit(lines):
    clock, said = lines
    with module.progress("net", 100) as bar:
        assert said() == ["net: 100 images"]
        clock[0] = 60.0  # something was compiled
        bar.advance(10)
        assert said()[1:] == ["net: 10/100 images"], "nobody knows yet how long the others take"
        clock[0] = 80.0
        bar.advance(20)
        assert said()[2:] == ["net: 30/100 images, 1.0 images/s, 70 s left"]
        clock[0] = 90.0
        bar.advance(70)
    assert said()[3:] == ["net: 100/100 images in 90.0 s"]


def test_units_and_notes_are_named(lines):
    clock, said = lines
    with module.progress("head", 4000, "image passes") as bar:
        bar.advance(1000)
        clock[0] = 20.0
        bar.advance(1000, "epoch 3 of 4")
    assert said() == [
        "head: 4,000 image passes",
        "head: 2,000/4,000 image passes, 50.0 image passes/s, 40 s left, epoch 3 of 4",
        "head: 2,000/4,000 image passes in 20.0 s",
    ]


def test_a_bar_within_another_that_the_library_refuses_writes_lines(lines, monkeypatch):
    _, said = lines
    monkeypatch.setattr(module, "console", Console(file=module.console.file, force_terminal=True))

    def refused(self):
        raise module.LiveError("only one live display may be active at once")

    monkeypatch.setattr(module.RichProgress, "start", refused)
    with module.progress("inner", 2) as bar:
        bar.advance(2)
    assert said() == ["inner: 2 images"]
