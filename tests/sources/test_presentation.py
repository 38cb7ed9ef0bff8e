"""_presentation: increasing times, whatever the file claims."""

import pytest

from edge_app.sources._presentation import PresentationTimes

S = 10**9


def stamps(file_s, period_s=1.0):
    """The times in seconds, and where they jumped."""
    times, found, jumps = PresentationTimes(), [], []
    for index, second in enumerate(file_s):
        jump = times.next(round(second * S), round(period_s * S))
        found.append(times.last_ns / S)
        if jump is not None:
            jumps.append((index, jump, round(times.jump_ns / S)))
    return found, jumps, times.skipped


def test_plausible_times_are_kept():
    assert stamps([7, 8, 9.5, 12, 71])[:2] == ([0, 1, 2.5, 5, 64], [])


@pytest.mark.parametrize("claimed_s", [61, 7200, 88_240, 95_443.7, -7200, -1.5])
def test_a_jump_becomes_one_period_and_what_follows_is_relative_to_it(claimed_s):
    second = 2 + claimed_s
    found, jumps, _ = stamps([0, 1, 2, second, second + 1, second + 2.5])
    assert found == pytest.approx([0, 1, 2, 3, 4, 5.5])
    assert jumps == [(3, "forward" if claimed_s > 0 else "back", round(claimed_s))]


def test_one_damaged_time_costs_two_jumps_and_no_time():
    found, jumps, _ = stamps([0, 1, 2, 1_000_000, 4, 5])
    assert found == [0, 1, 2, 3, 4, 5]
    assert len(jumps) == 2


def test_a_time_lapse_recording_may_have_minutes_between_frames():
    assert stamps([0, 600, 1200, 3600], period_s=600)[:2] == ([0, 600, 1200, 3600], [])


@pytest.mark.parametrize("unknown_s", [-9.2e18 / 1e6, 0.0])
def test_frames_without_a_time_follow_by_one_period(unknown_s):
    assert stamps([0, 1, 2, unknown_s, unknown_s])[:2] == ([0, 1, 2, 3, 4], [])


def test_repeated_and_slightly_earlier_times_still_increase():
    assert stamps([0, 0.1, 0.1, 0.05, 0.4], period_s=0.1)[0] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_counts_gaps_of_a_constant_rate_only():
    constant = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    varied = [0, 1, 2, 4, 5, 8, 9, 12, 13, 15]
    assert stamps(constant)[2] == 2
    assert stamps(varied)[2] == 0


def test_a_frame_that_arrives_late_is_not_missing():
    constant = [0, 1, 2, 3, 4, 5, 6, 15, 7, 16, 17, 18, 10, 19]
    assert stamps([second / 10 for second in constant], period_s=0.1)[2] == 8 - 2


def test_the_next_pass_continues_one_period_later():
    times = PresentationTimes()
    for second in (5, 6, 8):
        times.next(second * S, S)
    times.restart(S)
    assert times.next(5 * S, S) is None
    assert times.last_ns == 4 * S
