"""Progress: lines where there is no terminal, a bar on one."""

from __future__ import annotations

import io

import pytest

from edge_app.terminal import Progress, over


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Steps:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_prints_a_line_every_ten_seconds_with_the_percentage():
    stream, clock = io.StringIO(), Steps()
    with Progress("replay", "frames", 200, stream=stream, clock_s=clock) as progress:
        for second in range(1, 26):
            clock.now_s = float(second)
            progress.update(4)
    assert stream.getvalue().splitlines() == ["replay: 40 of 200 frames, 20 %", "replay: 80 of 200 frames, 40 %"]


def test_prints_only_the_count_if_the_total_is_unknown_or_wrong():
    stream, clock = io.StringIO(), Steps()
    with Progress("tune", "frames", stream=stream, clock_s=clock) as progress:
        clock.now_s = 10.0
        progress.update(7)
        progress.total = 5
        clock.now_s = 20.0
        progress.update()
    assert stream.getvalue().splitlines() == ["tune: 7 frames", "tune: 8 frames"]


def test_the_closing_line_has_number_time_and_rate():
    stream, clock = io.StringIO(), Steps()
    with Progress("replay", "frames", closing=True, stream=stream, clock_s=clock) as progress:
        clock.now_s = 2.0
        progress.update(30)
    assert stream.getvalue() == "replay: 30 frames in 2.0 s, 15.0 frames/s\n"


def test_an_error_has_no_closing_line():
    stream = io.StringIO()
    with pytest.raises(KeyError), Progress("replay", "frames", closing=True, stream=stream):
        raise KeyError
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_whose_total_may_become_known_later():
    stream = Terminal()
    with Progress("replay", "frames", closing=True, stream=stream) as progress:
        progress.total = 10
        for _ in range(10):
            progress.update()
    assert "\r" in stream.getvalue()
    assert stream.getvalue().splitlines()[-1].startswith("replay: 10 frames in ")


def test_over_yields_every_item(capsys):
    assert list(over(["a", "b"], "bench", "passes")) == ["a", "b"]
    assert capsys.readouterr().err == ""
