"""Tokens, sessions, and the limit on guessing."""

from __future__ import annotations

import pytest

from edge_app.web.access import SESSION_S, Access, TooManyAttempts


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_without_a_token_everybody_may_look():
    assert Access(None, Clock()).check("", "x")
    assert Access(None, Clock()).open


def test_guessing_is_slowed_down_per_address_and_the_right_token_is_then_refused_too():
    clock = Clock()
    access = Access("secret", clock)
    assert [access.check("wrong", "a") for _ in range(5)] == [False] * 5
    with pytest.raises(TooManyAttempts) as refusal:
        access.check("secret", "a")
    assert 0 < refusal.value.after_s <= 60
    assert access.check("secret", "b"), "another address is not held up"
    clock.now_s += 61
    assert access.check("secret", "a")


def test_guessing_from_many_addresses_is_slowed_down_as_well():
    access = Access("secret", Clock())
    for number in range(50):
        access.check("wrong", f"10.0.0.{number}")
    with pytest.raises(TooManyAttempts):
        access.check("secret", "fresh")


def test_what_is_remembered_of_addresses_is_bounded():
    clock = Clock()
    access = Access("secret", clock)
    for number in range(5000):
        clock.now_s += 10
        access.check("wrong", str(number))
    assert len(access._wrong) <= 1025


def test_sessions_end_and_are_few():
    clock = Clock()
    access = Access("secret", clock)
    sessions = [access.begin_session() for _ in range(40)]
    assert [access.has_session(session) for session in sessions] == [False] * 8 + [True] * 32
    access.end_session(sessions[-1])
    assert not access.has_session(sessions[-1])
    assert not access.has_session("")
    clock.now_s += SESSION_S + 1
    assert not any(access.has_session(session) for session in sessions)
