"""Events of one rule on a clock that steps: durations follow the monotonic clock, in UTC too."""

from __future__ import annotations

import pytest

from edge_app.rules import Moment, RuleContext
from edge_app.rules._ledger import Ledger

S = 10**9
NOON_NS = 1_795_780_800 * S


def moment(at_s: float, *, stepped_s: float = 0.0) -> Moment:
    """A moment on a clock that was set to noon at 0, and has been stepped since."""
    return Moment(round(at_s * S), NOON_NS + round((at_s + stepped_s) * S))


@pytest.fixture
def ledger():
    return Ledger(RuleContext("door", "zone", {}), 1.0)


@pytest.mark.parametrize("stepped_s", [0.0, 3600.0, -3600.0, 1e9, -1e9])
def test_a_step_of_the_clock_during_an_event_changes_no_duration(ledger, stepped_s):
    ledger.begin("a", moment(1), moment(1), {})
    (update,) = ledger.update("a", moment(3, stepped_s=stepped_s), {})
    end = ledger.end("a", moment(6, stepped_s=stepped_s), "left")
    assert (end.end_ns - end.start_ns, end.end_utc_ns - end.start_utc_ns) == (5 * S, 5 * S)
    assert end.end_utc_ns == moment(6, stepped_s=stepped_s).utc_ns
    assert update.start_utc_ns == end.start_utc_ns


def test_a_difference_of_milliseconds_leaves_the_start_as_it_was_published(ledger):
    new = ledger.begin("a", moment(1), moment(1), {})
    end = ledger.end("a", moment(6, stepped_s=0.02), "left")
    assert (end.start_utc_ns, end.end_utc_ns - end.start_utc_ns) == (new.start_utc_ns, 5 * S)


def test_a_duration_is_never_negative(ledger):
    ledger.begin("a", moment(5), moment(5), {})
    end = ledger.end("a", moment(4), "left")
    assert (end.end_ns, end.end_utc_ns) == (end.start_ns, end.start_utc_ns)
