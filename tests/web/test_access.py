"""Tokens, sessions, and the limit on guessing."""

from __future__ import annotations

import contextlib

import pytest

from edge_app.web.access import SESSION_S, Access, TooManyAttempts


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_without_a_token_access_is_open():
    assert Access(None, Clock()).check(b"", "x")
    assert Access(None, Clock()).open


def test_limits_wrong_tokens_per_address_for_a_minute():
    clock = Clock()
    access = Access("secret", clock)
    assert [access.check(b"wrong", "a") for _ in range(5)] == [False] * 5
    with pytest.raises(TooManyAttempts) as limited:
        access.check(b"wrong", "a")
    assert 0 < limited.value.after_s <= 60
    assert not access.check(b"wrong", "b"), "other addresses are not limited"
    clock.now_s += 61
    assert not access.check(b"wrong", "a")


@pytest.mark.parametrize("strangers", [["a"] * 100, [f"10.0.0.{number}" for number in range(100)]])
def test_wrong_tokens_never_lock_out_the_right_one(strangers):
    access = Access("secret", Clock())
    for address in strangers:
        with contextlib.suppress(TooManyAttempts):
            access.check(b"wrong", address)
    assert access.check(b"secret", "a")
    assert access.check(b"secret", "other")


@pytest.mark.parametrize("token", [b"", b"\xff", b"secret\0", b"x" * 10_000])
def test_any_bytes_are_a_wrong_token(token):
    assert not Access("secret", Clock()).check(token, "a")


def test_the_table_of_addresses_is_bounded():
    clock = Clock()
    access = Access("secret", clock)
    for number in range(5000):
        clock.now_s += 10
        access.check(b"wrong", str(number))
    assert len(access._wrong) <= 1024


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
