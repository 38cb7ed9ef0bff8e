"""The state board: what each sink still has to publish, oldest change first."""

import json

import pytest

from edge_app.state import StateBoard
from edge_app.state.board import MAX_PAYLOAD_BYTES


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(clock):
    return StateBoard(clock)


def drain(feed, clock, seconds=10):
    """Everything that a sink publishes: (second, topic, value)."""
    found = []
    for _ in range(seconds):
        while (each := feed.next(lambda _: 0)) is not None:
            found.append((clock.now_s, each[0], json.loads(each[1]) if each[1] else None))
        clock.now_s += 1
    return found


def test_everything_is_published_at_first_and_after_each_connect(board, clock):
    board.set({"rules/a": {"n": 1}, "rules/b": {"n": 2}})
    feed = board.open()
    everything = [("rules/a", {"n": 1}), ("rules/b", {"n": 2})]
    assert [each[1:] for each in drain(feed, clock)] == everything
    assert drain(feed, clock) == []
    feed.restart()
    assert [each[1:] for each in drain(feed, clock)] == everything


def test_the_oldest_change_comes_first_with_its_latest_value(board, clock):
    board.set({name: {"n": 0} for name in "abcd"})
    feed = board.open()
    drain(feed, clock)
    board.set({"a": {"n": 0}, "b": {"n": 0}, "c": {"n": 0}, "d": {"n": 1}})
    board.set({"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}, "d": {"n": 2}})
    found = drain(feed, clock)
    assert [each[1:] for each in found] == [("d", {"n": 2}), ("a", {"n": 1}), ("b", {"n": 1}), ("c", {"n": 1})]
    assert [each[0] - found[0][0] for each in found] == [0, 0, 1, 1], "two in a second"


def test_a_topic_that_always_changes_does_not_starve_another(board, clock):
    board.set({name: {"n": 0} for name in "abc"})
    feed = board.open()
    drain(feed, clock)
    seen = []
    for n in range(1, 7):
        board.set({"a": {"n": n}, "b": {"n": n}, "c": {"n": n}})
        seen += [each[1] for each in drain(feed, clock, 1)]
    assert [seen.count(name) for name in "abc"] == [4, 4, 4]


def test_a_change_that_was_taken_back_is_not_published(board, clock):
    board.set({"a": {"n": 0}})
    feed = board.open()
    drain(feed, clock)
    board.set({"a": {"n": 1}})
    board.set({"a": {"n": 0}})
    assert drain(feed, clock) == []


def test_a_topic_that_has_gone_is_emptied(board, clock):
    board.set({"a": {"n": 0}, "b": {"n": 0}})
    feed = board.open()
    drain(feed, clock)
    board.set({"a": {"n": 0}})
    assert [each[1:] for each in drain(feed, clock)] == [("b", None)]


def test_nothing_is_published_before_the_state_is_known(board, clock):
    feed = board.open()
    assert drain(feed, clock) == []
    assert feed.topics() is None


def test_sinks_share_one_budget_and_have_their_own_changes(board, clock):
    board.set({name: {"n": 0} for name in "abc"})
    feeds = [board.open(), board.open()]
    for _ in range(3):
        assert sum(feed.next(lambda _: 0) is not None for feed in feeds for _ in range(3)) == 2
        clock.now_s += 1
    assert drain(feeds[0], clock) == drain(feeds[1], clock) == []


def test_nobody_has_to_collect_a_state_that_no_sink_publishes(board):
    assert not board.is_wanted
    feed = board.open()
    assert board.is_wanted
    feed.close()
    feed.close()
    assert not board.is_wanted


def test_a_state_of_a_plug_in_that_is_too_large_keeps_its_numbers(board, clock, caplog):
    feed = board.open()
    for _ in range(2):
        board.set({"rules/a": {"active": True, "n": 3, "text": "x" * MAX_PAYLOAD_BYTES}})
    assert [each[2] for each in drain(feed, clock)] == [{"active": True, "n": 3}]
    assert len(caplog.records) == 1
