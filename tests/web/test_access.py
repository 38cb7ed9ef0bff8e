"""Tokens, sessions, and the limit on guessing."""

from __future__ import annotations

import pytest

from edge_app.web.access import SESSION_S, Access, TooManyAttempts


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_without_a_token_access_is_open():
    assert Access(None, Clock()).check("", "x")
    assert Access(None, Clock()).open


def test_limits_wrong_tokens_per_address_and_then_rejects_the_right_one_too():
    clock = Clock()
    access = Access("secret", clock)
    assert [access.check("wrong", "a") for _ in range(5)] == [False] * 5
    with pytest.raises(TooManyAttempts) as limited:
        access.check("secret", "a")
    assert 0 < limited.value.after_s <= 60
    assert access.check("secret", "b"), "other addresses are not limited"
    clock.now_s += 61
    assert access.check("secret", "a")


def test_limits_wrong_tokens_of_all_addresses_together():
    access = Access("secret", Clock())
    for number in range(50):
        access.check("wrong", f"10.0.0.{number}")
    with pytest.raises(TooManyAttempts):
        access.check("secret", "fresh")


def test_the_table_of_addresses_is_bounded():
    clock = Clock()
    access = Access("secret", clock)
    for number in range(5000):
        clock.now_s += 10
        access.check("wrong", str(number))
    assert len(access._wrong) <= 1025


def test_sessions_expire_and_their_number_is_limited():
    clock = Clock()
    access = Access("secret", clock)
    sessions = [access.begin_session() for _ in range(40)]
    assert [access.has_session(session) for session in sessions] == [False] * 8 + [True] * 32
    access.end_session(sessions[-1])
    assert not access.has_session(sessions[-1])
    assert not access.has_session("")
    clock.now_s += SESSION_S + 1
    assert not any(access.has_session(session) for session in sessions)
